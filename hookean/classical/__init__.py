"""Other networks and rules beside predictive coding, one file each."""

from .foldiak import Foldiak as Foldiak
from .oja import Oja as Oja
from .sanger import Sanger as Sanger
