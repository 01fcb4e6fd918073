"""Hopfield networks: storage rules by their definitions, energies that never rise, capacity by mean-field theory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.classical import Hopfield, hebbian, pseudo_inverse, storkey
from hookean.classical.storage import critical_load, error_free_load, retrieval_overlap
from hookean.classical.symmetric import Symmetric
from hookean.tasks import Hopfield as Capacity

UNITS = 37


def patterns(count, key, units=UNITS):
    return jnp.where(jax.random.bernoulli(key, 0.5, (count, units)), 1.0, -1.0)


def random_network(key, units=UNITS):
    weight = jax.random.normal(key, (units, units))
    weight = (weight + weight.T) / 2
    bias = jax.random.normal(jax.random.fold_in(key, 1), (units,))
    return Hopfield(Symmetric(weight - jnp.diag(jnp.diag(weight)), bias))


def test_hebbian_weights_are_mean_products_without_the_diagonal(keys):
    X = np.asarray(patterns(5, keys(0)))
    expected = sum(np.outer(x, x) for x in X) / UNITS
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(hebbian(jnp.asarray(X)), expected, atol=1e-15)


def test_storkey_weights_follow_the_definition_sum_by_sum(keys):
    n, X = 9, np.asarray(patterns(6, keys(0), 9))
    W = np.zeros((n, n))
    for x in X:
        field = np.array(
            [[sum(W[i, k] * x[k] for k in range(n) if k not in (i, j)) for j in range(n)] for i in range(n)]
        )
        change = np.array([[x[i] * x[j] - x[i] * field[j, i] - field[i, j] * x[j] for j in range(n)] for i in range(n)])
        W = W + change / n
        np.fill_diagonal(W, 0)
    np.testing.assert_allclose(storkey(jnp.asarray(X)), W, atol=1e-14)


def test_projection_holds_every_pattern_up_to_one_less_than_the_units(keys):
    X = patterns(UNITS - 1, keys(0))
    W = pseudo_inverse(X)
    full = np.linalg.pinv(np.asarray(X)) @ np.asarray(X)
    np.testing.assert_allclose(W, full - np.diag(np.diag(full)), atol=1e-12)
    np.testing.assert_allclose(X @ W, np.asarray(X) * (1 - np.diag(full)), atol=1e-12)
    twice = jnp.concatenate([X[:4], X[:2]])  # dependent patterns add nothing
    np.testing.assert_allclose(pseudo_inverse(twice), pseudo_inverse(X[:4]), atol=1e-12)


@pytest.mark.parametrize("rule", [hebbian, storkey, pseudo_inverse])
def test_noisy_patterns_below_capacity_come_back(rule, keys):
    X = patterns(5, keys(0), 90)
    cues = jnp.where(jax.random.bernoulli(keys(1), 0.1, X.shape), -X, X)
    network = Hopfield(Symmetric(rule(X)))
    found = eqx.filter_vmap(lambda cue: network.recall(cue, key=keys(2)))(cues)
    np.testing.assert_array_equal(found.state, X)
    assert bool(found.stable.all())


@pytest.mark.parametrize("rule", [hebbian, storkey, pseudo_inverse])
def test_integer_patterns_are_stored_and_recalled_as_floats_are(rule, keys):
    drawn = jax.random.rademacher(keys(0), (3, 20))
    weight = rule(drawn)
    np.testing.assert_array_equal(weight, rule(drawn.astype(float)))
    many = jnp.ones((200, 3), jnp.int8)  # products that an int8 cannot hold
    np.testing.assert_allclose(rule(many), rule(many.astype(float)), atol=1e-6)
    network = Hopfield(Symmetric(weight))
    for found in (network.recall(drawn[0], key=keys(1)), network.recall_together(drawn[0])):
        np.testing.assert_array_equal(found.state, drawn[0])
        assert found.state.dtype == weight.dtype


def test_a_recall_is_stable_where_no_free_unit_wants_to_flip_however_it_came_there(keys):
    X = patterns(2, keys(0), 40)
    network = Hopfield(Symmetric(hebbian(X)))
    cue = X[0].at[:3].multiply(-1)
    for found in (network.recall(cue, sweeps=1, key=keys(1)), network.recall_together(cue, sweeps=1)):
        np.testing.assert_array_equal(found.state, X[0])
        assert bool(found.stable)
    held = jnp.arange(40) < 3
    found = network.recall_together(cue, held=held, sweeps=1)  # what is held wants to flip and is not asked
    assert bool(found.stable)
    assert not bool(network.stable(found.state))


def test_energy_never_rises_one_unit_at_a_time_and_ends_in_a_fixed_point(keys):
    network = random_network(keys(0))
    cues = patterns(6, keys(1))
    found = eqx.filter_vmap(lambda cue: network.recall(cue, key=keys(2)))(cues)
    assert float(jnp.diff(found.energies, axis=1).max()) <= 0
    assert float((found.energies[:, -1] - found.energies[:, 0]).max()) < -1
    assert bool(found.stable.all())
    for state in found.state:
        assert bool(network.stable(state))
        for i in range(UNITS):  # no single flip lowers the energy
            assert float(network.energy(state.at[i].multiply(-1)) - network.energy(state)) >= 0


def test_a_flip_changes_the_energy_by_the_field(keys):
    network = random_network(keys(0))
    state = patterns(1, keys(1))[0]
    field = network.coupling.field(state)
    for i in range(UNITS):
        change = network.energy(state.at[i].multiply(-1)) - network.energy(state)
        np.testing.assert_allclose(change, 2 * state[i] * field[i], atol=1e-12)


def test_all_at_once_two_coupled_units_of_opposite_sign_cycle():
    network = Hopfield(Symmetric(jnp.array([[0.0, -1.0, -1.0], [-1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])))
    together = network.recall_together(jnp.ones(3), sweeps=7)
    assert not bool(together.stable)
    np.testing.assert_array_equal(together.state, -jnp.ones(3))
    alone = network.recall(jnp.ones(3), key=jax.random.key(3))
    assert bool(alone.stable)
    assert float(alone.energies[-1]) == -1


def test_held_units_keep_their_value_and_the_rest_completes(keys):
    X = patterns(4, keys(0), 80)
    held = jnp.arange(80) < 40
    network = Hopfield(Symmetric(hebbian(X)))
    for recall in (
        lambda cue: network.recall(cue, held=held, key=keys(1)),
        lambda cue: network.recall_together(cue, held=held),
    ):
        found = recall(jnp.where(held, X[2], 1.0))
        np.testing.assert_array_equal(found.state, X[2])
        wrong = recall(jnp.where(held, -1.0, X[2]))
        np.testing.assert_array_equal(wrong.state[:40], -jnp.ones(40))


def test_a_field_of_zero_leaves_the_unit_as_it_is():
    network = Hopfield(Symmetric(jnp.zeros((4, 4))))
    cue = jnp.array([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_array_equal(network.recall(cue, key=jax.random.key(0)).state, cue)


def test_mean_field_theory_of_the_hebbian_rule():
    assert critical_load() == pytest.approx(0.137906, abs=1e-6)
    table = {0.05: 0.99999, 0.10: 0.99800, 0.12: 0.99322, 0.13: 0.98721, 0.135: 0.98079}
    for load, overlap in table.items():
        assert retrieval_overlap(load) == pytest.approx(overlap, abs=5e-6)
    assert retrieval_overlap(critical_load() - 1e-9) == pytest.approx(0.9674, abs=2e-4)
    assert retrieval_overlap(0.14) == 0
    assert retrieval_overlap(0.0) == 1
    with pytest.raises(ValueError, match="load must be 0 or more"):
        retrieval_overlap(-0.1)
    assert error_free_load(500) == pytest.approx(0.28365, abs=1e-5)


def test_a_hebbian_network_settles_at_the_overlap_of_the_theory(keys):
    units, load = 400, 0.1
    X = patterns(int(load * units), keys(0), units)
    network = Hopfield(Symmetric(hebbian(X)))
    found = eqx.filter_jit(jax.vmap(lambda cue: network.recall(cue, key=keys(1), sweeps=20).state))(X)
    overlaps = np.asarray(jnp.mean(found * X, axis=1))
    # Overlaps of single patterns scatter by the square root of the wrong bits over N; their mean over 40 patterns less.
    spread = overlaps.std() / np.sqrt(len(overlaps))
    assert abs(overlaps.mean() - retrieval_overlap(load)) < 4 * spread + 5e-4


@pytest.mark.parametrize(
    ("weight", "message"),
    [(jnp.array([[0.0, 1.0], [0.5, 0.0]]), "symmetric"), (jnp.array([[0.5, 1.0], [1.0, 0.0]]), "zero diagonal")],
)
def test_weights_that_have_no_energy_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        Symmetric(weight)


def test_near_the_limit_of_the_projection_rule_updates_together_lose_what_updates_alone_keep():
    trial = jax.jit(Capacity(units=60, rule="pseudo_inverse", cues=20).trial, static_argnums=1)
    found = np.mean([trial(jnp.asarray(48), 48, key=jax.random.key(i)) for i in range(3)], axis=0)
    fixed, share, alone, alone_spoiled, together, together_spoiled = found
    assert fixed == share == alone == together == 1  # the patterns are fixed points in either order
    assert together_spoiled < 0.2 < 0.4 < alone_spoiled
