"""Backpropagation on the network equals jax.grad of a plain function, ZIL equals backpropagation, PC does not."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import close, dense_gradients, flat, forward, signal

from hookean.algorithms import BP, PC, ZIL
from hookean.core.density import Categorical, Gaussian
from hookean.core.layers import Dense, identity
from hookean.core.network import Network
from hookean.core.term import Coupling, Prediction
from hookean.inference import Gradient


def plain_loss(name):
    """Return the loss of one sample as a function of [(W, b)], written without the package."""

    def loss(weights, x, y):
        for W, b in weights[:-1]:
            x = jnp.tanh(W @ x + b)
        W, b = weights[-1]
        output = W @ x + b
        if name == "categorical":
            return -jnp.sum(y * (output - jax.scipy.special.logsumexp(output)))
        if name == "bernoulli":
            p = 1 / (1 + jnp.exp(-output))
            return -jnp.sum(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))
        return 0.5 * jnp.sum((y - output) ** 2)

    return loss


@pytest.mark.parametrize("name", ["mlp", "categorical", "bernoulli"])
def test_backpropagation_is_the_gradient_of_a_plain_function(name):
    example = examples.build(name)
    weights = [(t.function.linear.weight, t.function.linear.bias) for t in example.network.term_list]
    loss = plain_loss(name)
    x, y = example.train["x"], example.train["y"]

    @jax.jit
    def mean(weights):
        return jnp.mean(jax.vmap(lambda a, b: loss(weights, a, b))(x, y))

    found = signal(BP(), example)
    expected = jax.grad(mean)(weights)
    for (W, b), (V, c) in zip(dense_gradients(example.network, found.gradient), expected, strict=True):
        np.testing.assert_allclose(W, V, atol=1e-14)
        np.testing.assert_allclose(b, c, atol=1e-14)
    np.testing.assert_allclose(sum(found.energies.values()), mean(weights), atol=1e-14)


def test_scale_multiplies_the_gradient(mlp):
    once, twice = signal(BP(), mlp), signal(BP(2.0), mlp)
    close(twice.gradient, jax.tree.map(lambda g: 2 * g, once.gradient), atol=1e-15)
    close(twice.energies, once.energies, atol=0)


def _branching(keys):
    """Two paths of equal length from h1 to y: every node still has one distance from the output."""
    terms = [
        Prediction("h1", "x", Dense(4, 5, jnp.tanh, key=keys(0))),
        Prediction("a", "h1", Dense(5, 3, jnp.tanh, key=keys(1))),
        Prediction("b", "h1", Dense(5, 6, jax.nn.gelu, key=keys(2))),
        Prediction("c", ("a", "b"), examples.Summed((3, 6), 4, jnp.tanh, key=keys(3))),
        Prediction("y", "c", Dense(4, 2, identity, key=keys(4)), Gaussian(1.7)),
    ]
    network = Network({"x": 4, "h1": 5, "a": 3, "b": 6, "c": 4, "y": 2}, terms, input="x", output="y")
    return examples.Example(network, {"train": {"x": examples.values(40, 4), "y": examples.values(41, 2)}})


@pytest.mark.parametrize("name", ["mlp", "categorical", "bernoulli", "conv", "branching"])
def test_zil_is_backpropagation(name, keys):
    example = _branching(keys) if name == "branching" else examples.build(name)
    zil, bp = signal(ZIL(), example), signal(BP(), example)
    close(zil.gradient, bp.gradient, atol=1e-12)
    assert min(np.abs(leaf).max() for leaf in jax.tree.leaves(bp.gradient)) > 1e-6


@pytest.mark.parametrize("name", ["skip", "sources", "lateral", "bidirectional", "decoder"])
def test_zil_refuses_what_it_cannot_make_equal(name, key):
    network = examples.build(name).network
    if name == "decoder":  # the latent is free, but every term leads to the output
        ZIL().init(network, key=key)
        return
    with pytest.raises(ValueError, match=r"ZIL needs a network of predictions.*Delay shortcuts by identity nodes"):
        ZIL().init(network, key=key)


def test_zil_refuses_other_precisions(chain, key):
    with pytest.raises(ValueError, match=r"ZIL needs Gaussian hidden terms with precision 1; 'a' has another density"):
        ZIL().init(chain.network, key=key)


def test_zil_refuses_side_branches_and_second_predictions(mlp, keys):
    terms = mlp.network.terms
    shapes = mlp.network.shapes
    side = Prediction("z", "h1", Dense(6, 2, identity, key=keys(0)))
    again = Prediction("h2", "h1", Dense(6, 5, identity, key=keys(1)))
    beside = Network(shapes | {"z": 2}, terms | {"z": side}, output="y")
    twice = Network(shapes, terms | {"again": again}, output="y")
    penalty = Network(shapes, terms | {"penalty": Coupling("h1", lambda h: jnp.sum(h**2))}, output="y")
    for network in (beside, twice, penalty):
        with pytest.raises(ValueError, match="ZIL needs a network of predictions"):
            ZIL().init(network, key=keys(2))


def test_predictive_coding_at_equilibrium_is_not_backpropagation(mlp):
    """A guard against a PC that is backpropagation in disguise: directions differ, most at depth."""
    pc, bp = signal(PC(Gradient(0.1, 0.8), steps=1000), mlp), signal(BP(), mlp)
    cosines = []
    for (W, _), (V, _) in zip(
        dense_gradients(mlp.network, pc.gradient), dense_gradients(mlp.network, bp.gradient), strict=True
    ):
        a, b = flat(W), flat(V)
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert max(cosines[:3]) < 0.999
    assert np.linalg.norm(flat(pc.gradient) - flat(bp.gradient)) > 0.05 * np.linalg.norm(flat(bp.gradient))


def test_one_step_of_small_rate_has_the_direction_of_backpropagation(mlp):
    """The first error that reaches the last hidden node is -rate times backpropagation's delta."""
    rate = 0.01
    states = signal(PC(Gradient(rate), steps=1), mlp).relaxation.states
    start = forward(mlp.network, {"x": mlp.train["x"]})
    last = mlp.network.terms["y"].function.linear
    delta = jax.vmap(lambda y, u: last.weight.T @ (u - y))(mlp.train["y"], start["y"])
    np.testing.assert_allclose(states["h3"] - start["h3"], -rate * delta, atol=1e-15)
    for name in ("h1", "h2"):
        np.testing.assert_array_equal(states[name], start[name])


