"""Algorithms by name: compositions of inference and learning, one file each. What is exported is registered."""

from .bp import BP as BP
from .bptt import BPTT as BPTT
from .cn import CN as CN
from .dfa import DFA as DFA
from .dtp import DTP as DTP
from .ep import EP as EP
from .ep_nudging import EPNudging as EPNudging
from .epc import EPC as EPC
from .fa import FA as FA
from .ff import FF as FF
from .ff_unsupervised import UnsupervisedFF as UnsupervisedFF
from .fixed_prediction import FixedPrediction as FixedPrediction
from .gn import GN as GN
from .ipc import IPC as IPC
from .mcpc import MCPC as MCPC
from .nn import NN as NN
from .pc import PC as PC
from .pc_alm import PCALM as PCALM
from .pn import PN as PN
from .scheduled import ScheduledPC as ScheduledPC
from .soft_hebb import SoftHebb as SoftHebb
from .swept_bp import SweptBP as SweptBP
from .temporal_pc import TemporalPC as TemporalPC
from .zil import ZIL as ZIL
