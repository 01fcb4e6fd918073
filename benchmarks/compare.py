"""Hookean beside PCX and FabricPC: the same mathematics, sizes, weights and batch, in turn, in one command.

    python benchmarks/compare.py [--case mlp512] [--rounds 5] [--steps 20] [--peers-only]

Peers are installed from the package index into environments of their own, with this environment's JAX; PCX, which asks
for an older one, also as its metadata ask, and the faster of the two counts. Workers stay alive and are timed in turn,
one at a time and each round in another order, so that what disturbs the machine disturbs all of them. The table gives
medians over all steps.
"""

import argparse
import dataclasses
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
from protocol import CASES, STATE_RATE, WEIGHT_DECAY, WEIGHT_RATE, Spec, arrays

HERE = Path(__file__).resolve().parent
#: Largest relative difference of a weight or bias gradient, in the Euclidean norm, computed in float64.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another library.

    Arguments:
        name, version: as the package index has them.
        imports: modules that the worker needs; an environment in which they cannot be imported is made anew.
        older: it asks for an older JAX than ours: it gets an environment as it asks, and comes into ours without its
            dependencies.
        convolutions: it has the same mathematics for networks with convolutions too.
    """

    name: str
    version: str
    imports: str
    older: bool
    convolutions: bool

    def probe(self) -> str:
        """Return a program that says what an environment holds, and fails where the library cannot be imported."""
        return f"""
import json, {self.imports}
from importlib import metadata
print(json.dumps({{d.metadata["Name"].lower(): d.version for d in metadata.distributions()}}))
"""

    def plans(self) -> dict[str, tuple[dict[str, str], list[list[str]]]]:
        """Return name of an environment -> (versions that it must have, arguments of the installations)."""
        own = {self.name: self.version}
        given = [f"{self.name}=={self.version}"]
        ours = {name: metadata.version(name) for name in ("jax", "jaxlib", "equinox", "optax", "numpy")}
        packages = [f"{name}=={version}" for name, version in ours.items()]
        if not self.older:
            return {self.name: (own | ours, [packages + given])}
        return {
            f"{self.name} (own)": (own, [given]),
            f"{self.name} (ours)": (own | ours, [packages, ["--no-deps", *given]]),
        }


PEERS = (
    Peer("pcx", "0.6.3", "pcx.predictive_coding, pcx.utils", older=True, convolutions=True),
    Peer("fabricpc", "0.6.0", "fabricpc.training", older=False, convolutions=False),
)


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


def holds(python: Path, probe: str, wanted: dict[str, str]) -> str | None:
    """Return None if an environment imports its library and has the wanted versions, else what is wrong with it."""
    if not python.exists():
        return "it does not exist"
    answer = subprocess.run([python, "-c", probe], capture_output=True, text=True)
    if answer.returncode:
        return (answer.stderr.strip().splitlines() or ["it cannot import its library"])[-1]
    found = json.loads(answer.stdout)
    wrong = [f"{name} is {found.get(name)}, not {v}" for name, v in wanted.items() if found.get(name) != v]
    return "; ".join(wrong) or None


def environments(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return name -> Python of the environments in which a peer runs, and name -> reason of the others.

    An environment is made where it is missing, and again where it is incomplete or of other versions.
    """
    found, missing = {}, {}
    for peer in PEERS:
        for name, (wanted, installs) in peer.plans().items():
            place = folder / f".env-{name.replace(' (', '-').rstrip(')')}"
            python = place / "bin" / "python"
            if reason := holds(python, peer.probe(), wanted):
                print(f"installing {peer.name} {peer.version} into {place.name}: {reason}", file=sys.stderr)
                reason = made(place, installs) or holds(python, peer.probe(), wanted)
            if reason:
                missing[name] = reason
                print(f"{name} is left out: {reason}", file=sys.stderr)
            else:
                found[name] = python
    if not found:
        raise SystemExit("no peer runs in any environment; see the messages above.")
    return found, missing


def made(place: Path, installs: list[list[str]]) -> str | None:
    """Make an environment and return None, or what went wrong."""
    venv.create(place, with_pip=True, clear=True)
    for install in installs:
        command = [place / "bin" / "python", "-m", "pip", "install", "-q", *install]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    return None


