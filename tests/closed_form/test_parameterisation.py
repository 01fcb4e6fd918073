"""The residual MLP: factors by the published table, sizes of signals, and how near its equilibrium is to BP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import Example
from oracles import flat, signal

from hookean.algorithms import BP, GN
from hookean.core.builders import mlp, residual_mlp
from hookean.core.layers import identity
from hookean.core.parameters import count_parameters
from hookean.inference import GaussNewton


@pytest.mark.parametrize(
    ("options", "first", "hidden", "last"),
    [
        ({}, 1.0, 1 / np.sqrt(5), 1.0),
        ({"skip": False}, 1.0, 1.0, 1.0),
        ({"mup": True}, 1 / np.sqrt(12), 1 / np.sqrt(7 * 5), 1 / 7),
        ({"mup": True, "skip": False}, 1 / np.sqrt(12), 1 / np.sqrt(7), 1 / 7),
    ],
)
def test_factors_by_hand(options, first, hidden, last):
    """D = 12 inputs, N = 7, H = 4 hidden nodes, L = 5 weight layers."""
    network = residual_mlp((3, 4), 2, width=7, depth=4, key=jax.random.key(0), **options)
    layers = [term.function for term in network.term_list]
    np.testing.assert_allclose([layer.factor for layer in layers], [first, hidden, hidden, hidden, last], rtol=1e-12)
    assert [layer.skip for layer in layers] == [False, *([options.get("skip", True)] * 3), False]
    assert [term.target for term in network.term_list] == ["h1", "h2", "h3", "h4", "y"]
    assert count_parameters(network) == 12 * 7 + 3 * 49 + 7 * 2


@pytest.mark.parametrize(("mup", "spread"), [(False, 1 / np.sqrt(200)), (True, 1.0)])
def test_first_weights_are_normal(mup, spread):
    network = residual_mlp(200, 200, width=200, depth=2, mup=mup, key=jax.random.key(1))
    for term in network.term_list:
        weights = np.asarray(term.function.weight)
        np.testing.assert_allclose(weights.std(), spread, rtol=0.02)
        assert abs(weights.mean()) < 0.02 * spread
    a, b = (np.ravel(term.function.weight) for term in network.term_list[:2])
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.02  # no layer repeats another


def test_a_prediction_by_hand():
    network = residual_mlp(3, 2, width=4, depth=2, mup=True, precision=5.0, key=jax.random.key(2))
    W = [np.asarray(term.function.weight) for term in network.term_list]
    x = np.array([1.0, -2.0, 0.5])
    h1 = W[0] @ x / np.sqrt(3)
    h2 = h1 + W[1] @ np.maximum(h1, 0) / np.sqrt(4 * 3)
    states = network.forward({"x": jnp.asarray(x)})
    np.testing.assert_allclose(states["h2"], h2, atol=1e-12)
    np.testing.assert_allclose(states["y"], W[2] @ np.maximum(h2, 0) / 4, atol=1e-12)
    moved = states | {"h2": states["h2"] + 0.1}
    np.testing.assert_allclose(network.energies(moved)["h2"], 0.5 * 5.0 * 4 * 0.01, atol=1e-12)


def test_states_keep_their_size_with_depth():
    x = jax.random.normal(jax.random.key(3), (16, 50))
    for mup in (False, True):
        sizes = []
        for depth in (8, 64):
            network = residual_mlp(50, 4, width=64, depth=depth, mup=mup, key=jax.random.key(4))
            states = jax.jit(jax.vmap(lambda sample, n=network: n.forward({"x": sample})))(x)
            sizes.append(float(jnp.std(states[f"h{depth}"])))
        assert 0.5 < sizes[1] / sizes[0] < 2


def test_orthogonal_start_of_the_mlp():
    network = mlp(40, 10, hidden=(30, 30), orthogonal=1.7, key=jax.random.key(5))
    for term in network.term_list:
        W = np.asarray(term.function.linear.weight)
        small = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
        np.testing.assert_allclose(small, 1.7**2 * np.eye(len(small)), atol=1e-10)
        assert not np.any(term.function.linear.bias)


def test_wide_networks_are_nearer_to_backpropagation():
    """Linear muPC networks: published cosines with BP at H = 4 are 0.887, 0.982 and 0.999 for N = 8, 32 and 128."""
    clamps = {"x": jax.random.normal(jax.random.key(6), (8, 10)), "y": jax.random.normal(jax.random.key(7), (8, 3))}
    cosines = []
    for width in (8, 32, 128):
        found = []
        for seed in range(4):
            network = residual_mlp(10, 3, width=width, depth=4, mup=True, activation=identity, key=jax.random.key(seed))
            example = Example(network, {"train": clamps})
            a, b = (flat(signal(rule, example).gradient) for rule in (GN(GaussNewton(3), 1), BP()))
            found.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        cosines.append(np.mean(found))
    # How many inputs and outputs those had is not published; narrow networks depend on it.
    np.testing.assert_allclose(cosines[1:], [0.982, 0.999], atol=0.03)
    assert cosines[0] < cosines[1] < cosines[2]


@pytest.mark.parametrize("build", [mlp, residual_mlp])
def test_a_precision_for_each_hidden_node(build, keys):
    size = {"hidden": (5, 4, 3)} if build is mlp else {"depth": 3, "width": 4}
    network = build(4, 2, **size, precision=(1.0, 2.0, 3.0), key=keys(0))
    assert [term.density.precision.value for term in network.terms.values()] == [1.0, 2.0, 3.0, 1.0]
    with pytest.raises(
        ValueError, match="precision must be a number or 3 numbers, from the input to the output, got 2"
    ):
        build(4, 2, **size, precision=(1.0, 2.0), key=keys(0))
