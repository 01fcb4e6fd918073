"""What nudging holds the output at, by which number it divides, and how beta runs over the epochs."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import close, forward, signal

from hookean.algorithms import CN, NN, PC, PN
from hookean.algorithms.nudging import Nudge, nudged_signal, nudged_target
from hookean.inference import Gradient
from hookean.learning.contrast import centred

SOLVER = Gradient(0.1)


@pytest.mark.parametrize("beta", [0.25, -0.25, 1.0])
def test_target_moves_the_given_part_of_the_way(beta):
    output, target = jnp.array([[1.0, -2.0, 4.0]]), jnp.array([[3.0, 0.0, -4.0]])
    expected = {0.25: [1.5, -1.5, 2.0], -0.25: [0.5, -2.5, 6.0], 1.0: [3.0, 0.0, -4.0]}[beta]
    np.testing.assert_allclose(nudged_target(output, target, beta)[0], expected, atol=1e-15)


@pytest.mark.parametrize("name", ["mlp", "categorical"])
@pytest.mark.parametrize("beta", [0.3, -0.3])
def test_output_stays_fixed_at_the_nudged_target_and_the_gradient_is_divided(name, beta, key):
    example = examples.build(name)
    network, clamps = example.network, example.train
    run = eqx.filter_jit(nudged_signal)
    found = run(network, clamps, beta=beta, solver=SOLVER, steps=6, key=key)
    output = forward(network, {"x": clamps["x"]})["y"]
    target = output + beta * (clamps["y"] - output)
    np.testing.assert_allclose(found.relaxation.states["y"], target, atol=1e-14)
    plain = signal(PC(SOLVER, steps=6), example, {"x": clamps["x"], "y": target})
    close(found.gradient, jax.tree.map(lambda g: g / beta, plain.gradient), atol=1e-14)
    close(found.energies, plain.energies, atol=1e-14)


@pytest.mark.parametrize(("epoch", "strength"), [(0, 0.7), (1, 0.8), (2, 0.9), (3, 1.0), (4, 1.0), (50, 1.0)])
def test_ramp_adds_each_epoch_and_stops_at_one(epoch, strength):
    nudge = Nudge(0.7, 0.1)
    np.testing.assert_allclose(nudge.strength(epoch), strength, atol=1e-15)
    np.testing.assert_allclose(PN(nudge).beta(epoch), strength, atol=1e-15)
    expected = 1.0 if epoch >= 4 else -strength
    if epoch != 3:  # 0.7 + 3 * 0.1 is one only up to rounding
        np.testing.assert_allclose(NN(nudge).beta(epoch), expected, atol=1e-15)


def test_negative_nudging_turns_where_it_reaches_one_exactly():
    nudge = Nudge(0.5, 0.25)
    assert [float(NN(nudge).beta(epoch)) for epoch in range(4)] == [-0.5, -0.75, 1.0, 1.0]


@pytest.mark.parametrize("algorithm", [PN, NN])
def test_full_strength_is_predictive_coding_with_the_target_clamped(algorithm, mlp):
    nudged = signal(algorithm(Nudge(0.5, 0.25), SOLVER, steps=5), mlp, epoch=2)
    plain = signal(PC(SOLVER, steps=5), mlp, epoch=2)
    close(nudged.gradient, plain.gradient, atol=1e-14)


def test_epoch_reaches_the_signal(mlp):
    algorithm = PN(Nudge(0.2, 0.3), SOLVER, steps=5)
    later = signal(algorithm, mlp, epoch=2)
    same = signal(PN(Nudge(0.8), SOLVER, steps=5), mlp, epoch=0)
    close(later.gradient, same.gradient, atol=1e-13)


def test_given_signs_come_first_then_drawn_ones():
    drawn = [float(CN(seed=3).sign(epoch)) for epoch in range(40)]
    mixed = [float(CN(seed=3, signs="+--+").sign(epoch)) for epoch in range(40)]
    assert mixed[:4] == [1.0, -1.0, -1.0, 1.0]
    assert mixed[4:] == drawn[4:]
    assert set(drawn) == {-1.0, 1.0}
    assert drawn == [float(CN(seed=3).sign(epoch)) for epoch in range(40)]
    assert drawn != [float(CN(seed=4).sign(epoch)) for epoch in range(40)]
    assert 10 <= drawn.count(1.0) <= 30  # a fair coin leaves this range about once in a thousand seeds


def test_sign_is_the_same_for_a_traced_epoch():
    algorithm = CN(seed=3, signs="-+")
    traced = jax.jit(jax.vmap(algorithm.sign))(jnp.arange(8))
    assert traced.tolist() == [float(algorithm.sign(epoch)) for epoch in range(8)]


@pytest.mark.parametrize(("signs", "other"), [("+", PN), ("-", NN)])
def test_centred_nudging_with_one_sign_is_one_sided(signs, other, mlp):
    one = signal(CN(Nudge(0.3), signs, solver=SOLVER, steps=5), mlp, epoch=0)
    two = signal(other(Nudge(0.3), SOLVER, steps=5), mlp, epoch=0)
    close(one.gradient, two.gradient, atol=1e-14)


def test_paired_nudging_is_the_mean_of_both_sides(mlp):
    """g(+b)/2b - g(-b)/2b is the mean of g(+b)/b and g(-b)/(-b)."""
    given = {"solver": SOLVER, "steps": 5}
    paired = signal(CN(Nudge(0.3), paired=True, **given), mlp, epoch=0)
    plus = signal(PN(Nudge(0.3), **given), mlp, epoch=0)
    minus = signal(NN(Nudge(0.3), **given), mlp, epoch=0)
    close(paired.gradient, jax.tree.map(lambda p, m: (p + m) / 2, plus.gradient, minus.gradient), atol=1e-14)


def test_contrast_of_two_trees():
    plus, minus = {"w": jnp.array([1.0, 4.0])}, {"w": jnp.array([-1.0, 1.0])}
    np.testing.assert_allclose(centred(plus, minus, 0.25)["w"], [4.0, 6.0], atol=1e-15)
