"""Time to equilibrium at depth: every solver with the best rate and momentum of a grid, in one run.

    python benchmarks/depth.py [--out results/benchmarks/depth.json] [--layers 20]

A 20-layer MLP and a 64-layer residual MLP, as they start and after an epoch of backpropagation on FashionMNIST; a batch
of 128 held-out samples, squared error, double precision. The hidden precision is set by the saturation (see `GN`).
Equilibrium is a median relative residual of at most 1e-2, in the variables that a solver moves and in the states.
Then the passes of Gauss-Newton against depth, and the training step in units of backpropagation's. With `--layers`
only the times to equilibrium at this depth are taken again; what else stands in the file stays.
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
import optax

import hookean as hk
from hookean.algorithms import BP, GN
from hookean.algorithms.gn import saturating_factor, scaled
from hookean.data import FashionMNIST
from hookean.inference import GaussNewton
from hookean.inference.curvature import largest_curvature
from hookean.inference.relax import relax
from hookean.record import environment, write_text
from hookean.tasks.evidence import state_residual

TARGET = 1e-2
#: Momenta of descent on the states and on the errors. Heavy balls forget by the root of the momentum a step: 0.9 alone
#: would need 87 steps for the target, whatever the energy.
MOMENTA = {"states": (0.0, 0.5, 0.7, 0.8, 0.9), "errors": (0.0, 0.5, 0.9)}
ROUNDS = 7
BATCH = 128
#: Most steps that are tried, by family; a family is tried up to a limit before anyone of it is given the next one.
LIMITS = {"states": (64, 256), "errors": (16, 64, 256), "Gauss-Newton": (8,)}
DEPTHS = (8, 16, 32, 64, 128)


def network(layers: int) -> hk.Network:
    """Return the plain MLP of 20 layers, or a residual one of another number."""
    key = jax.random.key(0)
    if layers == 20:
        return hk.mlp(784, 10, hidden=(128,) * 19, orthogonal=2**0.5, key=key)
    return hk.residual_mlp(784, 10, width=128, depth=layers - 1, activation=jax.nn.gelu, key=key)


def samples() -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Return (training samples, one held-out batch)."""
    data = FashionMNIST().load()
    x = jnp.asarray(data.transform.evaluate(data.train.inputs), float).reshape(len(data.train.labels), -1)
    whole = {"x": x, "y": jax.nn.one_hot(data.train.labels, 10, dtype=x.dtype)}
    return {n: v[BATCH:] for n, v in whole.items()}, {n: v[:BATCH] for n, v in whole.items()}


def trained(net: hk.Network, rows: dict[str, jax.Array]) -> hk.Network:
    """Return the network after an epoch of backpropagation (AdamW, rate 0.001)."""
    algorithm = BP(optimiser=optax.adamw(1e-3))
    state = algorithm.init(net, key=jax.random.key(0))
    step = eqx.filter_jit(lambda state, batch: algorithm.step(state, batch, key=jax.random.key(0))[0])
    for batch in np.random.default_rng(0).permutation(len(rows["x"]))[: 428 * BATCH].reshape(-1, BATCH):
        state = step(state, {name: values[batch] for name, values in rows.items()})
    return state.network


def saturated(net: hk.Network, clamps: Any, saturation: float) -> tuple[hk.Network, float]:
    """Return the network with the hidden precision at which its output error is so saturated, and that precision."""
    factor = eqx.filter_jit(saturating_factor)(net, clamps, saturation)
    return scaled(net, clamps, factor), float(factor)


@eqx.filter_jit
def residuals(net: hk.Network, clamps: Any, coordinates: Any, solver: Any, most: int) -> jax.Array:
    """Return the median relative residual after 0, 1, ..., `most` steps, in the variables that the solver moves."""
    given = {"steps": most, "record": True, "savings": False, "unroll": False}
    trace = relax(net, clamps, solver=solver, coordinates=coordinates, **given).trace  # type: ignore[arg-type]
    assert trace is not None
    return jnp.median(trace.residual / trace.residual[:, :1], axis=0)


