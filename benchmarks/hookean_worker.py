"""Hookean's training step, predictive coding or backpropagation, on the weights and the batch of the protocol."""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from protocol import CASES, STATE_RATE, WEIGHT_DECAY, WEIGHT_RATE, Case, arrays, serve

import hookean as hk


def network(case: Case, given: dict[str, np.ndarray]) -> hk.Network:
    """Return the network of a case with the given weights; images have their channels last here."""
    key = jax.random.key(0)
    if case.convolutional:
        net = hk.vgg5((*case.inputs[1:], case.inputs[0]), case.outputs, key=key)
    else:
        net = hk.mlp(case.inputs, case.outputs, hidden=case.hidden, key=key)
    leaves = [leaf for i in range(len(case.hidden) + 1) for leaf in ours(case, i, given)]
    return eqx.tree_at(lambda n: [leaf for term in n.term_list for leaf in parameters(term)], net, leaves)


def parameters(term: hk.Prediction) -> tuple[jax.Array, jax.Array]:
    layer = getattr(term.function, "linear", term.function)
    return layer.weight, layer.bias


def ours(case: Case, index: int, given: dict[str, np.ndarray]) -> tuple[jax.Array, jax.Array]:
    """Return weight and bias of a layer in this library's layout."""
    weight, bias = given[f"{index}.weight"], given[f"{index}.bias"]
    if weight.ndim == 4:
        weight = weight.transpose(2, 3, 1, 0)
    elif case.convolutional:  # the dense layer reads a flattened image
        weight = flattened(case, weight, channels_first=True)
    return jnp.asarray(weight), jnp.asarray(bias)


def flattened(case: Case, weight: np.ndarray, *, channels_first: bool) -> np.ndarray:
    """Reorder the columns of a dense weight between images with the channels first and last."""
    side, channels = case.inputs[-1] // 2 ** len(case.hidden), case.hidden[-1]
    if channels_first:
        return weight.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(weight.shape)
    return weight.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(weight.shape)


def theirs(case: Case, weight: np.ndarray) -> np.ndarray:
    """Return a weight in the layout of the protocol."""
    if weight.ndim == 4:
        return weight.transpose(3, 2, 0, 1)
    return flattened(case, weight, channels_first=False) if case.convolutional else weight


def main() -> None:
    case, rule = CASES[sys.argv[1]], sys.argv[2]
    if "--gradient" in sys.argv:
        jax.config.update("jax_enable_x64", True)
    given = arrays(case, precise="--gradient" in sys.argv)
    net = network(case, given)
    optimiser = optax.adamw(WEIGHT_RATE, weight_decay=WEIGHT_DECAY)
    solver = hk.Gradient(STATE_RATE)
    algorithm: hk.AbstractAlgorithm = (
        hk.BP(optimiser=optimiser) if rule == "BP" else hk.PC(solver=solver, steps=case.steps, optimiser=optimiser)
    )
    x = given["x"].transpose(0, 2, 3, 1) if case.convolutional else given["x"]
    batch = {"x": jnp.asarray(x), "y": jnp.asarray(given["y"])}
    key = jax.random.key(0)
    dynamic, static = eqx.partition(algorithm.init(net, key=key), eqx.is_array)

    @jax.jit
    def signal(dynamic, batch):
        return algorithm.signal(eqx.combine(dynamic, static).network, batch, epoch=0, key=key).gradient

    def gradient():
        found = signal(dynamic, batch)
        by_name = {}
        for i, term in enumerate(found.term_list):
            weight, bias = (np.asarray(leaf) for leaf in parameters(term))
            by_name |= {f"{i}.weight": theirs(case, weight), f"{i}.bias": bias}
        return by_name

    @jax.jit
    def train(dynamic, batch):
        return eqx.partition(algorithm.step(eqx.combine(dynamic, static), batch, key=key)[0], eqx.is_array)[0]

    began = time.perf_counter()
    compiled = jax.jit(train, donate_argnums=0).lower(dynamic, batch).compile()
    # The gradient is wanted at the first weights, so that no step may be taken before.
    state = [dynamic if "--gradient" in sys.argv else jax.block_until_ready(compiled(dynamic, batch))]
    facts = {
        "library": f"hookean {rule}",
        "jax": jax.__version__,
        "equinox": eqx.__version__,
        "compile_seconds": time.perf_counter() - began,
    }

    def step():
        state[0] = compiled(state[0], batch)
        return state[0]

    serve(step, gradient, facts, jax.block_until_ready)


if __name__ == "__main__":
    main()
