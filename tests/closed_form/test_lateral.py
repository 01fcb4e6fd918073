"""Competition between units: against its definitions, a differential equation, the lasso and principal components."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relaxed
from scipy.integrate import solve_ivp
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso

from hookean.classical import Foldiak, Oja, Sanger
from hookean.classical.rule import learn_all
from hookean.core.builders import mlp
from hookean.core.initialise import Given, Zero
from hookean.core.lateral import (
    DivisiveNormalisation,
    KWinners,
    LateralInhibition,
    Normalised,
    SparsePrior,
    Sparsity,
    Winners,
)
from hookean.core.layers import identity
from hookean.core.network import Network
from hookean.core.term import Coupling, Prediction
from hookean.inference import LCA, Gradient


def test_winners_keep_the_largest_and_pass_gradients_through_them_alone():
    drive = jnp.array([0.3, -2.0, 1.5, 0.9, 1.5, 0.1, 1.5])
    keep = Winners(identity, 0.4)  # 3 of 7; of the three equal ones the first ones win
    np.testing.assert_array_equal(keep(drive), [0, 0, 1.5, 0, 1.5, 0, 1.5])
    np.testing.assert_array_equal(Winners(identity, 0.3)(drive), [0, 0, 1.5, 0, 1.5, 0, 0])
    np.testing.assert_array_equal(jax.grad(lambda d: jnp.sum(keep(d) ** 2))(drive), 2 * keep(drive))
    assert Winners(identity, 1e-6)(drive).astype(bool).sum() == 1


def test_divisive_normalisation():
    one = Normalised(3.0, 0.7, 2.0)
    np.testing.assert_allclose(one(jnp.array([0.7])), [1.5], rtol=1e-15)  # half of the gain at the saturation
    drive = jnp.array([0.5, 1.0, 2.0, -1.0])
    low, high = one(drive), one(10 * drive)
    assert high.sum() < 3.0
    assert high[3] == 0
    np.testing.assert_allclose(low[0] / low[2], high[0] / high[2], rtol=1e-14)  # ratios do not depend on contrast
    assert one(drive.at[3].set(1.5))[0] < low[0]  # another stimulus in the pool suppresses
    # At rest in r' = -r (sigma^n + sum z^n) + gain z^n.
    raised = jax.nn.relu(drive) ** 2
    np.testing.assert_allclose(-low * (0.49 + raised.sum()) + 3 * raised, 0, atol=1e-14)


def competition(strength, drive, steps=4000):
    network = Network(
        {"s": drive.size, "x": drive.size},
        {"x": Prediction("x", "s", identity), "lateral": LateralInhibition(strength).term("x")},
    )
    solver = Gradient(0.01)
    return jnp.maximum(
        relaxed(network, {"s": drive[None]}, solver=solver, steps=steps, initial=Zero()).states["x"][0], 0
    )


@pytest.mark.parametrize(("strength", "survivors"), [(0.3, 4), (0.6, 3), (1.5, 1)])
def test_inhibition_settles_where_the_rectified_equation_does(strength, survivors):
    """a' = -a + [s - c sum of the others]+ (scipy) has the rest point of the energy; above c = 1 one unit survives."""
    drive = np.array([1.0, 0.9, 0.85, 0.7, 0.4, 0.2, 0.1])

    def flow(_, a):
        return -a + np.maximum(drive - strength * (a.sum() - a), 0)

    expected = solve_ivp(flow, (0, 300), np.zeros(7), rtol=1e-9, atol=1e-11, method="LSODA").y[:, -1]
    found = np.asarray(competition(strength, jnp.asarray(drive)))
    assert (expected > 1e-3).sum() == survivors
    np.testing.assert_allclose(found, expected, atol=0.012)  # at zero the step of 0.01 goes back and forth