def commands(
    case: str, pythons: dict[str, Path], folder: Path, *, peers_only: bool, precise: bool
) -> dict[str, list[str]]:
    """Write weights, batch and specs into `folder`; return worker name -> command line."""
    kind = "precise" if precise else "single"
    data = folder / f"{case}-{kind}.npz"
    np.savez(data, **arrays(CASES[case], precise=precise))  # type: ignore[arg-type]
    specs = {
        rule: Spec(case, rule, str(data), precise).write(folder / f"{case}-{kind}-{rule}.json") for rule in ("PC", "BP")
    }
    workers = {
        name: [str(python), f"{peer.name}_worker.py", "--spec", str(specs["PC"])]
        for peer in PEERS
        for name, python in pythons.items()
        if belongs(name, peer) and (peer.convolutions or not CASES[case].convolutional)
    }
    if not peers_only:
        flag = ["--gradient"] if precise else []
        for rule, spec in specs.items():
            workers[f"hookean {rule}"] = [sys.executable, "hookean_worker.py", case, rule, *flag, "--spec", str(spec)]
    return workers


def belongs(worker: str, peer: Peer) -> bool:
    """Say whether a worker, named after its environment, is one of this peer."""
    return worker.split(" ")[0] == peer.name


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
    case: str, pythons: dict[str, Path], folder: Path, rounds: int, steps: int, *, peers_only: bool
) -> dict[str, Any]:
    """Check the gradients of one case, then time all its workers in turn."""
    precise = commands(case, pythons, folder, peers_only=peers_only, precise=True)
    differences = gradient_differences(precise, folder)
    single = commands(case, pythons, folder, peers_only=peers_only, precise=False)
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
    every = [d for by_array in differences.values() for d in by_array.values()]
    result = {
        "case": case,
        "steps_per_round": steps,
        "gradient_difference": float(np.max(every)) if every else None,  # nan wins, unlike in the built-in max
        "gradient_differences": differences,
        "workers": rows,
    }
    return result if peers_only else result | {"ratios": ratios(rows)}


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return name of a peer, or BP -> Hookean's PC over it, in time and memory; the faster worker of a peer counts."""
    mine = rows["hookean PC"]
    rivals = {peer.name: [name for name in rows if belongs(name, peer)] for peer in PEERS} | {"BP": ["hookean BP"]}
    found = {}
    for rival, names in rivals.items():
        if names:
            best = min(names, key=lambda name: rows[name]["milliseconds"])
            parts = {"time": "milliseconds", "fastest": "fastest", "memory": "peak_mebibytes"}
            found[rival] = {"worker": best} | {part: mine[key] / rows[best][key] for part, key in parts.items()}
    return found


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
    for rival, ratio in result.get("ratios", {}).items():
        print(
            f"Hookean's PC over {rival} ({ratio['worker']}): {ratio['time']:.2f} in time "
            f"({ratio['fastest']:.2f} by the fastest steps), {ratio['memory']:.2f} in peak memory"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="timed steps a round (default: 40, for convolutions 3)")
    parser.add_argument("--peers-only", action="store_true", help="time the peers alone")
    parser.add_argument("--env-dir", type=Path, default=HERE, help="where the environments of the peers are kept")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/peers.json (peers-only.json)")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from hookean.record import environment, write_text

    pythons, missing = environments(options.env_dir)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.case or CASES:
            steps = options.steps or (3 if CASES[name].convolutional else 40)
            results.append(measure(name, pythons, Path(folder), options.rounds, steps, peers_only=options.peers_only))
            show(results[-1])
    protocol = {
        "peers": [f"{peer.name}=={peer.version}" for peer in PEERS],
        "left_out": missing,
        "rounds": options.rounds,
        "order": "in turn, one worker at a time, the order moving on by one each round; the faster PCX counts",
        "precision": "timed in float32, gradients compared in float64",
        "memory": "peak resident memory of the timed process (VmHWM), compiler included",
        "tolerance": TOLERANCE,
        "state_rate": STATE_RATE,
        "weight_rate": WEIGHT_RATE,
        "weight_decay": WEIGHT_DECAY,
    }
    default = HERE.parent / "results" / "benchmarks" / ("peers-only.json" if options.peers_only else "peers.json")
    written = {"protocol": protocol, "environment": environment(), "cases": results}
    write_text(options.out or default, json.dumps(written, indent=1))
    compared = [result["gradient_difference"] for result in results if result["gradient_difference"] is not None]
    if not all(difference <= TOLERANCE for difference in compared):  # nan disagrees
        raise SystemExit("the weight gradients disagree: the times are not of the same mathematics.")


if __name__ == "__main__":
    main()
