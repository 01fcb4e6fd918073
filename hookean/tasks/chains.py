"""Long chains of a trained generative network: samples, a film, and how independent the samples are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pydantic
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import graph
from ..core.coordinates import AbstractCoordinates, StateCoordinates
from ..core.density import Gaussian
from ..core.initialise import Zero
from ..core.network import Network
from ..inference.chain import Chains, draw
from ..inference.langevin import Langevin
from ..inference.stepwise import Stepwise
from ..record import Chart
from .experiment import Stage

#: Lags of the autocorrelation that are shown, in kept draws.
LAGS = 60
#: Chains whose way is kept as pictures.
FILMED = 3


class Length(pydantic.BaseModel, frozen=True, extra="forbid"):
    """How many chains run and how long; the samples are `chains` times `looks`.

    Attributes:
        chains: independent chains (default 200).
        mixing: steps from the start at zero to the first sample (default 1,000).
        looks: samples of every chain (default 5).
        spacing: steps between two samples of a chain (default 200).
        every: steps between two draws that the diagnostics see (default 10).
    """

    chains: int = pydantic.Field(default=200, ge=4)
    mixing: int = pydantic.Field(default=1000, ge=0)
    looks: int = pydantic.Field(default=5, ge=1)
    spacing: int = pydantic.Field(default=200, ge=1)
    every: int = pydantic.Field(default=10, ge=1)

    @pydantic.model_validator(mode="after")
    def _whole(self) -> "Length":
        if self.mixing % self.every or self.spacing % self.every:
            raise ValueError(f"mixing and spacing must be multiples of every, {self.every}")
        if self.looks * self.spacing < 8 * self.every:
            raise ValueError("looks x spacing must hold at least 8 draws for split R-hat: lower every or add looks")
        return self


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What chains have left.

    Attributes:
        samples: predictions of the data at every look, [looks * alive chains, units].
        states: the data node itself there: a prediction with its noise.
        watched: statistics of every draw after mixing, [alive chains, draws, statistics].
        film: predictions of the first chains from their start on, [chains, draws, units].
        alive: for every chain, whether its states are finite at the end.
    """

    samples: Float[np.ndarray, "n d"]
    states: Float[np.ndarray, "n d"]
    watched: Float[np.ndarray, "c t s"]
    film: Float[np.ndarray, "f times d"]
    alive: np.ndarray


