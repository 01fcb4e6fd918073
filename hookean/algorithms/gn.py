"""Predictive coding at its equilibrium, which Gauss-Newton steps in output space reach at any depth."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.checks import at_least, positive
from ..core.clamp import Clamps, value
from ..core.coordinates import ErrorCoordinates
from ..core.density import Gaussian
from ..core.network import Network
from ..core.precision import ScaledPrecision
from ..core.term import AbstractTerm, Prediction
from ..inference.gauss_newton import GaussNewton
from ..inference.relax import relax
from ..learning.backprop import backprop_errors
from ..learning.batch import mean_gradient
from ..learning.energy_gradient import settled_gradient
from .contract import (
    AbstractAlgorithm,
    Info,
    Needs,
    Signal,
    TrainState,
    learn_once,
    require_fixed_densities,
    require_whole,
)


class GN(AbstractAlgorithm):
    r"""Predictive coding at equilibrium: Gauss-Newton inference on the errors, then one weight update.

    The weight gradient is that of PC whose relaxation has come to rest. With hidden precision $\gamma$ it is, to first
    order, backpropagation's with the output residual r replaced by $S^{-1}r$, $S = I + JJ^\top/\gamma$.

    $JJ^\top$ grows while a deep network trains. With `saturation` $\kappa$ the hidden precisions follow it: for every
    batch they are scaled by one factor, so that $r^\top JJ^\top r / \gamma = \kappa\, r^\top r$ on average. The output
    error is then damped by about $1 / (1 + \kappa)$ all through training: towards 0 the gradient is backpropagation's,
    well above 1 the errors swallow the residual.

    Arguments:
        solver: the Gauss-Newton solver; how many conjugate-gradient iterations, and whether steps are guarded.
        steps: Gauss-Newton steps a batch (default 2; one is enough where the hidden precision is large).
        saturation: $\kappa$; None leaves the network's own precisions.
        first_order: learn from the first order alone: the error that the equilibrium leaves at the output is sent back
            through the forward pass, so that the damping is the equilibrium's and all else backpropagation's.
        optimiser: the weight rule; it sees the batch mean.

    Cost: with k iterations, 2 (k + 1) passes a step, and one gradient of the energy; one pass more with `first_order`.

    Source: this project; the equilibrium is that of Whittington & Bogacz (2017).
    """

    solver: GaussNewton = GaussNewton()
    steps: int = 2
    saturation: float | None = None
    first_order: bool = False
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "PC-GN"
    reference: ClassVar[str] = "Whittington & Bogacz, Neural Computation 29 (2017) for the equilibrium"
    cost: ClassVar[str] = "2 (k + 1) passes a step with k iterations, and one energy gradient"
    needs: ClassVar[Needs] = Needs(weight_transport=True, backward_pass=True, phases=2)

    def __check_init__(self) -> None:
        at_least("steps", self.steps, 1)
        if self.saturation is not None:
            positive("saturation", self.saturation)

    def check(self, network: Network) -> None:
        if self.first_order:
            require_fixed_densities(network, "GN(first_order=True)")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return self.steps * self.solver.passes + 2 + self.first_order

    def signal(
        self, network: Network, batch: Clamps, *, epoch: Int[Array, ""] | int, key: PRNGKeyArray, record: bool = False
    ) -> Signal:
        del epoch
        if self.first_order:
            require_whole(batch, "GN(first_order=True)")
        factor = None if self.saturation is None else saturating_factor(network, batch, self.saturation)
        relaxed = network if factor is None else scaled(network, batch, factor)
        relaxation = relax(
            relaxed,
            batch,
            solver=self.solver,
            steps=self.steps,
            coordinates=ErrorCoordinates(),
            record=record,
            key=key,
        )
        if self.first_order:
            errors = output_errors(network, batch, relaxation.states)
            energies = settled_gradient(relaxed, relaxation)[1]  # compiled, its gradient is left out
            return Signal(backprop_errors(network, batch, errors), energies, relaxation, network=relaxed)
        if factor is None:
            return Signal(*settled_gradient(network, relaxation), relaxation)
        gradient, energies = mean_gradient(
            lambda model, sample: scaled(model, batch, factor).energies(sample[0], errors=sample[1]),
            network,
            (relaxation.states, relaxation.errors),
        )
        return Signal(gradient, energies, relaxation, network=relaxed)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)


def output_errors(network: Network, batch: Clamps, states: Mapping[str, Array]) -> dict[str, Array]:
    r"""Return term of a clamped node -> slope of its energy in its prediction at the given states.

    Cost: one forward pass.
    """
    held = {name: term for name, term in graph.predictions(network.terms).items() if term.target in batch}

    def one(sample: Mapping[str, Array]) -> dict[str, Array]:
        return {n: jax.grad(t.density.energy, argnums=1)(sample[t.target], t.predict(sample)) for n, t in held.items()}

    return eqx.filter_vmap(one)(dict(states))


def saturating_factor(network: Network, batch: Clamps, saturation: float) -> Float[Array, ""]:
    r"""Return the factor on hidden precisions with which $r^\top JD^{-1}J^\top r = \kappa\,r^\top r$ in the batch mean.

    r is the slope of the energy in the clamped terms' predictions at the forward states, D the hidden precisions with
    the factor, J the Jacobian in the errors of the free nodes.

    Cost: one forward and one backward pass, which the first step of the relaxation shares.
    """

    def one(clamps: Clamps) -> tuple[Float[Array, ""], Float[Array, ""]]:
        terms = graph.predictions(network.terms)
        held = {name: term for name, term in terms.items() if term.target in clamps}
        owners = {term.target: term for term in terms.values() if term.target not in clamps}
        errors = {node: jnp.zeros(network.shapes[node]) for node in owners}

        def drives(errors: dict[str, Array]) -> dict[str, Array]:
            states = ErrorCoordinates().states(network, errors, clamps)
            return {name: term.predict(states) for name, term in held.items()}

        predicted, back = jax.vjp(drives, errors)
        slope = {
            name: jax.grad(term.density.energy, argnums=1)(value(clamps[term.target]), predicted[name])
            for name, term in held.items()
        }
        pulled = back(slope)[0]
        answer = {node: _gaussian(term.density).precision.solve(pulled[node]) for node, term in owners.items()}
        inner = sum((jnp.sum(pulled[node] * answer[node]) for node in owners), start=jnp.zeros(()))
        return inner, sum((jnp.sum(s**2) for s in slope.values()), start=jnp.zeros(()))

    inner, size = jax.tree.map(jnp.mean, eqx.filter_vmap(one)(dict(batch)))
    # Where no hidden error reaches the output (weights of zero, a batch without error) there is nothing to saturate.
    return jnp.where(inner > 0, inner / jnp.where(size > 0, size, 1) / saturation, 1.0)


def scaled(network: Network, batch: Clamps, factor: Float[Array, ""]) -> Network:
    """Return the network with the precision of every free node times `factor`."""
    terms: dict[str, AbstractTerm] = {}
    for name, term in network.terms.items():
        if isinstance(term, Prediction) and term.target not in batch:
            density = Gaussian(ScaledPrecision(_gaussian(term.density).precision, factor))
            term = eqx.tree_at(lambda t: t.density, term, density)
        terms[name] = term
    return eqx.tree_at(lambda n: n.term_list, network, tuple(terms.values()))


def _gaussian(density: object) -> Gaussian:
    if not isinstance(density, Gaussian):
        raise ValueError(f"GN needs Gaussian predictions of free nodes, got {type(density).__name__}.")
    return density
