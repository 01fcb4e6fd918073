"""The other topologies and rivals, one file each, and the classical methods that they are held against."""

from .annealed_importance import AnnealedImportance as AnnealedImportance
from .boltzmann_machine import BoltzmannMachine as BoltzmannMachine
from .contrastive_divergence import ContrastiveDivergence as ContrastiveDivergence
from .foldiak import Foldiak as Foldiak
from .graded_hopfield import HopfieldFlow as HopfieldFlow
from .graded_hopfield import graded_hopfield as graded_hopfield
from .hopfield import Hopfield as Hopfield
from .kalman import kalman_filter as kalman_filter
from .modern_hopfield import ModernHopfield as ModernHopfield
from .oja import Oja as Oja
from .restricted_boltzmann import RestrictedBoltzmann as RestrictedBoltzmann
from .sanger import Sanger as Sanger
from .sparse_coding import SparseCoding as SparseCoding
from .storage import hebbian as hebbian
from .storage import pseudo_inverse as pseudo_inverse
from .storage import storkey as storkey
from .vae import VAE as VAE
