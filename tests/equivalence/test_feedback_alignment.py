"""Feedback alignment against NumPy, against backpropagation, and its alignment while it learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from examples import build
from oracles import close, dense_gradients, signal

from hookean.algorithms import BP, DFA, DTP, FA
from hookean.core.builders import mlp, residual_mlp
from hookean.core.density import Categorical
from hookean.data import Digits
from hookean.data.batches import epoch_order
from hookean.learning.feedback import feedback_gradient


def layers(network):
    return [(np.asarray(t.function.linear.weight), np.asarray(t.function.linear.bias)) for t in network.term_list]


def by_hand(network, batch, feedback, direct):
    """Return [(dW, db)] of a tanh network with squared error, one sample after the other, in NumPy."""
    weights, names = layers(network), list(feedback)
    total = [(np.zeros_like(w), np.zeros_like(b)) for w, b in weights]
    for x, y in zip(np.asarray(batch["x"]), np.asarray(batch["y"]), strict=True):
        states = [x]
        for index, (w, b) in enumerate(weights):
            z = w @ states[-1] + b
            states.append(np.tanh(z) if index < len(weights) - 1 else z)
        output = error = states[-1] - y
        for index in reversed(range(len(weights))):
            if index < len(weights) - 1:
                sent = output if direct else error
                error = (np.asarray(feedback[names[index]]).T @ sent) * (1 - states[index + 1] ** 2)
            dw, db = total[index]
            total[index] = (dw + np.outer(error, states[index]), db + error)
    return [(dw / len(batch["x"]), db / len(batch["x"])) for dw, db in total]


@pytest.mark.parametrize("kind", [FA, DFA])
def test_gradient_is_the_formula_by_hand(kind):
    example = build("mlp")
    algorithm = kind(scale=1.3)
    feedback = algorithm.feedback(example.network, key=jax.random.key(0))
    found = dense_gradients(example.network, signal(algorithm, example).gradient)
    expected = by_hand(example.network, example.train, feedback, kind.direct)
    assert len(found) == len(expected) == 4
    for (dw, db), (ew, eb) in zip(found, expected, strict=True):
        np.testing.assert_allclose(dw, ew, atol=1e-13)
        np.testing.assert_allclose(db, eb, atol=1e-13)


@pytest.mark.parametrize("name", ["mlp", "categorical"])
def test_transposed_weights_make_fa_backpropagation(name):
    example = build(name)
    weights = {term.sources[0]: term.function.linear.weight for term in example.network.term_list[1:]}
    found, energies = feedback_gradient(example.network, example.train, weights, direct=False)
    exact = signal(BP(), example)
    close(found, exact.gradient, atol=1e-13)
    close(energies, exact.energies, atol=1e-13)


def test_products_of_later_weights_make_dfa_backpropagation_in_a_linear_network():
    network = build("chain").network
    product, feedback = None, {}
    for term in network.term_list[:0:-1]:
        weight = term.function.linear.weight
        product = weight if product is None else product @ weight
        feedback[term.sources[0]] = product
    found, _ = feedback_gradient(network, build("chain").train, feedback, direct=True)
    close(found, signal(BP(), build("chain")).gradient, atol=1e-13)


@pytest.mark.parametrize("kind", [FA, DFA])
def test_other_networks_are_refused(kind, key):
    for network in (build("skip").network, build("conv").network, residual_mlp(4, 3, key=key)):
        with pytest.raises(ValueError, match="chain of dense layers"):
            kind().init(network, key=key)


@pytest.mark.parametrize("orthogonal", [None, 1.0])
@pytest.mark.parametrize("kind", [FA, DFA, DTP])
def test_feedback_is_unrelated_to_weights_of_the_same_key_and_has_their_dtype(kind, orthogonal, key):
    network = mlp(12, 12, hidden=(12, 12, 12), orthogonal=orthogonal, key=key)
    network = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, network)
    feedback = [leaf for leaf in jax.tree.leaves(kind().feedback(network, key=key)) if eqx.is_array(leaf)]
    assert {leaf.dtype for leaf in feedback} == {jnp.dtype(jnp.float32)}
    for back in [leaf for leaf in feedback if leaf.ndim == 2]:
        for weight, _ in layers(network):
            assert abs(np.corrcoef(np.ravel(back), np.ravel(weight))[0, 1]) < 0.35


@pytest.mark.parametrize("kind", [FA, DFA])
def test_weights_align_with_the_feedback_on_digits(kind, key):
    """The cosine with backpropagation's gradient in the hidden layers starts near 0 and grows above one half."""
    data = Digits().load()
    with jax.numpy_rank_promotion("allow"):
        x = data.transform.evaluate(data.train.inputs).reshape(-1, 64).astype(float)
    y = jax.nn.one_hot(data.train.labels, 10)
    network = mlp(64, 10, hidden=(40, 30, 20), activation=jnp.tanh, output=Categorical(), key=key)
    algorithm = kind(optimiser=optax.adam(2e-3))
    state = first = algorithm.init(network, key=jax.random.key(3))
    step = eqx.filter_jit(algorithm.step)

    @eqx.filter_jit
    def cosines(state):
        batch = {"x": x[:200], "y": y[:200]}
        found = algorithm.remembered_signal(state.memory, state.network, batch, epoch=0, key=key).gradient
        exact = BP().signal(state.network, batch, epoch=0, key=key).gradient
        pairs = [
            (a.function.linear.weight, b.function.linear.weight)
            for a, b in zip(found.term_list, exact.term_list, strict=True)
        ]
        return jnp.array([jnp.sum(a * b) / jnp.linalg.norm(a) / jnp.linalg.norm(b) for a, b in pairs])

    before = cosines(state)
    for epoch in range(6):
        for chosen in epoch_order(len(x), 32, seed=0, epoch=epoch):
            state, _ = step(state, {"x": x[chosen], "y": y[chosen]}, key=key)
    after = cosines(state)
    np.testing.assert_allclose(before[-1], 1.0, atol=1e-12)
    assert np.abs(before[:-1]).max() < 0.4
    assert float((after - before)[:-1].min()) > 1 / 3
    assert eqx.tree_equal(state.memory, first.memory), "the feedback never learns"
