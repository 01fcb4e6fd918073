"""How states move: the relaxation loop and its solvers. What is exported here is registered."""

from .asynchronous import Asynchronous as Asynchronous
from .flow import Flow as Flow
from .gauss_newton import GaussNewton as GaussNewton
from .gradient import Gradient as Gradient
from .gradient import Optax as Optax
from .langevin import Langevin as Langevin
from .lca import LCA as LCA
from .newton import Newton as Newton
from .projected import Projected as Projected
