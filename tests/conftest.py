"""Double precision, shapes enforced at run time, and the keys and example networks that the oracles share."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

# The programs are small and run once, so that compiling is what costs: optimise less.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
# Many tests compile the same programs: all workers of a session and the processes that they start share them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="hookean-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import jaxtyping
import pytest

jax.config.update("jax_enable_x64", True)
# Shape annotations are checked by beartype in every module of the package, so this stands before its first import.
jaxtyping.install_import_hook("hookean", "beartype.beartype")

import examples  # noqa: E402

# Per-channel biases and precisions are vectors that broadcast over an image, so rank promotion is an error only in
# the tests below, whose names say that no image takes part.
_IMAGES = ("conv", "vgg", "channel", "image")
_ORACLES = ("closed_form", "finite_difference", "equivalence", "invariance", "faults")


@pytest.fixture(autouse=True)
def strict_ranks(request):
    """No array silently gains an axis, except where images meet per-channel vectors."""
    oracle = request.path.parent.name in _ORACLES
    promoted = "raise" if oracle and not any(word in request.node.name for word in _IMAGES) else "allow"
    with jax.numpy_rank_promotion(promoted):
        yield


# Every compiled program holds memory maps, of which Linux allows a process 65,530: past that, LLVM crashes.
_MAPS = Path("/proc/self/maps")
_MOST_MAPS = 25_000


@pytest.fixture(autouse=True)
def few_memory_maps():
    """Drop the compiled programs of earlier tests before the process runs out of memory maps."""
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


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
