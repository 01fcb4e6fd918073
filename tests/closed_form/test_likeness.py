"""Measures of samples against cases whose value is known, and the bound of the autoencoder against the evidence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance_nd

from hookean.classical.vae import VAE, learn
from hookean.core.builders import decoder
from hookean.core.density import Bernoulli, Gaussian
from hookean.core.precision import ScalarPrecision
from hookean.tasks import findings, likeness
from hookean.tasks.chains import ancestral, centred


@pytest.fixture
def random():
    return np.random.default_rng(8)


def test_earth_mover_is_the_library_s_distance(random):
    a, b = random.normal(size=(15, 3)), random.normal(size=(15, 3)) + np.array([1.0, 0.0, -0.5])
    assert likeness.earth_mover(a, b) == pytest.approx(wasserstein_distance_nd(a, b), abs=1e-9)
    assert (
        likeness.earth_mover(a, a + np.array([0.3, 0.0, 0.4])) <= 0.5 + 1e-12
    )  # no plan is longer than the shift itself


def test_frechet_against_the_matrix_square_root(random):
    A, B = random.normal(size=(4, 6)), random.normal(size=(4, 5))
    C, D = A @ A.T, B @ B.T
    m, n = random.normal(size=4), random.normal(size=4)
    expected = np.sum((m - n) ** 2) + np.trace(C + D - 2 * np.real(sqrtm(C @ D)))
    assert likeness.frechet((m, C), (n, D)) == pytest.approx(expected, rel=1e-9)
    assert likeness.frechet((m, C), (m, C)) == pytest.approx(0, abs=1e-9)
    one = likeness.frechet((np.array([1.0]), np.array([[4.0]])), (np.array([3.0]), np.array([[9.0]])))
    assert one == pytest.approx((3 - 1) ** 2 + (3 - 2) ** 2)  # of two Gaussians on a line


def test_inception_score_at_its_limits():
    sure = np.eye(5)[np.arange(20) % 5]
    assert likeness.inception_score(sure) == pytest.approx(5)
    assert likeness.inception_score(np.full((20, 5), 0.2)) == pytest.approx(1)
    assert likeness.inception_score(np.eye(5)[np.zeros(20, int)]) == pytest.approx(1)  # sure, and always the same


def test_bootstrap_error_of_a_mean(random):
    samples = random.normal(size=(400, 1)) * 3
    error = likeness.bootstrap_error(lambda x: float(x.mean()), samples, seed=1, resamples=400)
    # The spread of 400 resamples is known to 1 / sqrt(800), 3.5 %: four times that.
    assert error == pytest.approx(samples.std() / 20, rel=0.14)


def test_exact_samples_have_the_model_s_covariance(key):
    """Four nodes, unequal widths and precisions, against the inverse of the energy's second derivatives."""
    network = decoder(2, 3, hidden=(4, 5, 2), activation=lambda x: x, output=Gaussian(4.0), key=key)
    network = eqx.tree_at(lambda n: n.term_list[1].density, network, Gaussian(0.5))
    assert findings.is_linear(network)
    clamps = {"z": jnp.zeros((4000, 2))}
    found = np.asarray(eqx.filter_jit(ancestral)(network, clamps, temperature=0.7, key=key))
    exact = findings.model_covariance(network, 0.7) - 0.7 / 4 * np.eye(3)  # of the prediction: without its own noise
    # An entry of a sampled covariance has standard error sqrt((C_ij^2 + C_ii C_jj) / n); nine of them, four each.
    scale = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / len(found))
    assert np.abs((np.cov(found, rowvar=False) - exact) / scale).max() < 4
    bent = decoder(2, 3, hidden=(4, 5, 2), activation=jnp.tanh, key=key)
    assert not findings.is_linear(bent)


def test_chains_are_centred_on_their_own_condition(random):
    conditions = np.array([0, 1, 0, 1, 1])
    noise = random.normal(size=(5, 30, 2))
    far = noise + 7 * conditions[:, None, None]
    found = centred(far, conditions)
    for condition in (0, 1):
        mine = noise[conditions == condition]
        np.testing.assert_allclose(found[conditions == condition], mine - mine.mean(axis=(0, 1)), atol=1e-12)


