"""What both sides of the comparison agree on: the cases, the arrays and the conversation with a worker process.

A worker is started on a spec (see `Spec`), says one JSON line of facts, then reads one command a line and answers one
JSON line: `time N`, `gradient PATH`, `memory`, `quit`. Arrays are in the layout of Equinox: dense weights (outputs,
inputs), kernels (outputs, inputs, height, width), images with the channels first. Only the standard library and NumPy
are imported, so that every environment can read this file.
"""

import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

STATE_RATE = 0.1  # large enough that the error of the first layer stands well above rounding
WEIGHT_RATE = 1e-4
WEIGHT_DECAY = 1e-4


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, relaxation length and batch. `hidden` are widths, or channels of pooled 3x3 convolutions."""

    name: str
    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    steps: int
    batch: int
    outputs: int = 10

    @property
    def convolutional(self) -> bool:
        return len(self.inputs) == 3


CASES = {
    "mlp512": Case("mlp512", (784,), (512, 512, 512), steps=8, batch=128),
    "mlp128": Case("mlp128", (784,), (128, 128, 128), steps=8, batch=128),
    "mlp10": Case("mlp10", (784,), (128,) * 9, steps=10, batch=128),
    "vgg5": Case("vgg5", (3, 32, 32), (128, 256, 512, 512), steps=5, batch=64),
}


def arrays(case: Case, seed: int = 0, *, precise: bool = False) -> dict[str, np.ndarray]:
    """Return weights "0.weight", "0.bias", ... and a batch "x", "y" (one-hot).

    Weights are uniform with variance 2 / fan-in, so that the error of the first layer stands above rounding.

    `precise` gives them in float64: the gradients are compared in it, because the error of the first layer is the
    small difference of two large numbers, of which float32 leaves two or three digits.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}

    def layer(index: int, shape: tuple[int, ...]) -> None:
        limit = np.sqrt(6 / np.prod(shape[1:]))
        found[f"{index}.weight"] = rng.uniform(-limit, limit, shape).astype(np.float32)
        found[f"{index}.bias"] = rng.uniform(-limit, limit, shape[0]).astype(np.float32)

    size = case.inputs[0]
    for index, width in enumerate(case.hidden):
        layer(index, (width, size, 3, 3) if case.convolutional else (width, size))
        size = width
    side = case.inputs[-1] // 2 ** len(case.hidden)
    layer(len(case.hidden), (case.outputs, size * side**2 if case.convolutional else size))
    found["x"] = rng.normal(size=(case.batch, *case.inputs)).astype(np.float32)
    found["y"] = np.eye(case.outputs, dtype=np.float32)[rng.integers(0, case.outputs, case.batch)]
    return {name: array.astype(np.float64) for name, array in found.items()} if precise else found


@dataclasses.dataclass(frozen=True)
class Spec:
    """What one worker computes, as it stands in a JSON file.

    Arguments:
        case: a name in `CASES`.
        rule: "PC" or "BP"; the workers of peers know "PC" alone.
        data: an .npz with what `arrays` returns; None makes the same arrays from the seed.
        precise: compute in float64 and keep the first weight gradient for `gradient PATH`.
    """

    case: str
    rule: str = "PC"
    data: str | None = None
    precise: bool = False

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise SystemExit(f"case must be one of {', '.join(CASES)}, not {self.case!r}.")
        if self.rule not in ("PC", "BP"):
            raise SystemExit(f"rule must be PC or BP, not {self.rule!r}.")

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        return path

    def load(self) -> dict[str, np.ndarray]:
        """Return the weights and the batch; they must have the precision that the spec asks for."""
        if self.data is None:
            return arrays(CASES[self.case], precise=self.precise)
        with np.load(self.data, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        wanted = np.dtype("float64" if self.precise else "float32")
        wrong = [name for name, array in found.items() if array.dtype != wanted]
        if wrong:
            raise SystemExit(f"{self.data}: {wrong[0]} must be {wanted}, got {found[wrong[0]].dtype}.")
        return found


def read_spec(arguments: Sequence[str]) -> Spec:
    """Return the spec of a command line: `--spec FILE`, or by hand `CASE [RULE] [--gradient]`."""
    if "--spec" in arguments:
        path = Path(arguments[arguments.index("--spec") + 1])
        return Spec(**json.loads(path.read_text(encoding="utf-8")))
    words = [word for word in arguments if not word.startswith("--")]
    if not 1 <= len(words) <= 2:
        raise SystemExit(f"give --spec FILE, or CASE [PC|BP] [--gradient]; got {list(arguments)}.")
    rule = words[1] if len(words) == 2 else "PC"
    return Spec(words[0], rule, precise="--gradient" in arguments)


def versions(*names: str) -> dict[str, str]:
    """Return the installed version of each distribution that is there, and of Python."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_mebibytes() -> float:
    """Return the peak resident memory of this process.

    Linux keeps the peak of whoever started a program in its `ru_maxrss`: a child of 9 MiB of a parent of 174 MiB
    reports 174. The high-water mark of the address space starts anew, and is preferred where it exists.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def serve(
    step: Callable[[], Any], gradient: Callable[[], dict[str, np.ndarray]], facts: dict[str, Any], wait: Callable
) -> None:
    """Answer commands until `quit`.

    Arguments:
        step: run one training step and return what to wait for.
        gradient: the weight gradient of the first batch at the first weights, by array name.
        facts: what is told on start (versions, compile seconds).
        wait: block until its argument is computed.
    """
    _say(facts)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "time":
            seconds = []
            for _ in range(int(argument)):
                began = time.perf_counter()
                wait(step())
                seconds.append(time.perf_counter() - began)
            _say({"seconds": seconds})
        elif command == "gradient":
            np.savez(argument, **gradient())  # type: ignore[arg-type]
            _say({"written": argument})
        elif command == "memory":
            _say({"mebibytes": peak_mebibytes()})
        else:
            return


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
