"""Networks by name. A builder takes the shape of a sample and the number of outputs; what is exported is registered."""

from .decoder import decoder as decoder
from .mlp import mlp as mlp
from .residual_mlp import residual_mlp as residual_mlp
from .vgg import vgg5 as vgg5
from .vgg import vgg7 as vgg7