@pytest.fixture(scope="module")
def coding():
    """Features of length one, a signal, and the sparse network x = features a."""
    random = np.random.default_rng(0)
    features = random.standard_normal((24, 48))
    features /= np.linalg.norm(features, axis=0)
    return features, random.standard_normal((3, 24))


def sparse_network(features, weight, positive=False):
    matrix = jnp.asarray(features)
    terms = {"x": Prediction("x", "a", lambda a: matrix @ a), "prior": Coupling("a", Sparsity(weight, positive))}
    return Network({"a": features.shape[1], "x": features.shape[0]}, terms, output="x")


@pytest.mark.parametrize("positive", [False, True])
def test_locally_competitive_units_settle_at_the_lasso(coding, positive):
    features, signals = coding
    weight, (m, n) = 0.25, features.shape
    network = sparse_network(features, weight, positive)
    found = relaxed(network, {"x": jnp.asarray(signals)}, solver=LCA(0.3), steps=2500, initial=Zero()).states["a"]
    for signal, code in zip(signals, np.asarray(found), strict=True):
        lasso = Lasso(alpha=weight / m, fit_intercept=False, positive=positive, tol=1e-15, max_iter=100_000)
        expected = lasso.fit(features, signal).coef_
        np.testing.assert_allclose(code, expected, atol=1e-9)
        assert 3 < (code != 0).sum() < n / 2
        assert np.array_equal(code != 0, expected != 0)
        slope = features.T @ (signal - features @ code)
        np.testing.assert_allclose(slope[code != 0], weight * np.sign(code[code != 0]), atol=1e-9)
        assert np.all((slope if positive else np.abs(slope))[code == 0] <= weight + 1e-9)


def test_energy_of_sparse_coding_never_rises(coding):
    features, signals = coding
    end = relaxed(
        sparse_network(features, 0.25),
        {"x": jnp.asarray(signals)},
        solver=LCA(0.1),
        steps=150,
        initial=Zero(),
        record=True,
    )
    total = sum(end.trace.energies.values())
    assert np.diff(total, axis=1).max() < 1e-12
    assert (total[:, 0] - total[:, -1]).min() > 1


def test_without_a_sparse_term_the_solver_is_gradient_descent(mlp):
    one, other = (
        relaxed(mlp.network, mlp.train, solver=s, steps=5, unroll=False).states for s in (LCA(0.1), Gradient(0.1))
    )
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_sparse_solver_starts_where_it_is_told(coding):
    """At the solution it stays: the first potential belongs to the first state."""
    features, signals = coding
    network, clamps = sparse_network(features, 0.25), {"x": jnp.asarray(signals[:1])}
    found = relaxed(network, clamps, solver=LCA(0.3), steps=2500, initial=Zero()).states["a"]
    again = relaxed(network, clamps, solver=LCA(0.3), steps=1, initial=Given({"a": found})).states["a"]
    np.testing.assert_allclose(again, found, atol=1e-9)


@pytest.mark.parametrize("lateral", [KWinners(0.3), DivisiveNormalisation(), LateralInhibition(0.2), SparsePrior(0.05)])
def test_every_competition_serves_in_a_perceptron(lateral, key):
    network = mlp(5, 3, hidden=(10, 8), activation=jnp.tanh, lateral=lateral, key=key)
    plain = mlp(5, 3, hidden=(10, 8), activation=jnp.tanh, key=key)
    batch = {"x": jax.random.normal(key, (4, 5)), "y": jax.nn.one_hot(jnp.arange(4) % 3, 3, dtype=float)}
    one, other = (relaxed(n, batch, solver=Gradient(0.1), steps=4, unroll=False).states for n in (network, plain))
    assert all(float(jnp.abs(one[h] - other[h]).max()) > 1e-4 for h in ("h1", "h2"))
    assert set(network.term_names) - set(plain.term_names) <= {"h1 lateral", "h2 lateral"}