@pytest.mark.parametrize("name", ["mlp", "skip", "sources", "conv", "categorical", "deconv"])
def test_forward_evaluates_each_node_once_after_its_sources(name):
    example = examples.build(name)
    given = {n: c for n, c in example.train.items() if n != example.network.output} or {
        "z": examples.values(50, 1, 2, 3)
    }
    states = forward(example.network, given)
    for term in example.network.term_list:
        expected = eqx.filter_vmap(lambda s, t=term: t.density.mean(t.function(*(s[n] for n in t.sources))))(states)
        np.testing.assert_allclose(states[term.target], expected, atol=1e-14)
    for name, value in given.items():
        np.testing.assert_array_equal(states[name], value)


def test_forward_does_not_depend_on_the_order_of_terms(mlp):
    backwards = Network(mlp.network.shapes, dict(reversed(mlp.network.terms.items())))
    close(forward(backwards, {"x": mlp.train["x"]}), forward(mlp.network, {"x": mlp.train["x"]}), atol=0)


def test_categorical_guard(keys):
    """A ZIL that took the squared error of the probabilities would fail here: the delta is y - softmax."""
    network = Network(
        {"x": 2, "y": 3}, [Prediction("y", "x", Dense(2, 3, identity, key=keys(0)), Categorical())], output="y"
    )
    clamps = {"x": jnp.array([[1.0, 2.0], [0.5, -1.0]]), "y": jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])}
    found = signal(ZIL(), examples.Example(network, {"train": clamps}))
    probabilities = forward(network, {"x": clamps["x"]})["y"]
    expected = np.mean(
        [np.outer(p - y, x) for p, y, x in zip(probabilities, clamps["y"], clamps["x"], strict=True)], axis=0
    )
    np.testing.assert_allclose(dense_gradients(network, found.gradient)[0][0], expected, atol=1e-14)
