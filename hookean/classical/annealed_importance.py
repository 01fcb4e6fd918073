r"""Annealed importance sampling: the partition function of a restricted Boltzmann machine, with an interval."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..core.checks import at_least
from .restricted_boltzmann import RestrictedBoltzmann, draw


class Partition(eqx.Module):
    r"""An estimate of $\ln Z$ in nats.

    Attributes:
        value: $\ln\hat Z$, where $\hat Z$ is unbiased; its logarithm is low on average.
        low, high: $\ln(\hat Z \pm 3\,\mathrm{sd}/\sqrt{\text{runs}})$; low is $-\infty$ where so few runs carry the
            estimate that its lower edge is below zero.
        effective: effective number of runs, $(\sum w)^2/\sum w^2$.
        log_weights: $\ln w$ of each run.
    """

    value: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    effective: Float[Array, ""]
    log_weights: Float[Array, "runs"]

    def reliable(self) -> Bool[Array, ""]:
        """Say whether the interval has a lower edge."""
        return jnp.isfinite(self.low)


class AnnealedImportance(eqx.Module):
    r"""Anneal from independent bits to the machine, and weigh each run.

    $\ln w = \sum_k \ln p^*_{\beta_k}(v) - \ln p^*_{\beta_{k-1}}(v)$ with
    $\ln p^*_\beta(v) = (1-\beta)\,a_0^\top v + \beta\,a^\top v + \sum_j\mathrm{softplus}\,\beta(c + W^\top v)_j$ with
    a sweep that leaves $p_\beta$ invariant between the temperatures;
    $\ln Z_0 = \sum_i\mathrm{softplus}(a_0)_i + H\ln 2$.

    Arguments:
        betas: inverse temperatures from 0 to 1, rising (default: those of the source, 14,501 in all: 500 up to 0.5,
            4,000 up to 0.9, 10,000 up to 1).
        runs: independent runs (default 100).

    Cost: 2 products of the runs with the weights for each temperature.

    Source: Neal (2001); Salakhutdinov & Murray (2008), section 4.1, with this schedule in their demonstration.
    """

    betas: Float[np.ndarray, "steps"] = eqx.field(default_factory=lambda: schedule())
    runs: int = 100

    def __check_init__(self) -> None:
        at_least("runs", self.runs, 2)
        if self.betas[0] != 0 or self.betas[-1] != 1 or (np.diff(self.betas) <= 0).any():
            raise ValueError("betas must rise from 0 to 1.")

    def __call__(self, model: RestrictedBoltzmann, base: Float[Array, "d"], *, key: PRNGKeyArray) -> Partition:
        r"""Estimate $\ln Z$.

        Arguments:
            base: $a_0$, logits of the independent bits to start from; those of the data's means are close.
        """
        betas = jnp.asarray(self.betas, base.dtype)

        def run(key: PRNGKeyArray) -> Array:
            first_key, key = jax.random.split(key)

            def anneal(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
                v, log_weight = carry
                before, beta = betas[index], betas[index + 1]
                logits = model.hidden_logits(v)
                gain = jax.nn.softplus(beta * logits) - jax.nn.softplus(before * logits)
                log_weight = log_weight + (beta - before) * (v @ (model.visible_bias - base)) + jnp.sum(gain)
                keys = jax.random.split(jax.random.fold_in(key, index))
                hidden = draw(beta * logits, key=keys[0])
                visible = draw((1 - beta) * base + beta * model.visible_logits(hidden), key=keys[1])
                return (visible, log_weight), None

            start = (draw(base, key=first_key), jnp.zeros((), base.dtype))
            return jax.lax.scan(anneal, start, jnp.arange(len(betas) - 1))[0][1]

        log_weights = jax.vmap(run)(jax.random.split(key, self.runs))
        at_zero = jnp.sum(jax.nn.softplus(base)) + model.hidden_bias.size * jnp.log(2.0)
        return _summed(log_weights, at_zero)


def schedule(first: int = 500, second: int = 4000, third: int = 10_000) -> Float[np.ndarray, "steps"]:
    """Return inverse temperatures from 0 to 1: so many steps up to 0.5, up to 0.9 and up to 1."""
    parts = (
        np.linspace(0, 0.5, first, endpoint=False),
        np.linspace(0.5, 0.9, second, endpoint=False),
        np.linspace(0.9, 1, third + 1),
    )
    return np.concatenate(parts)


def _summed(log_weights: Array, at_zero: Array) -> Partition:
    top = jnp.max(log_weights)
    weights = jnp.exp(log_weights - top)
    mean = jnp.mean(weights)
    band = 3 * jnp.std(weights, ddof=1) / jnp.sqrt(len(weights))
    shift = top + at_zero
    return Partition(
        value=jnp.log(mean) + shift,
        low=jnp.where(mean > band, jnp.log(jnp.maximum(mean - band, 0)), -jnp.inf) + shift,
        high=jnp.log(mean + band) + shift,
        effective=jnp.square(jnp.sum(weights)) / jnp.sum(jnp.square(weights)),
        log_weights=log_weights,
    )
