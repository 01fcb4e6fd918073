"""Networks and clamps on which a rule would be wrong are refused, and what leaves the finite numbers says so."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relaxed

from hookean.algorithms import BP, CN, DTP, FF, GN, MCPC, PC, PCALM, ZIL, EPNudging, FixedPrediction
from hookean.core.builders import decoder, elman, mlp
from hookean.core.clamp import Masked
from hookean.core.density import Gaussian
from hookean.core.lateral import LateralInhibition
from hookean.core.network import Network
from hookean.core.precision import ScalarPrecision
from hookean.inference import Gradient
from hookean.learning.energy_gradient import settled_gradient

KEY = jax.random.key(3)


def stiff():
    return mlp(4, 3, hidden=(5, 6), precision=2.0, key=KEY)


def learned():
    return mlp(4, 3, hidden=(5, 6), output=Gaussian(ScalarPrecision(1.0, learned=True)), key=KEY)


def sequence():
    return elman((6, 2), 3, hidden=(4,), key=KEY)


def loose():
    """A decoder whose data node is called the output, with a latent that nothing predicts."""
    network = decoder(3, 8, hidden=(4,), key=KEY)
    return Network(network.shapes, network.terms, output="x")


@pytest.mark.parametrize(
    ("algorithm", "network", "message"),
    [
        (EPNudging(), stiff(), "Gaussian hidden terms with precision 1; 'h1' has another"),
        (ZIL(), stiff(), "Gaussian hidden terms with precision 1; 'h1' has another"),
        (EPNudging(), sequence(), "do not predict themselves"),
        (FixedPrediction(), sequence(), "over a sequence needs `steps`"),
        (EPNudging(), "precisions", "precision 1"),
        (FixedPrediction(), "precisions", "does not learn a precision"),
        (DTP(), learned(), "does not learn a precision"),
        (GN(first_order=True), learned(), "does not learn a precision"),
        (PCALM(), loose(), "nothing predicts z"),
    ],
    ids=lambda part: type(part).__name__ if not isinstance(part, str) else part[:20],
)
def test_networks_on_which_a_rule_is_wrong_are_refused(algorithm, network, message):
    network = examples.build(network).network if isinstance(network, str) else network
    with pytest.raises(ValueError, match=message):
        algorithm.init(network, key=KEY)


def test_a_sequence_takes_fixed_prediction_with_steps_for_every_time_and_layer():
    network = sequence()
    batch = {"x": examples.values(3, 6, 2), "y": examples.one_hot(3)}
    found = FixedPrediction(steps=8).signal(network, batch, epoch=0, key=KEY).gradient
    expected = BP().signal(network, batch, epoch=0, key=KEY).gradient
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    "algorithm", [BP(), ZIL(), PCALM(), FixedPrediction(), EPNudging(), CN(), GN(first_order=True)]
)
def test_a_clamp_with_a_mask_is_not_taken_for_a_whole_one(algorithm):
    network = mlp(4, 3, hidden=(5, 6), key=KEY)
    half = Masked(examples.one_hot(3), jnp.arange(9).reshape(3, 3) % 2 == 0)
    with pytest.raises(ValueError, match="clamp on y has a mask"):
        algorithm.signal(network, {"x": examples.values(3, 4), "y": half}, epoch=0, key=KEY)


def test_saturation_of_a_network_without_errors_changes_nothing():
    """With output weights of zero no hidden error reaches the output, and there is no curvature to measure."""
    network = mlp(4, 3, hidden=(5, 6), key=KEY)
    network = eqx.tree_at(lambda n: n.terms["y"].function.linear.weight, network, replace_fn=jnp.zeros_like)
    batch = {"x": examples.values(3, 4), "y": examples.one_hot(3)}
    found, expected = (rule.signal(network, batch, epoch=0, key=KEY).gradient for rule in (GN(saturation=1.0), GN()))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_divergence_shows_where_a_rule_has_no_relaxation():
    network = mlp(4, 3, hidden=(5, 6), key=KEY)
    batch = {"x": examples.values(3, 4), "y": examples.one_hot(3)}
    for rate, fraction in ((0.1, 0.0), (1e30, 1.0)):
        algorithm = PCALM(rate=rate, steps=30)
        _, info = algorithm.step(algorithm.init(network, key=KEY), batch, key=KEY)
        assert float(info.diverged) == fraction


def test_running_means_stay_with_their_layers_in_a_deep_network():
    """Eleven hidden nodes: a compiled step hands its memory back in another order (h1, h10, h11, h2)."""
    network = mlp(12, 3, hidden=tuple(range(15, 4, -1)), activation=jax.nn.relu, key=KEY)
    batch = {"x": examples.values(3, 12), "y": examples.one_hot(3)}
    algorithm = FF()
    state = algorithm.init(network, key=KEY)
    for _ in range(2):
        expected = algorithm.remember(state, batch, key=KEY)
        state, _ = eqx.filter_jit(algorithm.step)(state, batch, key=KEY)
        for node, mean in expected.items():
            np.testing.assert_allclose(state.memory[node], mean, atol=1e-12)


def test_what_samples_were_drawn_for_leaves_no_term_untouched():
    network = mlp(4, 3, hidden=(5, 6), key=KEY)
    batch = {"x": examples.values(3, 4), "y": examples.one_hot(3)}
    end = MCPC(warm=0).signal(network, batch, epoch=0, key=KEY).relaxation
    gradient, _ = settled_gradient(network, end)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))


def test_where_couplings_move_the_minimum_the_answer_is_the_relaxed_one():
    network = mlp(4, 3, hidden=(5, 6), activation=jax.nn.relu, lateral=LateralInhibition(0.3), key=KEY)
    inputs = examples.values(3, 4)
    algorithm = PC(solver=Gradient(0.2), steps=100)
    found = eqx.filter_jit(algorithm.predict)(network, {"x": inputs})
    states = relaxed(network, {"x": inputs}, solver=Gradient(0.2), steps=100, unroll=False).states
    np.testing.assert_allclose(found, jax.vmap(network.predictions)(states)["y"], atol=1e-12)
    swept = jax.vmap(lambda x: network.forward({"x": x})["y"])(inputs)
    assert float(jnp.abs(found - swept).max()) > 1e-2