def test_settings_of_competition_are_checked():
    for wrong in (lambda: KWinners(0.0), lambda: SparsePrior(-1.0), lambda: DivisiveNormalisation(power=0.0)):
        with pytest.raises(ValueError, match="must be"):
            wrong()


@pytest.fixture(scope="module")
def samples():
    """Samples in 10 dimensions, and the variances and directions of their principal components."""
    random = np.random.default_rng(1)
    axes, _ = np.linalg.qr(random.standard_normal((10, 10)))
    x = random.standard_normal((500, 10)) * np.sqrt(np.geomspace(10, 0.1, 10)) @ axes.T
    found = PCA().fit(x)
    return jnp.asarray(x - x.mean(axis=0)), found.explained_variance_ * 499 / 500, found.components_


def trained(rule, x, updates, batch):
    learned = rule.init(x.shape[1], key=jax.random.key(2))
    batches = jnp.tile(x.reshape(-1, batch, x.shape[1]), (updates * batch // len(x), 1, 1))
    return np.asarray(eqx.filter_jit(learn_all)(rule, learned, batches, jnp.linspace(1, 0.01, len(batches))))


def test_sanger_learns_the_components_in_order(samples):
    x, values, vectors = samples
    averaged = trained(Sanger(4, 0.05), x, 3000, 500)  # the mean over all samples: the fixed point itself
    np.testing.assert_allclose(np.abs(averaged @ vectors[:4].T), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(averaged @ (x.T @ x / 500) @ averaged.T, np.diag(values[:4]), atol=1e-4)
    online = trained(Sanger(4, 0.005), x, 20_000, 1)
    assert np.diag(np.abs(online @ vectors[:4].T)).min() > 0.97


def test_oja_learns_the_first_component_and_the_space_of_several(samples):
    x, _, vectors = samples
    first = trained(Oja(1, 0.05), x, 1500, 500)
    np.testing.assert_allclose(np.abs(first @ vectors[0]), 1, atol=1e-8)
    several = trained(Oja(3, 0.05), x, 3000, 500)
    np.testing.assert_allclose(several @ several.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(several.T @ several, vectors[:3].T @ vectors[:3], atol=1e-5)
    assert np.abs(several @ vectors[:3].T).max() < 0.999  # a basis of the space, not the components


def test_foldiak_finds_the_lines():
    """8 x 8 pictures of 16 lines, each there with probability 1/8: sixteen units, a line each, without correlation."""
    random = np.random.default_rng(0)
    there = random.random((20_000, 16)) < 1 / 8
    pictures = np.zeros((20_000, 8, 8))
    for line in range(8):
        pictures[:, line, :] = np.maximum(pictures[:, line, :], there[:, line, None])
        pictures[:, :, line] = np.maximum(pictures[:, :, line], there[:, 8 + line, None])
    rule = Foldiak()
    learned = rule.init(64, key=jax.random.key(0))
    factors = jnp.where(jnp.arange(20_000) < 10_000, 1.0, 0.5)
    learned = eqx.filter_jit(learn_all)(rule, learned, jnp.asarray(pictures.reshape(-1, 1, 64)), factors)
    lines = np.zeros((16, 8, 8))
    for line in range(8):
        lines[line, line, :] = lines[8 + line, :, line] = 1
    filters = np.asarray(rule.filters(learned))
    likeness = (filters / np.linalg.norm(filters, axis=1, keepdims=True)) @ lines.reshape(16, 64).T
    assert sorted(likeness.argmax(axis=1)) == list(range(16))
    y = np.asarray(jax.vmap(lambda p: rule.respond(learned, p))(jnp.asarray(pictures[-4000:].reshape(-1, 64))))
    assert abs(y.mean() - 1 / 8) < 0.01
    together = (y.T @ y / len(y))[~np.eye(16, dtype=bool)]
    assert abs(together.mean() - 1 / 64) < 0.003
    assert np.all(np.asarray(learned.lateral) <= 0)
    assert np.all(np.diag(learned.lateral) == 0)
