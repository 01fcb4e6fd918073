"""Task `hopfield`: how many random patterns a binary Hopfield network holds, against theory."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..classical.hopfield import Hopfield as Network
from ..classical.storage import RULES, critical_load, error_free_load, retrieval_overlap
from ..classical.symmetric import Symmetric
from ..record import Chart
from .experiment import AbstractExperiment, Stage

#: Loads at which a rule is measured: its whole range, and finely around the theory.
LOADS = {
    "hebbian": (0.02, 0.05, 0.08, 0.1, 0.11, 0.12, 0.13, 0.135, 0.14, 0.145, 0.15, 0.16, 0.18, 0.22),
    "storkey": (0.05, 0.1, 0.15, 0.2, 0.24, 0.26, 0.27, 0.28, 0.29, 0.3, 0.31, 0.32, 0.35, 0.4, 0.5),
    "pseudo_inverse": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.98, 0.99, 0.994, 0.996, 0.998, 1.0),
}


class Hopfield(AbstractExperiment, frozen=True):
    """Store random patterns by one rule, at rising loads P/N, and see what is left of them after settling.

    The capacity is the load at which a curve falls through a level: for the Hebbian rule the mean overlap through that
    of mean-field theory at the critical load, 0.967; for the other two rules the share of networks in which every
    pattern is a fixed point, through one half.

    Attributes:
        units: N.
        rule: storage rule.
        loads: loads P/N, rising; None takes a grid that is fine around the theory of the rule.
        draws: networks, each with patterns of its own, at every load.
        cues: patterns of a network that are recalled, from themselves and from a tenth of the units flipped.
        flipped: share of the units that are flipped in the second cue.
        sweeps: most sweeps of a recall.
    """

    name: ClassVar[str] = "hopfield"
    smoke: ClassVar[Mapping[str, Any]] = {"units": 60, "loads": [0.05, 0.15, 0.3], "draws": 2, "cues": 5}
    units: int = pydantic.Field(default=500, ge=2)
    rule: Literal["hebbian", "storkey", "pseudo_inverse"] = "hebbian"
    loads: tuple[float, ...] | None = None
    draws: int = pydantic.Field(default=5, ge=1)
    cues: int = pydantic.Field(default=50, ge=1)
    flipped: float = pydantic.Field(default=0.1, ge=0, le=1)
    sweeps: int = pydantic.Field(default=30, ge=1)

    @pydantic.field_validator("loads")
    @classmethod
    def _rising(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (not value or min(value) <= 0 or list(value) != sorted(set(value))):
            raise ValueError("loads must be positive and rising")
        return value

    def names(self) -> dict[str, str]:
        rule = self.rule.replace("_", "-")
        return {
            "label": self.label or rule,
            "algorithm": rule,
            "network": f"Hopfield-{self.units}",
            "dataset": "random patterns",
        }

    def measure(self, stage: Stage) -> None:
        loads = self.loads or LOADS[self.rule]
        counts = [max(1, round(load * self.units)) for load in loads]
        loads = tuple(count / self.units for count in counts)
        trial = eqx.filter_jit(self.trial)
        key = jax.random.key(self.seed)
        found = np.zeros((len(loads), self.draws, 6))
        with stage.timed("evaluate"), stage.progress("loads", len(loads)) as bar:
            for i, count in enumerate(counts):
                for d in range(self.draws):
                    place = jax.random.fold_in(key, i * self.draws + d)
                    found[i, d] = trial(jnp.asarray(count), max(counts), key=place)
                bar.advance(note=f"load {loads[i]:.3f}  overlap {found[i, :, 2].mean():.4f}")
        theory = self.theory()
        hebbian = self.rule == "hebbian"
        curve = found[:, :, 2].mean(axis=1) if hebbian else found[:, :, 0].mean(axis=1)
        level = retrieval_overlap(theory - 1e-9) if hebbian else 0.5
        capacity = crossing(np.asarray(loads), curve, level)
        stage.record.parameters = self.units * (self.units - 1) // 2
        stage.record.test = {
            "capacity, patterns per unit": capacity,
            "theory": theory,
            "measured over theory": capacity / theory,
        }
        stage.record.shown = list(stage.record.test)
        stage.record.charts = [*self.curves(loads, found), self.descent(key)]

    def trial(self, count: Int[Array, ""], most: int, *, key: PRNGKeyArray) -> Float[Array, "6"]:
        """Store `count` patterns (of at most `most`) and measure one network.

        Returns:
            whether every pattern is a fixed point, the share of those that are, and the mean overlap with the pattern
            after settling from it and from a cue with flipped units, one unit at a time; then the same two with all
            units at once.
        """
        keys = jax.random.split(key, 3)
        drawn = signs(keys[0], (most, self.units))
        used = jnp.arange(most) < count
        patterns = jnp.where(used[:, None], drawn, 0)  # rows of zeros add nothing, and one program serves all loads
        network = Network(Symmetric(RULES[self.rule](patterns)))
        fixed = jax.vmap(network.stable)(patterns) | ~used
        cues = patterns[jnp.arange(self.cues) % count]
        flips = jax.random.bernoulli(keys[1], self.flipped, cues.shape)

        def alone(cue: Array) -> Array:
            return network.recall(cue, sweeps=self.sweeps, key=keys[2]).state

        def together(cue: Array) -> Array:
            return network.recall_together(cue, sweeps=self.sweeps).state

        starts = (cues, jnp.where(flips, -cues, cues))
        ends = [jnp.mean(jax.vmap(recall)(start) * cues) for recall in (alone, together) for start in starts]
        share = jnp.sum(fixed & used) / count
        return jnp.stack([jnp.all(fixed).astype(share.dtype), share, *ends])

    def theory(self) -> float:
        """Return the load that theory has for the rule: mean field, error-free storage, or linear independence."""
        if self.rule == "hebbian":
            return critical_load()
        return error_free_load(self.units) if self.rule == "storkey" else 1.0

    def curves(self, loads: tuple[float, ...], found: Float[np.ndarray, "loads draws 6"]) -> list[Chart]:
        """Return what is left of the patterns, against the load."""
        x = [float(load) for load in loads]

        def line(index: int) -> dict[str, list[float]]:
            values = found[:, :, index]
            ends = {"low": values.min(axis=1), "high": values.max(axis=1)}
            return {"x": x, "y": values.mean(axis=1).tolist()} | {name: end.tolist() for name, end in ends.items()}

        flipped = f"from {100 * self.flipped:g} % flipped"
        ends = {
            "from the pattern": line(2),
            flipped: line(3),
            "from the pattern, all units at once": line(4),
            f"{flipped}, all units at once": line(5),
        }
        if self.rule == "hebbian":
            fine = np.linspace(0.01, critical_load() - 1e-6, 60)
            ends["mean-field theory"] = {"x": fine.tolist(), "y": [retrieval_overlap(a) for a in fine]}
        share = {"patterns": line(1), "networks with all patterns": {"x": x, "y": found[:, :, 0].mean(axis=1).tolist()}}
        return [
            Chart(
                "Overlap with the pattern after settling",
                "load, patterns per unit",
                "overlap",
                ends,
                reading="1 is the pattern without a wrong bit. Bands reach from the worst to the best network.",
            ),
            Chart("Share of fixed points", "load, patterns per unit", "share", share),
        ]

    def descent(self, key: PRNGKeyArray) -> Chart:
        """Return the energy over the sweeps of recalls from a quarter of the units flipped, at a tenth of the units."""
        keys = jax.random.split(key, 3)
        patterns = signs(keys[0], (max(1, self.units // 10), self.units))
        network = Network(Symmetric(RULES[self.rule](patterns)))
        cue = jnp.where(jax.random.bernoulli(keys[1], 0.25, (self.units,)), -patterns[0], patterns[0])
        recalls = {
            "one unit at a time": network.recall(cue, sweeps=10, key=keys[2]),
            "all units at once": network.recall_together(cue, sweeps=10),
        }
        x = [float(i) for i in range(11)]
        lines = {name: {"x": x, "y": np.asarray(r.energies / self.units).tolist()} for name, r in recalls.items()}
        return Chart("Energy during recall", "sweeps", "energy per unit", lines)


def signs(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "rows units"]:
    """Return random patterns of -1 and 1."""
    return jnp.where(jax.random.bernoulli(key, 0.5, shape), 1.0, -1.0)


def crossing(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], level: float) -> float:
    """Return where y first falls below `level`, by linear interpolation; nan where it starts below or never does."""
    below = np.flatnonzero(y < level)
    if len(below) == 0 or below[0] == 0:
        return float("nan")
    i = below[0]
    return float(x[i - 1] + (x[i] - x[i - 1]) * (y[i - 1] - level) / (y[i - 1] - y[i]))
