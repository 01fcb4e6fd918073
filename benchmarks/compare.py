"""Hookean beside PCX: the same mathematics, sizes, weights and batch, in turn, in one command.

    python benchmarks/compare.py [--case mlp512] [--rounds 5] [--steps 20] [--peer-only]

PCX is installed from the package index into environments of its own: once as its metadata ask (its own JAX), once with
this environment's JAX; the faster of those that run is the peer. Workers stay alive and are timed in turn, one at a
time and each round in another order, so that what disturbs the machine disturbs all of them. The table gives medians
over all steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from protocol import CASES, STATE_MOMENTUM, STATE_RATE, WEIGHT_DECAY, WEIGHT_RATE, Spec, arrays

HERE = Path(__file__).resolve().parent
PCX = "0.6.3"
#: Largest relative difference of a weight or bias gradient, in the Euclidean norm, computed in float64.
TOLERANCE = 1e-4
#: Asks an environment what it holds; fails where PCX cannot be imported.
PROBE = """
import json, pcx.predictive_coding, pcx.utils
from importlib import metadata
print(json.dumps({d.metadata["Name"].lower(): d.version for d in metadata.distributions()}))
"""


class Worker:
    """A live process on one side of the comparison."""

    def __init__(self, name: str, command: list[str]):
        self.name = name
        environment = dict(os.environ, PYTHONPATH=str(HERE.parent), JAX_ENABLE_COMPILATION_CACHE="false")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE, env=environment
        )
        self.facts = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.communicate("quit\n")

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker {self.name} ended with {self.process.wait()}; see its message above.")
        return json.loads(line)


def holds(python: Path, wanted: dict[str, str]) -> str | None:
    """Return None if an environment imports PCX and has the wanted versions, else what is wrong with it."""
    if not python.exists():
        return "it does not exist"
    answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True)
    if answer.returncode:
        return (answer.stderr.strip().splitlines() or ["it cannot import pcx"])[-1]
    found = json.loads(answer.stdout)
    wrong = [f"{name} is {found.get(name)}, not {v}" for name, v in wanted.items() if found.get(name) != v]
    return "; ".join(wrong) or None


def environments(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return name -> Python of the environments in which PCX runs, and name -> reason of the others.

    An environment is made where it is missing, and again where it is incomplete or of other versions.
    """
    ours = {name: metadata.version(name) for name in ("jax", "jaxlib", "equinox", "optax", "numpy")}
    own = {"pcx": PCX}
    packages = [f"{name}=={version}" for name, version in ours.items()]
    # PCX asks for jax<0.5, so it comes without its dependencies beside a newer one.
    plans = {
        "own": (own, [[f"pcx=={PCX}"]]),
        "ours": (own | ours, [packages, ["--no-deps", f"pcx=={PCX}"]]),
    }
    found, missing = {}, {}
    for name, (wanted, installs) in plans.items():
        place = folder / f".env-pcx-{name}"
        python = place / "bin" / "python"
        if reason := holds(python, wanted):
            print(f"installing pcx {PCX} into {place.name}: {reason}", file=sys.stderr)
            venv.create(place, with_pip=True, clear=True)
            for install in installs:
                done = subprocess.run([python, "-m", "pip", "install", "-q", *install], capture_output=True, text=True)
                if done.returncode:
                    print(done.stderr, file=sys.stderr)
                    break
            reason = holds(python, wanted)
        if reason:
            missing[name] = reason
            print(f"pcx ({name}) is left out: {reason}", file=sys.stderr)
        else:
            found[name] = python
    if not found:
        raise SystemExit(f"PCX {PCX} runs in no environment; see the messages above.")
    return found, missing


def commands(
    case: str, pythons: dict[str, Path], folder: Path, *, peer_only: bool, precise: bool
) -> dict[str, list[str]]:
    """Write weights, batch and specs into `folder`; return worker name -> command line."""
    kind = "precise" if precise else "single"
    data = folder / f"{case}-{kind}.npz"
    np.savez(data, **arrays(CASES[case], precise=precise))  # type: ignore[arg-type]
    specs = {
        rule: Spec(case, rule, str(data), precise).write(folder / f"{case}-{kind}-{rule}.json") for rule in ("PC", "BP")
    }
    workers = {
        f"pcx ({name})": [str(python), "pcx_worker.py", "--spec", str(specs["PC"])] for name, python in pythons.items()
    }
    if not peer_only:
        flag = ["--gradient"] if precise else []
        for rule, spec in specs.items():
            workers[f"hookean {rule}"] = [sys.executable, "hookean_worker.py", case, rule, *flag, "--spec", str(spec)]
    return workers


def gradient_differences(workers: dict[str, list[str]], folder: Path) -> dict[str, dict[str, float]]:
    """Return worker name -> array name -> relative difference from the first worker, for all that relax states."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, command in workers.items():
        if name == "hookean BP":
            continue
        path = folder / f"gradient-{len(found)}.npz"
        worker = Worker(name, command)
        worker.ask(f"gradient {path}")
        worker.close()
        with np.load(path, allow_pickle=False) as stored:
            found[name] = {key: stored[key] for key in stored.files}
    (reference, first), *others = found.items()
    for name, second in others:
        if first.keys() != second.keys():
            raise SystemExit(
                f"{name} and {reference} name different gradients: {sorted(first.keys() ^ second.keys())}."
            )
    return {
        name: {k: float(np.linalg.norm(second[k] - a) / np.linalg.norm(a)) for k, a in first.items()}
        for name, second in others
    }


def turns(workers: dict[str, Worker], rounds: int, steps: int) -> dict[str, list[list[float]]]:
    """Return worker name -> seconds by round and step; the order moves on by one each round."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in workers}
    names = list(workers)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            workers[name].ask("time 1")  # wake up
            seconds[name].append(workers[name].ask(f"time {steps}")["seconds"])
    return seconds


