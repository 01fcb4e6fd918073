"""Time to equilibrium at depth: every solver with the best rate and momentum of a grid, in one run.

    python benchmarks/depth.py [--out results/benchmarks/depth.json]

A 20-layer MLP and a 64-layer residual MLP as they start, a batch of 128 samples of FashionMNIST, squared error, hidden
precision 1 and 100. Equilibrium is a median relative residual of at most 1e-2, in the variables that a solver moves
and in the states.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import hookean as hk
from hookean.data import FashionMNIST
from hookean.inference import GaussNewton
from hookean.inference.curvature import largest_curvature
from hookean.inference.relax import relax
from hookean.record import environment, write_text
from hookean.tasks.evidence import state_residual

TARGET = 1e-2
MOMENTA = (0.0, 0.9)
ROUNDS = 7
#: Most steps that are tried, by family; a family is tried up to a limit before anyone of it is given the next one.
LIMITS = {"states": (128, 512), "errors": (16, 64, 256), "Gauss-Newton": (8,)}


def network(kind: str, precision: float) -> hk.Network:
    key = jax.random.key(0)
    if kind == "mlp of 20 layers":
        return hk.mlp(784, 10, hidden=(128,) * 19, orthogonal=2**0.5, precision=precision, key=key)
    return hk.residual_mlp(784, 10, width=128, depth=63, activation=jax.nn.gelu, precision=precision, key=key)


def batch() -> dict[str, jax.Array]:
    data = FashionMNIST().load()
    x = jnp.asarray(data.transform.evaluate(data.train.inputs[:128])).reshape(128, -1)
    return {"x": x, "y": jax.nn.one_hot(data.train.labels[:128], 10)}


def steps_needed(net: hk.Network, clamps: Any, coordinates: Any, solver: Any, most: int) -> int | None:
    """Return the steps after which the median relative residual is at the target, or None.

    It must be there in the variables that the solver moves, and in the states, which is one measure for all.
    """

    @eqx.filter_jit
    def trace(net: Any, solver: Any) -> jax.Array:
        end = relax(net, clamps, solver=solver, steps=most, coordinates=coordinates, record=True, savings=False)
        return jnp.median(end.trace.residual / end.trace.residual[:, :1], axis=0)

    reached = np.flatnonzero(np.asarray(trace(net, solver)) <= TARGET)
    steps = int(reached[0]) if len(reached) else None
    while steps is not None and in_states(net, clamps, runner(net, clamps, coordinates, solver, steps)(net)) > TARGET:
        steps = None if steps == most else min(most, steps + max(1, steps // 4))
    return steps


@eqx.filter_jit
def in_states(net: hk.Network, clamps: Any, states: Any) -> jax.Array:
    return jnp.median(state_residual(net, clamps, states))


def runner(net: hk.Network, clamps: Any, coordinates: Any, solver: Any, steps: int) -> Any:
    """Return a compiled relaxation of the batch."""

    @eqx.filter_jit
    def run(net: Any) -> Any:
        return relax(net, clamps, solver=solver, steps=steps, coordinates=coordinates).states

    jax.block_until_ready(run(net))
    return run


def families(net: hk.Network, clamps: Any, precision: float) -> dict[str, list[tuple[str, Any, Any]]]:
    """Return family -> (setting, solver, coordinates) of every member that is tried."""
    errors, states = hk.ErrorCoordinates(), hk.StateCoordinates()
    curvature = float(jnp.max(largest_curvature(net, clamps, coordinates=errors, iterations=20, key=jax.random.key(0))))
    by_state = [(r / precision, m) for r in (0.05, 0.1, 0.2, 0.4) for m in MOMENTA]
    by_error = [(r / curvature, m) for r in (0.25, 0.5, 1.0, 1.9) for m in MOMENTA]
    return {
        "states": [(f"rate {r:.3g}, momentum {m:g}", hk.Gradient(jnp.asarray(r), m), states) for r, m in by_state],
        "errors": [(f"rate {r:.3g}, momentum {m:g}", hk.Gradient(jnp.asarray(r), m), errors) for r, m in by_error],
        "Gauss-Newton": [(f"{k} iterations", GaussNewton(k), errors) for k in (1, 2, 4)],
    }


def best(family: str, members: Any, net: hk.Network, clamps: Any) -> dict[str, Any]:
    """Return the member of a family that needs the fewest passes, with its compiled relaxation."""
    for limit in LIMITS[family]:
        tried = []
        for label, solver, coordinates in members:
            steps = steps_needed(net, clamps, coordinates, solver, limit)
            if steps is not None:
                passes = 2 * (solver.iterations + 1) * steps if family == "Gauss-Newton" else 2 * steps
                tried.append((passes, steps, label, solver, coordinates))
            print(f"    {family}, {label}: {steps} of {limit}", flush=True)
        if tried:
            passes, steps, label, solver, coordinates = min(tried, key=lambda one: one[0])
            run = runner(net, clamps, coordinates, solver, steps)
            found = {"reached": True, "setting": label, "steps": steps, "passes": passes, "tried": len(members)}
            return found | {"state_residual": float(in_states(net, clamps, run(net))), "run": run}
    return {"reached": False, "limit": LIMITS[family][-1], "tried": len(members)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/depth.json"))
    given = parser.parse_args()
    clamps = batch()
    table: dict[str, Any] = {}
    for kind in ("mlp of 20 layers", "residual mlp of 64 layers"):
        for precision in (1.0, 100.0):
            print(f"{kind}, hidden precision {precision:g}", flush=True)
            net = network(kind, precision)
            found = {
                family: best(family, members, net, clamps)
                for family, members in families(net, clamps, precision).items()
            }
            times: dict[str, list[float]] = {family: [] for family, case in found.items() if case["reached"]}
            for _ in range(ROUNDS):  # in turn, so that what disturbs the machine disturbs all of them
                for family in times:
                    began = time.perf_counter()
                    jax.block_until_ready(found[family]["run"](net))
                    times[family].append(time.perf_counter() - began)
            for family, case in found.items():
                case.pop("run", None)
                if case["reached"]:
                    case["milliseconds"] = 1e3 * statistics.median(times[family])
                    case["ratio"] = case["milliseconds"] / (1e3 * statistics.median(times["Gauss-Newton"]))
                print(f"  {family}: {case}", flush=True)
            table[f"{kind}, hidden precision {precision:g}"] = found
            whole = {"environment": environment(), "target": TARGET, "cases": table}
            write_text(given.out, json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
