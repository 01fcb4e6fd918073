"""Scores of foreignness against closed forms: linear chains of four layers, unequal widths, every class in turn."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from hookean import Categorical, Gaussian, Gradient, mlp
from hookean.core.layers import identity
from hookean.tasks import scores

KEY = jax.random.key(4)
INPUTS = jax.random.normal(jax.random.key(5), (6, 5))


def network(output, activation=identity):
    return mlp(5, 3, hidden=(7, 6, 4), activation=activation, output=output, key=KEY)


def settled_energy(net, x, target):
    """E* = r^T S^-1 r / 2 with S the sum of P_l P_l^T: the energy of a linear chain at its equilibrium."""
    weights = [term.function.linear.weight for term in net.term_list]
    r = target - scores.logits(net, x)
    P, S = jnp.eye(3), jnp.eye(3)
    for weight in weights[:0:-1]:
        P = P @ weight
        S = S + P @ P.T
    return 0.5 * r @ jnp.linalg.solve(S, r)


def test_settled_energies_are_the_closed_form():
    net = network(Gaussian())
    found = eqx.filter_jit(scores.of_energy)(net, INPUTS, solver=Gradient(0.3), steps=600)
    outputs = jax.vmap(lambda x: scores.logits(net, x))(INPUTS)
    best = jax.nn.one_hot(jnp.argmax(outputs, axis=1), 3)
    np.testing.assert_allclose(found["energy before"], 0.5 * jnp.sum((best - outputs) ** 2, axis=1), rtol=1e-10)
    expected = jax.vmap(lambda x, y: settled_energy(net, x, y))(INPUTS, best)
    np.testing.assert_allclose(found["energy after"], expected, rtol=1e-8)
    by_class = jnp.stack([jax.vmap(lambda x, y=y: settled_energy(net, x, y))(INPUTS) for y in jnp.eye(3)])
    np.testing.assert_allclose(found["label-free energy"], -logsumexp(-by_class, axis=0), rtol=1e-8)
    parts = [value for name, value in found.items() if name.startswith("energy after (")]
    assert len(parts) == 4
    np.testing.assert_allclose(sum(parts), found["energy after"], rtol=1e-12)


def test_with_cross_entropy_the_energy_before_inference_is_the_log_of_the_max_softmax():
    net = network(Categorical(), jnp.tanh)
    before = eqx.filter_jit(scores.of_energy)(net, INPUTS, solver=Gradient(0.1), steps=2)["energy before"]
    plain = jax.vmap(lambda x: scores.of_outputs(net, x))(INPUTS)
    np.testing.assert_allclose(jnp.exp(-before), -plain["max softmax"], rtol=1e-12)


def test_scores_of_the_outputs_by_hand():
    net = network(Categorical(), jnp.tanh)
    found = scores.of_outputs(net, INPUTS[0])
    z = np.asarray(scores.logits(net, INPUTS[0]))
    p = np.exp(z) / np.exp(z).sum()
    expected = {"max softmax": -p.max(), "entropy": -(p * np.log(p)).sum(), "logit energy": -np.log(np.exp(z).sum())}
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12)


def test_odin_steps_towards_confidence():
    """To first order a step of size e lowers the score by e times the sum of |gradient|, for it moves every input."""
    net = network(Categorical(), jnp.tanh)
    x, step = INPUTS[1], 1e-5

    def softmax(x):
        return jnp.max(jax.nn.softmax(scores.logits(net, x) / scores.ODIN_TEMPERATURE))

    odin = jax.jit(lambda step: scores.odin(net, x, step))
    value, slopes = jax.jit(jax.value_and_grad(softmax))(x)
    np.testing.assert_allclose(odin(0.0), -value, rtol=1e-12)
    np.testing.assert_allclose((odin(0.0) - odin(step)) / step, jnp.sum(jnp.abs(slopes)), rtol=1e-3)
    assert scores.best_step(net, INPUTS, (0.0, 1e-4, -1e-4)) == 1e-4


def test_mahalanobis_is_the_distance_to_the_nearest_class():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 4000)
    root = np.array([[2.0, 0, 0], [0.5, 1, 0], [0, -0.3, 0.2]])
    means = np.array([[0, 0, 0], [9, 0, 1], [0, 5, -3]])
    features = means[labels] + random.standard_normal((4000, 3)) @ root.T
    points = random.standard_normal((5, 3)) * 4
    precision = np.linalg.inv(root @ root.T)
    expected = [min((p - m) @ precision @ (p - m) for m in means) for p in points]
    np.testing.assert_allclose(scores.Mahalanobis(features, labels)(points), expected, rtol=0.1)


def test_features_are_the_last_hidden_node():
    net = network(Categorical(), jnp.tanh)
    np.testing.assert_allclose(scores.features(net, INPUTS[2]), net.forward({"x": INPUTS[2]})["h3"])