def measure(
    case: str, pythons: dict[str, Path], folder: Path, rounds: int, steps: int, *, peer_only: bool
) -> dict[str, Any]:
    """Check the gradients of one case, then time all its workers in turn."""
    precise = commands(case, pythons, folder, peer_only=peer_only, precise=True)
    differences = gradient_differences(precise, folder)
    single = commands(case, pythons, folder, peer_only=peer_only, precise=False)
    workers = {name: Worker(name, command) for name, command in single.items()}
    rows = {}
    for name, by_round in turns(workers, rounds, steps).items():
        seconds = [value for values in by_round for value in values]
        quartiles = statistics.quantiles(seconds, n=4)
        rows[name] = workers[name].facts | {
            "milliseconds": 1e3 * quartiles[1],
            "quartiles": [1e3 * quartiles[0], 1e3 * quartiles[2]],
            "fastest": 1e3 * min(seconds),
            "round_medians": [1e3 * statistics.median(values) for values in by_round],
            "peak_mebibytes": workers[name].ask("memory")["mebibytes"],
        }
        workers[name].close()
    peer = min((n for n in rows if n.startswith("pcx")), key=lambda n: rows[n]["milliseconds"])
    every = [d for by_array in differences.values() for d in by_array.values()]
    worst = float(np.max(every)) if every else None  # nan wins, unlike in the built-in max
    result = {
        "case": case,
        "steps_per_round": steps,
        "gradient_difference": worst,
        "gradient_differences": differences,
        "peer": peer,
        "workers": rows,
    }
    if not peer_only:
        mine, back = rows["hookean PC"], rows["hookean BP"]
        result |= {
            "ratio_to_pcx": mine["milliseconds"] / rows[peer]["milliseconds"],
            "fastest_ratio_to_pcx": mine["fastest"] / rows[peer]["fastest"],
            "ratio_to_bp": mine["milliseconds"] / back["milliseconds"],
            "memory_ratio_to_pcx": mine["peak_mebibytes"] / rows[peer]["peak_mebibytes"],
        }
    return result


def show(result: dict[str, Any]) -> None:
    """Print one case."""
    case = CASES[result["case"]]
    print(f"\n{case.name}: {case.inputs} -> {case.hidden} -> {case.outputs}, T = {case.steps}, batch {case.batch}")
    print(f"{'':14}{'ms/step':>10}{'quartiles':>20}{'fastest':>10}{'compile s':>11}{'peak MiB':>10}  JAX")
    for name, row in result["workers"].items():
        quartiles = "{:.2f} .. {:.2f}".format(*row["quartiles"])
        print(
            f"{name:14}{row['milliseconds']:10.2f}{quartiles:>20}{row['fastest']:10.2f}{row['compile_seconds']:11.2f}"
            f"{row['peak_mebibytes']:10.0f}  {row['jax']}"
        )
    if (worst := result["gradient_difference"]) is None:
        print("weight gradients: nothing to compare with")
    else:
        verdict = "agree" if worst <= TOLERANCE else "DISAGREE"
        print(f"weight gradients in float64 {verdict}: largest relative difference {worst:.1e}")
    if "ratio_to_pcx" in result:
        print(
            f"Hookean / {result['peer']}: {result['ratio_to_pcx']:.2f} in time "
            f"({result['fastest_ratio_to_pcx']:.2f} by the fastest steps), "
            f"{result['memory_ratio_to_pcx']:.2f} in peak memory; PC / BP: {result['ratio_to_bp']:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps a round (default: 40, for convolutions 3)")
    parser.add_argument("--peer-only", action="store_true", help="time PCX alone")
    parser.add_argument("--env-dir", type=Path, default=HERE, help="where PCX's environments are kept")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/pcx.json (pcx-peer.json: --peer-only)")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from hookean.record import environment, write_text

    pythons, missing = environments(options.env_dir)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.case or CASES:
            steps = options.steps or (3 if CASES[name].convolutional else 40)
            results.append(measure(name, pythons, Path(folder), options.rounds, steps, peer_only=options.peer_only))
            show(results[-1])
    protocol = {
        "peer": f"pcx=={PCX}",
        "left_out": missing,
        "rounds": options.rounds,
        "order": "in turn, one worker at a time, the order moving on by one each round; the peer is the faster PCX",
        "precision": "timed in float32, gradients compared in float64",
        "memory": "peak resident memory of the timed process (VmHWM), compiler included",
        "tolerance": TOLERANCE,
        "state_rate": STATE_RATE,
        "state_momentum": STATE_MOMENTUM,
        "weight_rate": WEIGHT_RATE,
        "weight_decay": WEIGHT_DECAY,
    }
    default = HERE.parent / "results" / "benchmarks" / ("pcx-peer.json" if options.peer_only else "pcx.json")
    written = {"protocol": protocol, "environment": environment(), "cases": results}
    write_text(options.out or default, json.dumps(written, indent=1))
    compared = [result["gradient_difference"] for result in results if result["gradient_difference"] is not None]
    if not all(difference <= TOLERANCE for difference in compared):  # nan disagrees
        raise SystemExit("the weight gradients disagree: the times are not of the same mathematics.")


if __name__ == "__main__":
    main()
