"""Networks by name. A builder takes the shape of a sample and the number of outputs; what is exported is registered."""

from .autoencoder import autoencoder as autoencoder
from .decoder import decoder as decoder
from .deep_vgg import vgg9 as vgg9
from .deep_vgg import vgg13 as vgg13
from .deep_vgg import vgg19 as vgg19
from .elman import elman as elman
from .graph import graph as graph
from .hopfield_mlp import hopfield_mlp as hopfield_mlp
from .jordan import jordan as jordan
from .mlp import mlp as mlp
from .residual_mlp import residual_mlp as residual_mlp
from .resnet import resnet10 as resnet10
from .resnet import resnet18 as resnet18
from .vgg import vgg5 as vgg5
from .vgg import vgg7 as vgg7
