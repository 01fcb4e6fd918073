"""Hookean beside PCX: the same mathematics, sizes, weights and batch, in turn, in one command.

    python benchmarks/compare.py [--case mlp512] [--rounds 5] [--steps 20]

PCX is installed from the package index into environments of its own: once as its metadata ask (its own JAX), once with
this environment's JAX where it runs on it; the faster of the two is the peer. Workers stay alive and are timed in
turn, one at a time, so that what disturbs the machine disturbs all of them. The table gives medians over all steps.
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
from protocol import CASES

HERE = Path(__file__).parent
PCX = "pcx==0.6.3"
#: Largest relative difference of a layer's weight gradient, in the Euclidean norm.
TOLERANCE = 1e-4


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


def environments() -> dict[str, Path]:
    """Return name -> Python of the environments in which PCX runs, making those that are missing."""
    ours = [f"{name}=={metadata.version(name)}" for name in ("jax", "equinox", "optax", "numpy")]
    wanted = {"own": [[PCX]], "ours": [ours, ["--no-deps", PCX]]}
    found = {}
    for name, installs in wanted.items():
        folder = HERE / f".env-pcx-{name}"
        python = folder / "bin" / "python"
        if not python.exists():
            print(f"installing {PCX} into {folder.name}", file=sys.stderr)
            venv.create(folder, with_pip=True)
            for packages in installs:
                subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, stderr=subprocess.DEVNULL)
        found[name] = python
    return found


def commands(case: str) -> dict[str, list[str]]:
    """Return worker name -> command line."""
    workers = {f"pcx ({name})": [str(p), "pcx_worker.py", case] for name, p in environments().items()}
    for rule in ("PC", "BP"):
        workers[f"hookean {rule}"] = [sys.executable, "hookean_worker.py", case, rule]
    return workers


def gradients_agree(case: str) -> float:
    """Return the largest relative difference of a weight gradient between PCX and Hookean."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(case).items():
            if name in ("pcx (ours)", "hookean PC"):
                path = Path(folder) / f"{len(found)}.npz"
                worker = Worker(name, [*command, "--gradient"])
                worker.ask(f"gradient {path}")
                worker.close()
                with np.load(path) as stored:
                    found.append({key: stored[key] for key in stored.files})
    first, second = found
    return max(float(np.linalg.norm(first[k] - second[k]) / np.linalg.norm(first[k])) for k in first)


def measure(case: str, rounds: int, steps: int) -> dict[str, Any]:
    """Time all workers of one case in turn."""
    difference = gradients_agree(case)
    workers = {name: Worker(name, command) for name, command in commands(case).items()}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            worker.ask("time 1")  # wake up
            seconds[name] += worker.ask(f"time {steps}")["seconds"]
    rows = {}
    for name, worker in workers.items():
        quartiles = statistics.quantiles(seconds[name], n=4)
        rows[name] = worker.facts | {
            "milliseconds": 1e3 * quartiles[1],
            "quartiles": [1e3 * quartiles[0], 1e3 * quartiles[2]],
            "fastest": 1e3 * min(seconds[name]),
            "peak_mebibytes": worker.ask("memory")["mebibytes"],
        }
        worker.close()
    peer = min((n for n in rows if n.startswith("pcx")), key=lambda n: rows[n]["milliseconds"])
    mine, back = rows["hookean PC"], rows["hookean BP"]
    return {
        "case": case,
        "gradient_difference": difference,
        "peer": peer,
        "ratio_to_pcx": mine["milliseconds"] / rows[peer]["milliseconds"],
        "ratio_to_bp": mine["milliseconds"] / back["milliseconds"],
        "memory_ratio_to_pcx": mine["peak_mebibytes"] / rows[peer]["peak_mebibytes"],
        "workers": rows,
    }


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
    verdict = "agree" if result["gradient_difference"] <= TOLERANCE else "DISAGREE"
    print(f"weight gradients {verdict}: largest relative difference {result['gradient_difference']:.1e}")
    print(
        f"Hookean / {result['peer']}: {result['ratio_to_pcx']:.2f} in time, "
        f"{result['memory_ratio_to_pcx']:.2f} in peak memory; PC / BP: {result['ratio_to_bp']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps a round (default: 40, for convolutions 3)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "benchmarks" / "pcx.json")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from hookean.record import environment, write_text

    results = []
    for name in options.case or CASES:
        steps = options.steps or (3 if CASES[name].convolutional else 40)
        results.append(measure(name, options.rounds, steps))
        show(results[-1])
    protocol = {"rounds": options.rounds, "steps": options.steps, "peer": PCX, "order": "in turn, one worker at a time"}
    write_text(
        options.out, json.dumps({"protocol": protocol, "environment": environment(), "cases": results}, indent=1)
    )
    if any(result["gradient_difference"] > TOLERANCE for result in results):
        raise SystemExit("the weight gradients disagree: the times are not of the same mathematics.")


if __name__ == "__main__":
    main()
