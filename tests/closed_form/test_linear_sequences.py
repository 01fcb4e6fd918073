"""A linear system over time: what is filtered, what is smoothed, and what decays on the way back."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hookean.classical import kalman_filter
from hookean.core.builders import elman
from hookean.core.density import Gaussian
from hookean.core.layers import identity
from hookean.core.network import Network
from hookean.core.recurrent import Cell, EachStep, Recurrent
from hookean.core.term import Prediction
from hookean.inference import Gradient
from hookean.inference.relax import relax
from hookean.inference.tracking import track
from hookean.learning.energy_gradient import settled_gradient

T, BATCH, UNITS, OBSERVED, GIVEN = 6, 3, 4, 2, 3


def system(keys, q=1.0, r=1.0):
    """Return (A, B, C, network of the same system with precisions 1/q and 1/r, clamps)."""
    A, B, C = (
        np.asarray(0.5 * jax.random.normal(keys(i), shape))
        for i, shape in enumerate([(UNITS, UNITS), (UNITS, GIVEN), (OBSERVED, UNITS)])
    )

    def linear(weight):
        layer = eqx.nn.Linear(weight.shape[1], weight.shape[0], use_bias=False, key=keys(3))
        return eqx.tree_at(lambda given: given.weight, layer, jnp.asarray(weight))

    function = Recurrent(Cell(linear(B), jnp.asarray(A), identity, identity))
    terms = [
        Prediction("z", ("u", "z"), function, Gaussian(1 / q)),
        Prediction("x", "z", EachStep(linear(C)), Gaussian(1 / r)),
    ]
    network = Network({"u": (T, GIVEN), "z": (T, UNITS), "x": (T, OBSERVED)}, terms, input="u", output="x")
    u, x = jax.random.normal(keys(4), (BATCH, T, GIVEN)), jax.random.normal(keys(5), (BATCH, T, OBSERVED))
    return A, B, C, network, {"u": u, "x": x}


def most_probable(A, B, C, u, x, q, r):
    """Return the states of all steps with the least energy, by one linear solve."""
    steps = len(x)
    size = steps * UNITS
    M, c = np.eye(size), np.zeros(size)
    for t in range(steps):
        here = slice(t * UNITS, (t + 1) * UNITS)
        c[here] = B @ u[t]
        if t > 0:
            M[here, (t - 1) * UNITS : t * UNITS] = -A
    D = np.kron(np.eye(steps), C)
    found = np.linalg.solve(M.T @ M / q + D.T @ D / r, M.T @ c / q + D.T @ x.reshape(-1) / r)
    return found.reshape(steps, UNITS)


def test_temporal_pc_settles_where_its_linear_equilibrium_is(keys):
    """z = (I + C'C)^-1 (C'x + A z_before + B u), one time after the other; and the local gradients at these states."""
    A, B, C, network, clamps = system(keys)
    end = eqx.filter_jit(track)(network, clamps, solver=Gradient(0.3), steps=300)
    wanted = np.zeros((BATCH, T, UNITS))
    for i in range(BATCH):
        z = np.zeros(UNITS)
        for t in range(T):
            drive = C.T @ np.asarray(clamps["x"][i, t]) + A @ z + B @ np.asarray(clamps["u"][i, t])
            z = wanted[i, t] = np.linalg.solve(np.eye(UNITS) + C.T @ C, drive)
    np.testing.assert_allclose(end.states["z"], wanted, atol=1e-11)
    assert end.states["z"].shape == (BATCH, T, UNITS)
    assert end.steps.tolist() == [300 * T] * BATCH
    assert float(end.residual.max()) < 1e-9
    gradient, _ = settled_gradient(network, end)
    before = np.concatenate([np.zeros((BATCH, 1, UNITS)), wanted[:, :-1]], axis=1)
    error_z = wanted - before @ A.T - np.asarray(clamps["u"]) @ B.T
    error_x = np.asarray(clamps["x"]) - wanted @ C.T
    summed = [
        -np.einsum("btm,btn->mn", error, source) / BATCH
        for error, source in ((error_z, before), (error_z, clamps["u"]), (error_x, wanted))
    ]
    cell = gradient.terms["z"].function.cell
    np.testing.assert_allclose(cell.recurrent, summed[0], atol=1e-10)
    np.testing.assert_allclose(cell.input.weight, summed[1], atol=1e-10)
    np.testing.assert_allclose(gradient.terms["x"].function.layer.weight, summed[2], atol=1e-10)


def test_all_steps_together_settle_at_the_most_probable_sequence(keys):
    A, B, C, network, clamps = system(keys, 0.7, 0.4)
    end = eqx.filter_jit(relax)(network, clamps, solver=Gradient(0.12), steps=500)
    for i in range(BATCH):
        wanted = most_probable(A, B, C, np.asarray(clamps["u"][i]), np.asarray(clamps["x"][i]), 0.7, 0.4)
        np.testing.assert_allclose(end.states["z"][i], wanted, atol=1e-9)


def test_kalman_filter_is_the_last_state_of_the_most_probable_past(keys):
    """The filter's mean at time t is where the most probable sequence up to t ends; both by other means."""
    A, B, C, _, clamps = system(keys)
    q, r = 0.7, 0.4
    u, x = clamps["u"][0], clamps["x"][0]
    means, covariances = kalman_filter(
        x, u, A=jnp.asarray(A), B=jnp.asarray(B), C=jnp.asarray(C),
        state_noise=q * jnp.eye(UNITS), noise=r * jnp.eye(OBSERVED),
    )  # fmt: skip
    for t in range(1, T + 1):
        wanted = most_probable(A, B, C, np.asarray(u[:t]), np.asarray(x[:t]), q, r)[-1]
        np.testing.assert_allclose(means[t - 1], wanted, atol=1e-12)
    assert covariances.shape == (T, UNITS, UNITS)
    first = np.linalg.inv(np.eye(UNITS) / q + C.T @ C / r)  # the first state has no past: temporal PC is exact there
    np.testing.assert_allclose(covariances[0], first, atol=1e-12)


def test_the_error_decays_by_the_radius_a_step(keys):
    """Linear units and an orthogonal matrix times rho: the gradient at lag k is rho^k of that at the last step."""
    steps, rho = 31, 0.9
    network = elman((steps, 2), 3, hidden=(7,), activation=identity, radius=rho, key=keys(0))
    sample = {"x": jax.random.normal(keys(1), (steps, 2)), "y": jnp.array([1.0, -2.0, 0.5])}
    h = network.terms["h1"].function

    def loss(errors):
        states = h.roll(sample["x"], errors=errors)
        return network.energy(network.forward(sample | {"h1": states}))

    sizes = np.linalg.norm(jax.grad(loss)(jnp.zeros((steps, 7))), axis=1)[::-1]
    np.testing.assert_allclose(sizes / sizes[0], rho ** np.arange(steps), atol=1e-12)
    np.testing.assert_allclose(sizes[30] / sizes[0], 0.0423911583, atol=1e-9)