def steps_needed(net: hk.Network, clamps: Any, coordinates: Any, solver: Any, most: int) -> int | None:
    """Return the steps after which the median relative residual is at the target, or None.

    It must be there in the variables that the solver moves, and in the states, which is one measure for all.
    """
    reached = np.flatnonzero(np.asarray(residuals(net, clamps, coordinates, solver, most)) <= TARGET)
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
    by_state = [(r / precision, m) for r in (0.1, 0.2, 0.4, 0.6) for m in MOMENTA["states"]]
    by_error = [(r / curvature, m) for r in (0.25, 0.5, 1.0, 1.9) for m in MOMENTA["errors"]]
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
                passes = solver.passes * steps
                tried.append((passes, steps, label, solver, coordinates))
            print(f"    {family}, {label}: {steps} of {limit}", flush=True)
        if tried:
            passes, steps, label, solver, coordinates = min(tried, key=lambda one: one[0])
            run = runner(net, clamps, coordinates, solver, steps)
            found = {"reached": True, "setting": label, "steps": steps, "passes": passes, "tried": len(members)}
            return found | {"state_residual": float(in_states(net, clamps, run(net))), "run": run}
    return {"reached": False, "limit": LIMITS[family][-1], "tried": len(members)}


def timed(runs: dict[str, Any], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median milliseconds of each run; they take turns, so that what disturbs one disturbs all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def to_equilibrium(net: hk.Network, clamps: Any, saturation: float) -> dict[str, Any]:
    """Return family -> the best member, its steps, passes and time."""
    net, precision = saturated(net, clamps, saturation)
    found = {f: best(f, members, net, clamps) for f, members in families(net, clamps, precision).items()}
    runs = {f: eqx.Partial(case.pop("run"), net) for f, case in found.items() if case["reached"]}
    for family, milliseconds in timed(runs).items():
        found[family]["milliseconds"] = milliseconds
    for case in found.values():
        if case["reached"] and found["Gauss-Newton"]["reached"]:
            case["ratio"] = case["milliseconds"] / found["Gauss-Newton"]["milliseconds"]
    return {"precision": precision} | found


def passes_by_depth(clamps: Any) -> dict[int, int | None]:
    """Return the passes to the target of Gauss-Newton with one iteration at saturation 0.1, as networks start."""
    found: dict[int, int | None] = {}
    for layers in DEPTHS:
        net, _ = saturated(network(layers), clamps, 0.1)
        steps = steps_needed(net, clamps, hk.ErrorCoordinates(), GaussNewton(1), 8)
        found[layers] = None if steps is None else steps * GaussNewton(1).passes
        print(f"  {layers} layers: {found[layers]} passes", flush=True)
    return found


def training_steps(layers: int, clamps: Any) -> dict[str, float]:
    """Return the milliseconds of a training step of each algorithm."""

    def runner(algorithm: Any) -> Any:
        state = algorithm.init(network(layers), key=jax.random.key(0))
        step = eqx.filter_jit(lambda state: algorithm.step(state, clamps, key=jax.random.key(0)))
        jax.block_until_ready(step(state))
        return eqx.Partial(step, state)

    one = {"solver": GaussNewton(1), "optimiser": optax.adamw(1e-3)}
    algorithms = {
        "BP": BP(optimiser=optax.adamw(1e-3)),
        "GN, saturation 0.03, one step": GN(steps=1, saturation=0.03, **one),
        "GN, saturation 0.1, two steps": GN(steps=2, saturation=0.1, **one),
    }
    return timed({name: runner(algorithm) for name, algorithm in algorithms.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/depth.json"))
    parser.add_argument("--layers", type=int, choices=(20, 64))
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows, clamps = samples()
    earlier = json.loads(given.out.read_text()) if given.layers else {}
    whole: dict[str, Any] = earlier | {"environment": environment(), "target": TARGET}

    def keep(part: str, name: str, found: Any) -> None:
        whole.setdefault(part, {})[name] = found
        print(f"{part}, {name}: {found}", flush=True)
        write_text(given.out, json.dumps(whole, indent=1) + "\n")

    if given.layers is None:
        for layers in (20, 64):
            keep("training step, ms", str(layers), training_steps(layers, clamps))
        keep("passes by depth", "saturation 0.1", passes_by_depth(clamps))
    for layers in (given.layers,) if given.layers else (20, 64):
        begun = network(layers)
        for stage, net in (("as it starts", begun), ("after an epoch", trained(begun, rows))):
            for saturation in (0.1, 1.0):
                name = f"{layers} layers, {stage}, saturation {saturation:g}"
                keep("to equilibrium", name, to_equilibrium(net, clamps, saturation))


if __name__ == "__main__":
    main()
