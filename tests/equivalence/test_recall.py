"""Recall through a mask: against a masked clamp, and against the least squares of a linear decoder."""

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import flat

from hookean.core.builders import decoder
from hookean.core.clamp import Masked
from hookean.core.coordinates import ErrorCoordinates, StateCoordinates
from hookean.core.density import Gaussian
from hookean.core.layers import identity
from hookean.core.network import Network
from hookean.core.observe import observed
from hookean.core.precision import DiagonalPrecision, FullPrecision
from hookean.core.term import Prediction
from hookean.inference import Gradient, Newton
from hookean.inference.recall import recall
from hookean.inference.relax import relax


def weighed(network):
    """Return the network with a precision of its own for every entry of the data."""
    term = network.terms["x"]
    density = Gaussian(DiagonalPrecision(jnp.linspace(0.5, 2.0, 7)))
    return Network(
        network.shapes, network.terms | {"x": Prediction("x", term.sources, term.function, density)}, output="x"
    )


def last(network, values, seen, **settings):
    *_, end = recall(network, values, seen, **settings)
    return end


def test_seen_through_a_mask_is_a_masked_clamp_with_its_free_part_at_the_minimum():
    """Same latents, same missing values, another road: all entries held or free, each sample with its own mask."""
    network = weighed(examples.build("decoder").network)
    clamp = examples.build("decoder").modes["recall"]["x"]
    seen = clamp.mask.astype(float)
    settings = {"solver": Newton(iterations=30), "steps": 12, "coordinates": StateCoordinates()}
    _, predicted, states = last(network, clamp.value, seen, chunk=12, **settings)
    held = eqx.filter_jit(relax)(
        network, {"x": Masked(clamp.value, clamp.mask)}, solver=Newton(iterations=30), steps=12
    ).states
    for name in ("z", "h1", "h2", "h3"):
        np.testing.assert_allclose(states[name], held[name], atol=1e-6)
    np.testing.assert_allclose(jnp.where(clamp.mask, clamp.value, predicted), held["x"], atol=1e-6)


def test_newton_on_errors_finds_what_plain_descent_finds():
    network = weighed(examples.build("decoder").network)
    clamp = examples.build("decoder").modes["recall"]["x"]
    seen = clamp.mask.astype(float)
    many = {"solver": Gradient(0.1, 0.9), "steps": 4000, "coordinates": StateCoordinates(), "chunk": 4000}
    few = {"solver": Newton(iterations=20), "steps": 8}
    slow, fast = (last(network, clamp.value, seen, **settings) for settings in (many, few))
    np.testing.assert_allclose(fast[1], slow[1], atol=1e-5)
    np.testing.assert_allclose(flat(fast[2]), flat(slow[2]), atol=1e-4)


def test_a_linear_decoder_recalls_by_least_squares(keys):
    """With fewer latents than seen entries, what the decoder can make is recalled to rounding, and noise is fitted."""
    network = decoder(3, 9, hidden=(5, 4), activation=identity, key=keys(0))
    push = jax.jacobian(lambda z: network.forward({"z": z})["x"])(jnp.zeros(3))
    offset = network.forward({"z": jnp.zeros(3)})["x"]
    truth = jax.random.normal(keys(1), (4, 3)) @ push.T + offset
    seen = jnp.ones((4, 9)).at[:, 5:].set(0).at[1].set(jnp.arange(9) % 2)
    spoiled = jnp.where(seen > 0, truth, jnp.nan_to_num(jnp.inf))  # what stands at missing places is not looked at
    _, predicted, _ = last(network, spoiled, seen, solver=Newton(iterations=40), steps=2)
    np.testing.assert_allclose(predicted, truth, atol=1e-7)

    noisy = truth + 0.1 * jax.random.normal(keys(2), truth.shape)
    _, _, states = last(network, noisy, seen, solver=Newton(iterations=40), steps=2)
    for sample in range(4):
        rows = push[seen[sample] > 0]
        target = (noisy - offset)[sample][seen[sample] > 0]
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


def test_error_coordinates_need_the_mask_as_a_node():
    """The masked clamp itself is refused there, which is why the mask becomes a node."""
    example = examples.build("decoder")
    with pytest.raises(ValueError, match="part of a predicted node"):
        relax(example.network, example.modes["recall"], solver=Newton(), steps=1, coordinates=ErrorCoordinates())
