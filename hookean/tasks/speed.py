"""Seconds, memory and compile time of a training step, predictive coding beside backpropagation."""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .. import algorithms
from ..algorithms.contract import AbstractAlgorithm
from ..core import builders
from ..registry import exported_classes, exported_functions, find
from .build import construct
from .train import mebibytes


@dataclasses.dataclass(frozen=True)
class StepTime:
    """What one training step costs.

    Attributes:
        milliseconds: median over repeats, the device awaited.
        compile_seconds: tracing and compiling.
        memory_mebibytes: arguments, results and scratch space of the compiled step.
    """

    network: str
    algorithm: str
    steps: int | None
    batch: int
    milliseconds: float
    compile_seconds: float
    memory_mebibytes: float


def shape_of(network: str) -> tuple[int, ...]:
    """Return the shape of the samples that a network is timed on: CIFAR-10's for convolutions, else MNIST's."""
    return (32, 32, 3) if network.lower().startswith("vgg") else (28, 28, 1)


def time_step(network: str, algorithm: str, *, steps: int | None, batch: int, repeats: int) -> StepTime:
    """Time one algorithm on random data of ten classes."""
    key = jax.random.key(0)
    shape = shape_of(network)
    net, _ = construct({"name": network}, exported_functions(builders), "network", inputs=shape, outputs=10, key=key)
    given = {"name": algorithm} | ({} if steps is None else {"steps": steps})
    members = exported_classes(algorithms, AbstractAlgorithm)
    find(algorithm, members, "algorithm")
    rule, _ = construct(given, members, "algorithm", optimiser=optax.adamw(1e-4))
    clamps = {net.input: jax.random.normal(key, (batch, *shape)), net.output: jnp.eye(10)[jnp.arange(batch) % 10]}
    dynamic, static = eqx.partition(rule.init(net, key=key), eqx.is_array)

    def step(dynamic: object, clamps: dict) -> object:
        return eqx.partition(rule.step(eqx.combine(dynamic, static), clamps, key=key)[0], eqx.is_array)[0]

    began = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(dynamic, clamps).compile()
    compile_seconds = time.perf_counter() - began
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        dynamic = jax.block_until_ready(compiled(dynamic, clamps))
        seconds.append(time.perf_counter() - began)
    milliseconds = 1e3 * statistics.median(seconds[1:])
    return StepTime(network, rule.label, steps, batch, milliseconds, compile_seconds, mebibytes(compiled))


def sweep(
    networks: Sequence[str], steps: Sequence[int], batches: Sequence[int], repeats: int
) -> list[tuple[StepTime, float]]:
    """Time PC at every T and BP, over networks and batch sizes; return (cost, ratio to BP's time)."""
    rows = []
    for network in networks:
        for batch in batches:
            base = time_step(network, "BP", steps=None, batch=batch, repeats=repeats)
            rows.append((base, 1.0))
            for t in steps:
                cost = time_step(network, "PC", steps=t, batch=batch, repeats=repeats)
                rows.append((cost, cost.milliseconds / base.milliseconds))
    return rows
