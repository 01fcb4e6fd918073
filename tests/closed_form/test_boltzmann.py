"""Boltzmann machines against enumeration: partition functions, gradients, moments, annealing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats

from hookean.classical import AnnealedImportance, BoltzmannMachine, ContrastiveDivergence, RestrictedBoltzmann
from hookean.classical.annealed_importance import schedule
from hookean.classical.boltzmann_machine import independent_blocks
from hookean.classical.enumeration import all_states, log_partition, probabilities
from hookean.classical.symmetric import Symmetric
from hookean.core.network import Network


def machine(units, key, *, visible=None, density=1.0, scale=0.8):
    keys = jax.random.split(key, 3)
    weight = scale * jax.random.normal(keys[0], (units, units))
    weight = jnp.triu(weight * jax.random.bernoulli(keys[1], density, (units, units)), 1)
    return BoltzmannMachine(Symmetric(weight + weight.T, 0.5 * jax.random.normal(keys[2], (units,))), visible)


def restricted(visible, hidden, key, scale=0.7):
    keys = jax.random.split(key, 3)
    rbm = RestrictedBoltzmann(visible, hidden, key=keys[0])
    values = (scale * jax.random.normal(keys[0], (visible, hidden)), jax.random.normal(keys[1], (visible,)))
    return eqx.tree_at(
        lambda m: (m.weight, m.visible_bias, m.hidden_bias), rbm, (*values, jax.random.normal(keys[2], (hidden,)))
    )


def bonded(rbm):
    """The same machine as a general one: visible units first, then hidden ones."""
    d, h = rbm.weight.shape
    weight = np.zeros((d + h, d + h))
    weight[:d, d:] = rbm.weight
    return Symmetric(jnp.asarray(weight + weight.T), jnp.concatenate([rbm.visible_bias, rbm.hidden_bias]))


def within(samples, expected, errors=4.5):
    """Say whether the means of chains [chain, draw, quantity] agree with their expectation by their effective size."""
    samples, expected = np.asarray(samples, float), np.asarray(expected)
    size = array_stats.ess(samples, chain_axis=0, draw_axis=1)
    deviation = np.abs(samples.mean(axis=(0, 1)) - expected)
    return bool((deviation < errors * samples.std(axis=(0, 1)) / np.sqrt(size) + 1e-12).all())


@pytest.mark.parametrize(
    ("beta", "value"), [(0.2, 11.77147036), (0.4, 14.56109302), (0.44068679, 15.52191537), (0.6, 20.05653288)]
)
def test_ising_model_on_a_torus_has_its_known_partition_function(beta, value):
    place = np.arange(16).reshape(4, 4)
    pairs = [(a, b) for axis in (0, 1) for a, b in zip(place.ravel(), np.roll(place, -1, axis).ravel(), strict=True)]
    weight = np.zeros((16, 16))
    for a, b in pairs:
        weight[a, b] += beta
        weight[b, a] += beta
    spins = Symmetric(jnp.asarray(weight))
    found = log_partition(lambda x: spins.energy(2 * x - 1), 16)
    np.testing.assert_allclose(found, value, atol=5e-9)
    # The same model with units 0 and 1: J = W/4 turns to 4J, and the bias makes up for the shift.
    bits = Symmetric(4 * spins.weight, -2 * spins.weight.sum(axis=1))
    np.testing.assert_allclose(log_partition(bits.energy, 16) + weight.sum() / 2, value, atol=5e-9)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7)])
def test_partition_function_of_a_restricted_machine(shape, key):
    rbm = restricted(*shape, key)
    whole = log_partition(bonded(rbm).energy, sum(shape))
    np.testing.assert_allclose(rbm.log_partition(), whole, atol=1e-12)
    np.testing.assert_allclose(log_partition(rbm.free_energy, shape[0]), whole, atol=1e-12)
    state = all_states(sum(shape))[77]
    network = Network({"v": shape[0], "h": shape[1]}, {"bond": rbm})
    energy = network.energy({"v": state[: shape[0]], "h": state[shape[0] :]})
    np.testing.assert_allclose(energy, bonded(rbm).energy(state), atol=1e-12)


def test_exact_gradient_is_the_difference_of_the_moments(key):
    model = machine(7, key, visible=4, density=0.6)
    data = all_states(4)[jnp.array([1, 3, 3, 9, 14])]
    found = model.likelihood_gradient(data)
    states, p = np.asarray(all_states(7)), np.asarray(probabilities(model.coupling.energy, 7))
    free = np.einsum("s,si,sj->ij", p, states, states)
    clamped, means = 0, 0
    for v in np.asarray(data):
        chosen = np.where((states[:, :4] == v).all(axis=1), p, 0)
        clamped = clamped + np.einsum("s,si,sj->ij", chosen / chosen.sum(), states, states) / len(data)
        means = means + chosen @ states / chosen.sum() / len(data)
    pairs = np.triu(clamped - free, 1) * model.edges
    # The two entries of a pair share its derivative.
    np.testing.assert_allclose(found.weight, (pairs + pairs.T) / 2, atol=1e-12)
    np.testing.assert_allclose(found.bias, means - p @ states, atol=1e-12)
    moved = eqx.tree_at(lambda m: m.coupling.bias, model, model.coupling.bias.at[5].add(1e-5))
    change = jax.vmap(moved.log_likelihood)(data).mean() - jax.vmap(model.log_likelihood)(data).mean()
    np.testing.assert_allclose(change / 1e-5, found.bias[5], atol=1e-5)


def test_moments_of_the_chains_and_of_the_contrast(keys):
    model = machine(8, keys(0), visible=5, density=0.7)
    held = jnp.arange(8) < 5
    data = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])

    @eqx.filter_jit
    def run(held, key):
        return jax.vmap(lambda k: model.chain(data, sweeps=1500, held=held, key=k))(jax.random.split(key, 4))[:, 100:]

    free, clamped = run(jnp.zeros(8, bool), keys(1)), run(held, keys(2))
    states, p = np.asarray(all_states(8)), np.asarray(probabilities(model.coupling.energy, 8))
    assert within(free, p @ states)
    pairs = np.einsum("cdi,cdj->cdij", free, free)[:, :, *np.triu_indices(8, 1)]
    assert within(pairs, np.einsum("s,si,sj->ij", p, states, states)[np.triu_indices(8, 1)])
    np.testing.assert_array_equal(clamped[:, :, :5], jnp.broadcast_to(data[:5], clamped[:, :, :5].shape))
    chosen = np.where((states[:, :5] == np.asarray(data[:5])).all(axis=1), p, 0)
    assert within(clamped[:, :, 5:], (chosen @ states / chosen.sum())[5:])
    found = model.contrast(clamped.reshape(-1, 8), free.reshape(-1, 8))
    np.testing.assert_allclose(found.bias, clamped.mean((0, 1)) - free.mean((0, 1)), atol=1e-12)
    products = [np.einsum("cdi,cdj->ij", s, s) / s[..., 0].size for s in (clamped, free)]
    np.testing.assert_allclose(found.weight, (products[0] - products[1]) / 2 * model.edges, atol=1e-12)
    exact = model.likelihood_gradient(data[None, :5])
    cosine = np.vdot(found.weight, exact.weight) / np.linalg.norm(found.weight) / np.linalg.norm(exact.weight)
    assert cosine > 0.97


def test_a_sweep_leaves_the_distribution_as_it_is(keys):
    model = machine(5, keys(0), scale=1.6)
    states, p = all_states(5), probabilities(model.coupling.energy, 5)
    drawn = states[jax.random.choice(keys(1), 32, (40_000,), p=p)]
    moved = jax.jit(jax.vmap(lambda s, k: model.sweep(s, key=k)))(drawn, jax.random.split(keys(2), 40_000))
    counts = np.bincount(np.asarray(moved @ (2.0 ** jnp.arange(5))).astype(int), minlength=32)
    expected = 40_000 * np.asarray(p)
    rare = expected < 5
    observed, expected = ([*v[~rare], v[rare].sum()] for v in (counts, expected))
    assert stats.chisquare(observed, expected).pvalue > 1e-3  # independent draws: the effective size is their number


def test_blocks_are_free_of_edges_and_cover_every_unit(key):
    edges = np.asarray(jax.random.bernoulli(key, 0.3, (23, 23)))
    edges = np.triu(edges, 1) | np.triu(edges, 1).T
    blocks = independent_blocks(edges)
    assert sorted(i for block in blocks for i in block if i < 23) == list(range(23))
    for block in blocks:
        units = block[block < 23]
        assert not edges[np.ix_(units, units)].any()
    assert len(blocks) < 23


@pytest.mark.parametrize("sweeps", [1, 3])
def test_contrastive_divergence_has_its_exact_expectation(sweeps, keys):
    rbm = restricted(5, 4, keys(0), scale=1.0)
    data = all_states(5)[jnp.array([0, 3, 7, 7, 25, 30])]
    # The chain of visible states by matrices: p(h | v) p(v | h), summed over all h.
    hidden, visible = all_states(4), all_states(5)
    p_h = jax.nn.sigmoid(jax.vmap(rbm.hidden_logits)(visible))[:, None, :]
    p_v = jax.nn.sigmoid(jax.vmap(rbm.visible_logits)(hidden))[:, None, :]
    given_v = np.prod(np.where(np.asarray(hidden) == 1, p_h, 1 - p_h), axis=2)
    given_h = np.prod(np.where(np.asarray(visible) == 1, p_v, 1 - p_v), axis=2)
    kernel = np.linalg.matrix_power(given_v @ given_h, sweeps)
    start = np.zeros(32)
    np.add.at(start, [0, 3, 7, 7, 25, 30], 1 / 6)
    rule = ContrastiveDivergence(sweeps=sweeps, persistent=False, decay=0.0)
    gradients = jax.vmap(lambda v: rule.gradient(rbm, data, v[None]))(visible)
    expected = jax.tree.map(lambda g: jnp.tensordot(jnp.asarray(start @ kernel), g, 1), gradients)

    @eqx.filter_jit
    def drawn(key):
        keys = jax.random.split(key, len(data))
        v = jax.vmap(lambda v, k: rbm.sample(v, sweeps=sweeps, key=k))(data, keys)
        return rule.gradient(rbm, data, v)

    found = eqx.filter_jit(jax.vmap(drawn))(jax.random.split(keys(1), 3000))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert within(np.asarray(one)[None], other)


def test_the_gradient_with_exact_draws_is_that_of_the_likelihood(key):
    rbm = restricted(5, 3, key)
    data, p = all_states(5)[jnp.array([2, 9, 9, 31])], probabilities(rbm.free_energy, 5)

    def loss(rbm):
        return jnp.mean(jax.vmap(rbm.free_energy)(data)) + rbm.log_partition()

    rule = ContrastiveDivergence()
    each = jax.vmap(lambda v: rule.gradient(rbm, data, v[None]))(all_states(5))
    found = jax.tree.map(lambda g: jnp.tensordot(p, g, 1), each)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(loss)(rbm)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_persistent_chains_go_on_and_the_penalty_holds_the_weights_alone(keys):
    rbm = restricted(6, 4, keys(0))
    data = all_states(6)[jnp.array([5, 17, 40])]
    plain, penalised = ContrastiveDivergence(decay=0.0), ContrastiveDivergence(decay=0.5)
    state = plain.init(rbm, chains=5, key=keys(1))
    one, _ = plain.step(state, data, key=keys(2))
    other, _ = penalised.step(state, data, key=keys(2))
    assert one.chains.shape == (5, 6)
    expected = jax.vmap(lambda v, k: rbm.sample(v, sweeps=1, key=k))(state.chains, jax.random.split(keys(2), 5))
    np.testing.assert_array_equal(one.chains, expected)
    np.testing.assert_allclose(one.model.weight - other.model.weight, 0.05 * 0.5 * rbm.weight, atol=1e-12)
    np.testing.assert_allclose(one.model.hidden_bias, other.model.hidden_bias, atol=1e-15)


def test_integer_bits_are_taken_as_floats_are(keys):
    rbm = restricted(6, 4, keys(0))
    data = all_states(6)[jnp.array([5, 17, 40])]
    plain = ContrastiveDivergence(persistent=False)
    state = plain.init(rbm, chains=3, key=keys(1))
    one, _ = plain.step(state, data.astype(jnp.int32), key=keys(2))
    other, _ = plain.step(state, data, key=keys(2))
    np.testing.assert_array_equal(one.model.weight, other.model.weight)
    drawn = rbm.sample(data[0].astype(jnp.int32), sweeps=2, key=keys(3))
    np.testing.assert_array_equal(drawn, rbm.sample(data[0], sweeps=2, key=keys(3)))


def test_learning_raises_the_exact_likelihood(keys):
    data = all_states(6)[jnp.array([7, 7, 7, 56, 56, 0, 63])]
    rule = ContrastiveDivergence(sweeps=2, decay=0.0)
    state = rule.init(RestrictedBoltzmann(6, 4, rates=data.mean(axis=0), key=keys(0)), chains=50, key=keys(1))

    def likelihood(rbm):
        return float(-jnp.mean(jax.vmap(rbm.free_energy)(data)) - rbm.log_partition())

    before = likelihood(state.model)
    run = jax.lax.scan(lambda s, k: (rule.step(s, data, key=k)[0], None), state, jax.random.split(keys(2), 1500))
    entropy = -sum(n / 7 * np.log(n / 7) for n in (3, 2, 1, 1))
    assert before < -4 < -2.6 < likelihood(run[0].model) < -entropy


def test_annealing_finds_the_partition_function_within_its_interval(keys):
    rbm = restricted(9, 6, keys(0))
    base = 0.3 * rbm.visible_bias
    exact = rbm.log_partition()
    run = eqx.filter_jit(lambda sampler, key: sampler(rbm, base, key=key))
    found = run(AnnealedImportance(schedule(20, 40, 40), runs=400), keys(1))
    assert bool(found.reliable())
    assert float(found.low) < float(exact) < float(found.high)
    assert float(found.high - found.low) < 0.2
    assert 300 < float(found.effective) <= 400
    coarse = run(AnnealedImportance(np.array([0.0, 1.0]), runs=400), keys(2))
    assert float(coarse.effective) < float(found.effective)


def test_two_temperatures_weigh_without_bias(keys):
    """With no temperature between 0 and 1 the mean weight is Z / Z0 exactly: sum it over all first states."""
    rbm = restricted(6, 3, keys(0))
    base = 0.5 * rbm.visible_bias - 0.2
    sampler = AnnealedImportance(np.array([0.0, 1.0]), runs=20_000)
    found = eqx.filter_jit(lambda key: sampler(rbm, base, key=key))(keys(1))
    weights = np.exp(np.asarray(found.log_weights))
    at_zero = float(jnp.sum(jax.nn.softplus(base)) + 3 * np.log(2))
    expected = np.exp(float(rbm.log_partition()) - at_zero)
    assert abs(weights.mean() - expected) < 4.5 * weights.std() / np.sqrt(len(weights))
    np.testing.assert_allclose(found.value, np.log(weights.mean()) + at_zero, atol=1e-10)


def test_a_machine_without_weights_needs_no_annealing(key):
    rbm = eqx.tree_at(lambda m: m.weight, restricted(5, 3, key), jnp.zeros((5, 3)))
    expected = jnp.sum(jax.nn.softplus(rbm.visible_bias)) + jnp.sum(jax.nn.softplus(rbm.hidden_bias))
    np.testing.assert_allclose(rbm.log_partition(), expected, atol=1e-12)
    found = AnnealedImportance(np.array([0.0, 0.5, 1.0]), runs=3)(rbm, rbm.visible_bias, key=key)
    np.testing.assert_allclose(found.value, expected, atol=1e-12)


def test_an_interval_carried_by_one_run_has_no_lower_edge(keys):
    rbm = restricted(9, 6, keys(0), scale=5.0)
    found = AnnealedImportance(np.array([0.0, 1.0]), runs=30)(rbm, -rbm.visible_bias, key=keys(1))
    assert not bool(found.reliable())
    assert float(found.low) == -np.inf


@pytest.mark.parametrize("betas", [[0.0, 0.5], [0.1, 1.0], [0.0, 0.7, 0.7, 1.0]])
def test_temperatures_must_rise_from_zero_to_one(betas):
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        AnnealedImportance(np.array(betas))


def test_what_cannot_be_listed_or_seen_is_refused(key):
    with pytest.raises(ValueError, match="units must be between 0 and 20"):
        all_states(21)
    with pytest.raises(ValueError, match="visible must be between 1"):
        machine(4, key, visible=5)