def run_chains(
    stage: Stage,
    network: Network,
    clamps: dict[str, Array],
    solver: Langevin,
    length: Length,
    *,
    coordinates: AbstractCoordinates = StateCoordinates(),
    watch: Callable[[Array], Array],
    key: PRNGKeyArray,
) -> Drawn:
    """Run the chains of a network whose data node is free, from zero, and return what they have left.

    A chain that leaves the finite numbers does so alone: samples are relaxed one by one, and what is left of it is
    taken out here.

    Arguments:
        clamps: the clamps of all chains: the constant input or the labels.
        coordinates: states, or prediction errors: the same distribution, in which the errors are independent.
        watch: from the data node [chains, units] to the statistics that the diagnostics see [chains, statistics].

    Raises:
        Diverged: if no chain is left.
    """
    output = network.output or ""
    last = next(term for term in graph.predictions(network.terms).values() if term.target == output)
    stepwise = Stepwise(solver, Zero(), coordinates)

    def keep(states: dict[str, Array]) -> tuple[Array, Array]:
        return watch(states[output]), jax.vmap(last.predict)(jax.tree.map(lambda s: s[:FILMED], states))

    @eqx.filter_jit
    def go(chains: Chains, draws: int, key: PRNGKeyArray) -> tuple[Chains, Any]:
        return draw(stepwise, network, clamps, chains, draws=draws, every=length.every, keep=keep, key=key)

    states, memory = stepwise.init(network, clamps, key=key)
    chains = Chains(states, memory)
    watched, film, samples, raw = [], [], [], []
    parts = [length.mixing // length.every] * (length.mixing > 0) + [length.spacing // length.every] * length.looks
    with stage.timed("chains"), stage.progress("chains", sum(parts)) as bar:
        for number, draws in enumerate(parts):
            chains, (seen, pictures) = go(chains, draws, jax.random.fold_in(key, number))
            film.append(np.asarray(pictures))
            if number >= len(parts) - length.looks:
                watched.append(np.asarray(seen))
                samples.append(np.asarray(jax.vmap(last.predict)(chains.states)))
                raw.append(np.asarray(chains.states[output]))
            bar.advance(draws)
    alive = np.all(
        [np.isfinite(np.asarray(s)).reshape(length.chains, -1).all(axis=1) for s in chains.states.values()], 0
    )
    if not alive.any():
        stage.diverged(
            f"all {length.chains} chains left the finite numbers. Lower generation.rate, or train for longer with "
            "a larger output variance."
        )
    return Drawn(
        np.concatenate([s[alive] for s in samples]),
        np.concatenate([s[alive] for s in raw]),
        np.concatenate(watched).swapaxes(0, 1)[alive],
        np.concatenate(film).swapaxes(0, 1),
        alive,
    )


def ancestral(
    network: Network, clamps: dict[str, Array], *, temperature: float = 1.0, key: PRNGKeyArray
) -> Float[Array, "n d"]:
    r"""Return exact samples: every node drawn from its prediction in order, $x_i \sim N(\hat x_i, T\,\Pi_i^{-1})$.

    It is what a chain of unlimited length and small rate draws from. The data node is returned as it is predicted.

    Raises:
        ValueError: if a node is not Gaussian.
    """
    order, _ = graph.forward_order(network.terms, clamps)
    terms = graph.predictions(network.terms)

    def one(clamps: dict[str, Array], key: PRNGKeyArray) -> Array:
        states = dict(clamps)
        for number, name in enumerate(order):
            term, density = terms[name], terms[name].density
            if not isinstance(density, Gaussian):
                raise ValueError(f"exact samples need Gaussian nodes, but '{term.target}' is {type(density).__name__}.")
            mean = term.predict(states)
            noise = jax.random.normal(jax.random.fold_in(key, number), mean.shape)
            spread = density.precision.solve(density.precision.root(noise))  # covariance P^-1 R R' P^-1 = P^-1
            states[term.target] = mean if term.target == network.output else mean + temperature**0.5 * spread
        return states[network.output or ""]

    return jax.vmap(one)(clamps, jax.random.split(key, len(next(iter(clamps.values())))))


def centred(watched: Float[np.ndarray, "c t s"], conditions: Int[np.ndarray, "c"]) -> Float[np.ndarray, "c t s"]:
    """Return the statistics less their mean over all chains of the same condition.

    Chains that are given different classes have different distributions: their means are no sign of poor mixing, and
    no part of the covariance that the model has under one condition.
    """
    result = np.array(watched)
    for condition in np.unique(conditions):
        mine = conditions == condition
        result[mine] -= result[mine].mean(axis=(0, 1))
    return result


def diagnose(watched: Float[np.ndarray, "c t s"]) -> dict[str, float]:
    """Return the smallest effective sample size, its share of the draws, and the largest split R-hat of the statistics.

    Source: Vehtari et al. (2021), as ArviZ has them.
    """
    from arviz_stats.base import array_stats

    columns = [watched[..., i] for i in range(watched.shape[-1])]
    size = min(float(array_stats.ess(column, method="mean")) for column in columns)
    return {
        "effective samples": size,
        "effective share": size / (watched.shape[0] * watched.shape[1]),
        "split R-hat": max(float(array_stats.rhat(column, method="split")) for column in columns),
    }


def autocorrelation(watched: Float[np.ndarray, "c t s"], names: list[str], every: int) -> Chart:
    """Return the chart of the autocorrelation of every statistic over the lag in steps, as a mean over chains."""
    from arviz_stats.base import array_stats

    lags = min(LAGS, watched.shape[1])
    lines = {}
    for i, name in enumerate(names):
        curves = array_stats.autocorr(watched[..., i], axis=-1)[:, :lags]
        lines[name] = {
            "x": (every * np.arange(lags, dtype=float)).tolist(),
            "y": curves.mean(axis=0).tolist(),
        }
    return Chart(
        "Autocorrelation of the chains",
        "lag (steps)",
        "autocorrelation",
        lines,
        reading="How long a chain remembers: samples further apart than the fall to zero are as good as independent.",
    )
