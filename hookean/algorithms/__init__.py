"""Algorithms by name: compositions of inference and learning, one file each. What is exported is registered."""

from .bp import BP as BP
from .cn import CN as CN
from .ipc import IPC as IPC
from .nn import NN as NN
from .pc import PC as PC
from .pn import PN as PN
from .zil import ZIL as ZIL
