"""Double precision, shapes enforced at run time, and the keys and example networks that the oracles share."""

import os
from pathlib import Path

# The programs are small and run once, so that compiling is what costs: optimise less, and keep what was compiled.
# Every worker has a folder of its own, as two processes must not write one entry.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "compiled-tests" / _WORKER
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)
# Shape annotations are checked by beartype in every module of the package, so this stands before its first import.
jaxtyping.install_import_hook("hookean", "beartype.beartype")

import examples  # noqa: E402

# Per-channel biases and precisions are vectors that broadcast over an image, so rank promotion is an error only in
# the tests below, whose names say that no image takes part.
_IMAGES = ("conv", "vgg", "channel", "image")
_ORACLES = ("closed_form", "finite_difference", "equivalence", "invariance", "faults")


def pytest_configure(config):
    # Two runs at the same time may meet in one entry: it is then compiled again, which is no fault of the package.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache")


@pytest.fixture(autouse=True)
def strict_ranks(request):
    """No array silently gains an axis, except where images meet per-channel vectors."""
    oracle = request.path.parent.name in _ORACLES
    promoted = "raise" if oracle and not any(word in request.node.name for word in _IMAGES) else "allow"
    with jax.numpy_rank_promotion(promoted):
        yield


@pytest.fixture
def key():
    return jax.random.key(20)


@pytest.fixture
def keys(key):
    """Return a function that gives the n-th key of this test."""
    return lambda n: jax.random.fold_in(key, n)


@pytest.fixture
def mlp():
    return examples.build("mlp")


@pytest.fixture
def chain():
    return examples.build("chain")
