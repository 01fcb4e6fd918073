"""Recall through a mask: against a masked clamp, and against the least squares of a linear decoder."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean.core.builders import decoder
from hookean.core.clamp import Masked
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.density import Gaussian
from hookean.core.layers import identity
from hookean.core.network import Network
from hookean.core.observe import observed
from hookean.core.precision import DiagonalPrecision, FullPrecision
from hookean.core.term import Prediction
from hookean.inference import Gradient, Langevin, Newton
from hookean.inference.recall import recall
from hookean.inference.relax import relax


@pytest.fixture
def problem(keys):
    """A decoder with a precision of its own for every entry of the data, noisy data, and a mask for each sample.

    Data that the decoder can nearly make keep the minimum at a finite latent, which has no prior.
    """
    network = decoder(2, 9, hidden=(5, 4, 6), activation=jnp.tanh, key=keys(0))
    network = jax.tree.map(lambda leaf: 2 * leaf if getattr(leaf, "ndim", 0) == 2 else leaf, network)
    term = network.terms["x"]
    density = Gaussian(DiagonalPrecision(jnp.linspace(0.5, 2.0, 9)))
    weighed = Prediction("x", term.sources, term.function, density)
    network = Network(network.shapes, network.terms | {"x": weighed}, output="x")
    made = jax.vmap(lambda z: network.forward({"z": z})["x"])(0.5 * jax.random.normal(keys(1), (3, 2)))
    seen = jnp.ones((3, 9)).at[0, 6:].set(0).at[1, ::3].set(0).at[2, 1].set(0)
    return network, made + 0.02 * jax.random.normal(keys(2), made.shape), seen


def last(network, values, seen, **settings):
    *_, end = recall(network, values, seen, **settings)
    return end


def test_seen_through_a_mask_is_a_masked_clamp_with_its_free_part_at_the_minimum(problem):
    """Same latents, same missing values, another road: states, and missing entries that are free."""
    network, values, seen = problem
    newton = {"solver": Newton(iterations=30), "steps": 10}
    _, predicted, states = last(network, values, seen, **newton)
    held = eqx.filter_jit(relax)(network, {"x": Masked(values, seen > 0)}, **newton)
    assert float(held.residual.max()) < 1e-9
    for name in ("z", "h1", "h2", "h3"):
        np.testing.assert_allclose(states[name], held.states[name], atol=1e-7)
    np.testing.assert_allclose(jnp.where(seen > 0, values, predicted), held.states["x"], atol=1e-7)


def test_steps_of_newton_on_errors_arrive_where_plain_descent_goes(problem):
    network, values, seen = problem
    plain = {"solver": Gradient(0.1, 0.9), "coordinates": StateCoordinates(), "steps": 400, "chunk": 400}
    _, slow, _ = last(network, values, seen, **plain)
    arrived = [predicted for _, predicted, _ in recall(network, values, seen, solver=Newton(iterations=20), steps=5)]
    away = [float(jnp.abs(predicted - arrived[-1]).max()) for predicted in (arrived[0], slow)]
    assert 0 < away[1] < 0.02, away
    assert len(arrived) == 5
    assert away[0] > 1e-6


def test_a_linear_decoder_recalls_by_least_squares(keys):
    """With fewer latents than seen entries, what the decoder can make is recalled to rounding, and noise is fitted."""
    network = decoder(3, 9, hidden=(5, 4), activation=identity, key=keys(0))
    push = jax.jacobian(lambda z: network.forward({"z": z})["x"])(jnp.zeros(3))
    offset = network.forward({"z": jnp.zeros(3)})["x"]
    truth = jax.random.normal(keys(1), (4, 3)) @ push.T + offset[None]
    seen = jnp.ones((4, 9)).at[:, 5:].set(0).at[1].set(jnp.arange(9) % 2)
    spoiled = jnp.where(seen > 0, truth, jnp.nan_to_num(jnp.inf))  # what stands at missing places is not looked at
    _, predicted, _ = last(network, spoiled, seen, solver=Newton(iterations=40), steps=2)
    np.testing.assert_allclose(predicted, truth, atol=1e-7)

    noisy = truth + 0.1 * jax.random.normal(keys(2), truth.shape)
    _, _, states = last(network, noisy, seen, solver=Newton(iterations=40), steps=2)
    for sample in range(4):
        rows = push[seen[sample] > 0]
        target = (noisy - offset[None])[sample][seen[sample] > 0]
        # The free latent has no prior, so the hidden errors cost nothing where the latent explains: least squares
        # weighted by what all layers can absorb.
        jacobians = [network.terms[n].function.linear.weight for n in ("h2", "x")]
        absorbed = np.eye(9) + jacobians[1] @ (np.eye(4) + jacobians[0] @ jacobians[0].T) @ jacobians[1].T
        weight = np.linalg.inv(np.asarray(absorbed)[np.ix_(seen[sample] > 0, seen[sample] > 0)])
        expected = np.linalg.solve(rows.T @ weight @ rows, rows.T @ weight @ target)
        np.testing.assert_allclose(states["z"][sample], expected, atol=1e-6)


def test_what_cannot_be_seen_through_a_mask_is_refused(keys):
    network = examples.build("decoder").network
    with pytest.raises(ValueError, match="touched by h2, h3"):
        observed(network, "h2")
    with pytest.raises(ValueError, match="a new name"):
        observed(network, "x", mask="z")
    term = network.terms["x"]
    coupled = Prediction("x", term.sources, term.function, Gaussian(FullPrecision(jnp.eye(7) + 0.1)))
    with pytest.raises(ValueError, match="scalar or diagonal precision"):
        observed(Network(network.shapes, network.terms | {"x": coupled}, output="x"), "x")
    with pytest.raises(ValueError, match="multiple of chunk, got 5 and 2"):
        last(network, jnp.ones((2, 7)), jnp.ones((2, 7)), solver=Newton(), steps=5, chunk=2)


def test_error_coordinates_need_the_mask_as_a_node(problem):
    """The masked clamp itself is refused there, which is why the mask becomes a node."""
    network, values, seen = problem
    with pytest.raises(ValueError, match="part of a predicted node"):
        relax(network, {"x": Masked(values, seen > 0)}, solver=Newton(), steps=1, coordinates=ErrorCoordinates())


def test_solvers_that_draw_take_a_key(problem, keys):
    network, values, seen = problem
    given = {"solver": Langevin(0.001), "steps": 2}
    with pytest.raises(ValueError, match="key must be given"):
        last(network, values, seen, **given)
    first, other, again = (last(network, values, seen, **given, key=keys(n))[2]["z"] for n in (5, 6, 5))
    assert np.all(np.isfinite(first))
    assert np.array_equal(first, again)
    assert not np.any(first == other)
