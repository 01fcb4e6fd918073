"""Double precision, shapes enforced at run time, and the keys and example networks that the oracles share."""

import atexit
import gc
import itertools
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import jaxlib


def _known(flags):
    """Return those flags that this jaxlib has; XLA ends the process at one that it does not know."""
    library = next(Path(jaxlib.__file__).parent.glob("libjax_common*"), None)
    if library is None:
        return []
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return [flag for flag in flags if text.find(flag.split("=")[0].strip("-").encode()) >= 0]


# The programs are small and run once, so that compiling is what costs: optimise less.
_FAST = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",  # the emitters before them compile in half the time
    "--xla_cpu_parallel_codegen_split_count=1",
)
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(_known(_FAST))
# Many tests compile the same programs: all workers of a session and the processes that they start share them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="hookean-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

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


@pytest.fixture(autouse=True)
def strict_ranks(request):
    """No array silently gains an axis, except where images meet per-channel vectors."""
    oracle = request.path.parent.name in _ORACLES
    promoted = "raise" if oracle and not any(word in request.node.name for word in _IMAGES) else "allow"
    with jax.numpy_rank_promotion(promoted):
        yield


# Every compiled program holds memory maps, of which Linux allows a process 65,530: past that, LLVM crashes.
_MAPS = Path("/proc/self/maps")
_MOST_MAPS = 10_000  # about fifty to a program; with more of them a worker would hold gigabytes
_tests_run = itertools.count()


@pytest.fixture(autouse=True)
def few_memory_maps():
    """Drop the compiled programs of earlier tests before the process runs out of memory maps.

    Counting the maps takes some ten milliseconds, so it is done after every fourth test.
    """
    yield
    if next(_tests_run) % 4 == 0 and _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
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
