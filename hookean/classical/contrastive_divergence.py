r"""Contrastive divergence: raise the probability of data against that of what the model draws."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Real

from ..core.checks import at_least
from .restricted_boltzmann import RestrictedBoltzmann, draw


class ContrastiveState(eqx.Module):
    """What the next step needs: the machine, the optimiser's memory, the chains, the number of updates."""

    model: RestrictedBoltzmann
    optimiser: Any
    chains: Float[Array, "chains d"]
    updates: Int[Array, ""]


class ContrastiveDivergence(eqx.Module):
    r"""CD-k and persistent CD: $\partial\langle F\rangle_{\text{data}} - \partial\langle F\rangle_{\text{model}}$.

    F is the free energy. For each weight this is $-\langle v_i\,\sigma(c + W^\top v)_j\rangle_{\text{data}}$ and the
    same with the other sign for the model: probabilities stand for hidden units in the statistics, and only the chains
    draw them. CD starts k sweeps at the data and its gradient is biased; PCD goes on with the chains of the update
    before, and its bias falls with the rate.

    Arguments:
        sweeps: k, sweeps of every chain an update (default 1).
        persistent: keep the chains from update to update (default true: PCD).
        decay: $\lambda$ of the penalty $\frac\lambda2\lVert W\rVert^2$ (default 2e-4); biases have none.
        optimiser: the weight rule (default: SGD at 0.05 with momentum 0.5; let the rate fall to 0, which brings most
            of the likelihood).

    Cost: 2 k products of the chains with the weights, and 2 of the data and of the chains.

    Source: Hinton (2002) for CD; Tieleman (2008) for PCD.
    """

    sweeps: int = 1
    persistent: bool = True
    decay: float = 2e-4
    optimiser: optax.GradientTransformation = optax.sgd(0.05, 0.5)

    def __check_init__(self) -> None:
        at_least("sweeps", self.sweeps, 1)
        if self.decay < 0:
            raise ValueError(f"decay must be 0 or more, got {self.decay}.")

    def init(self, model: RestrictedBoltzmann, *, chains: int, key: PRNGKeyArray) -> ContrastiveState:
        """Return the state before the first batch, with chains drawn from the visible biases alone."""
        at_least("chains", chains, 1)
        logits = jnp.tile(model.visible_bias, (chains, 1))
        return ContrastiveState(model, self.optimiser.init(model), draw(logits, key=key), jnp.zeros((), jnp.int32))

    def gradient(
        self, model: RestrictedBoltzmann, data: Float[Array, "batch d"], drawn: Float[Array, "chains d"]
    ) -> RestrictedBoltzmann:
        """Return the gradient of the mean negative log-likelihood as estimated from data and draws of the model."""

        def contrast(model: RestrictedBoltzmann) -> Array:
            return jnp.mean(jax.vmap(model.free_energy)(data)) - jnp.mean(jax.vmap(model.free_energy)(drawn))

        return jax.grad(contrast)(model)

    def step(
        self, state: ContrastiveState, data: Real[Array, "batch d"], *, key: PRNGKeyArray
    ) -> tuple[ContrastiveState, dict[str, Float[Array, ""]]]:
        """Learn from bits of any dtype; return the state and the mean free energies of data and draws, in nats."""
        model = state.model
        data = data.astype(model.weight.dtype)
        first = state.chains if self.persistent else data
        keys = jax.random.split(key, len(first))
        drawn = jax.vmap(lambda v, key: model.sample(v, sweeps=self.sweeps, key=key))(first, keys)
        gradient = self.gradient(model, data, drawn)
        gradient = eqx.tree_at(lambda g: g.weight, gradient, gradient.weight + self.decay * model.weight)
        updates, memory = self.optimiser.update(gradient, state.optimiser, model)
        chains = drawn if self.persistent else state.chains
        info = {
            "data": jnp.mean(jax.vmap(model.free_energy)(data)),
            "model": jnp.mean(jax.vmap(model.free_energy)(drawn)),
        }
        return ContrastiveState(optax.apply_updates(model, updates), memory, chains, state.updates + 1), info