def test_flowers_kept_back_are_of_the_training_half():
    final = findings.load("iris", download=False, subset=None, validation=False)
    choice = findings.load("iris", download=False, subset=None, validation=True)
    assert (len(final.train), len(final.held), len(choice.train), len(choice.held)) == (75, 75, 50, 25)
    np.testing.assert_allclose(final.train.mean(axis=0), 0, atol=1e-6)

    # Both parts of the choice are the training half again, up to the scale that each load standardises with.
    whole = np.concatenate([choice.train, choice.held])[:, 0]
    np.testing.assert_allclose(np.sort((whole - whole.mean()) / whole.std()), np.sort(final.train[:, 0]), atol=1e-4)


def test_exact_samples_need_gaussian_nodes(key):
    network = decoder(2, 3, hidden=(4,), output=Bernoulli(), key=key)
    with pytest.raises(ValueError, match="'x' is Bernoulli"):
        ancestral(network, {"z": jnp.zeros((1, 2))}, key=key)


def linear_vae(key):
    """Return a VAE without hidden layers whose encoder is the exact posterior, and its weights."""
    W = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.5, 0.0]])  # columns at right angles: the posterior is diagonal
    b, precision = jnp.array([0.3, -0.2, 0.5]), 1.7
    vae = VAE(3, 2, hidden=(), density=Gaussian(ScalarPrecision(precision)), key=key)
    spread = 1 / (1 + precision * jnp.sum(W**2, axis=0))
    up = jnp.concatenate([precision * spread[:, None] * W.T, jnp.zeros((2, 3))])
    offset = jnp.concatenate([-(precision * spread[:, None] * W.T) @ b, jnp.log(spread)])

    def places(v):
        down, above = v.decoder[0].linear, v.encoder[0].linear
        return [down.weight, down.bias, above.weight, above.bias]

    return eqx.tree_at(places, vae, [W, b, up, offset]), W, b, precision


def test_the_bound_is_the_evidence_where_the_encoder_is_the_posterior(key):
    """-log p(x) = 1/2 r'S^-1 r + 1/2 log det S + constants, with S = W W' + I / precision."""
    vae, W, b, precision = linear_vae(key)
    x = jnp.array([0.7, -1.1, 0.4])
    parts = jax.jit(jax.vmap(lambda k: vae.bound(x, key=k)))(jax.random.split(key, 10000))
    total = np.asarray(parts["data"] + parts["code"])
    S = W @ W.T + jnp.eye(3) / precision
    r = x - b
    # The energy of a fixed precision leaves out -1/2 log det of it, and both leave out log 2 pi.
    exact = 0.5 * r @ jnp.linalg.solve(S, r) + 0.5 * jnp.linalg.slogdet(S)[1] + 1.5 * np.log(precision)
    assert total.mean() == pytest.approx(float(exact), abs=4 * total.std() / 100)
    worse = eqx.tree_at(lambda v: v.encoder[0].linear.bias, vae, vae.encoder[0].linear.bias + 0.3)
    lower = jax.jit(jax.vmap(lambda k: worse.bound(x, key=k)))(jax.random.split(key, 4000))
    assert float(jnp.mean(lower["data"] + lower["code"])) > float(exact) + 0.05


def test_generated_means_have_the_decoder_s_spread(key):
    vae, W, _, _ = linear_vae(key)
    made = np.asarray(jax.vmap(lambda k: vae.generate(key=k))(jax.random.split(key, 20000)))
    np.testing.assert_allclose(np.cov(made, rowvar=False), W @ W.T, atol=0.15)


def test_learning_lowers_the_bound(key):
    vae = VAE(4, 2, hidden=(5, 6), activation=jnp.tanh, density=Gaussian(ScalarPrecision(1.0, learned=True)), key=key)
    rule = optax.adam(0.01)
    memory = rule.init(eqx.filter(vae, eqx.is_inexact_array))
    batch = jax.random.normal(key, (32, 1)) * jnp.array([[1.0, -2.0, 0.5, 1.5]])
    step = eqx.filter_jit(learn)
    bounds = []
    for n in range(80):
        vae, memory, means = step(vae, rule, memory, batch, key=jax.random.fold_in(key, n))
        bounds.append(float(means["data"] + means["code"]))
    assert np.mean(bounds[-10:]) < np.mean(bounds[:10]) - 1
