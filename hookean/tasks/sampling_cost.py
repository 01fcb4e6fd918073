"""Task `sampling_cost`: the cost of drawing from a Boltzmann machine beside that of relaxing a network of its size."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
from arviz_stats.base import array_stats
from jaxtyping import Array, Float

from .. import data
from ..algorithms.pc import PC
from ..classical.restricted_boltzmann import RestrictedBoltzmann
from ..core.density import Bernoulli
from ..core.initialise import Zero
from ..core.layers import Dense, identity
from ..core.network import Network
from ..core.parameters import count_parameters
from ..core.term import Coupling, Prediction
from ..data.dataset import AbstractDataset
from ..inference.gradient import Gradient
from ..inference.relax import Result, relax
from ..record import Chart
from ..registry import exported_classes, find
from .boltzmann import Boltzmann, bits_of, bonded, drawn_bits, machine, means
from .build import ConfigError
from .experiment import AbstractExperiment, Stage
from .fit import fit

#: Directions of the data along which the chains must mix: their first principal components.
COMPONENTS = 10


class SamplingCost(AbstractExperiment, frozen=True):
    r"""Train a machine and a network of the same number of hidden units, and count what inference costs in each.

    The machine is a restricted Boltzmann machine trained by persistent contrastive divergence. Its cost is that of one
    independent draw of the free phase: sweeps times chains over the effective number of samples of the slowest of
    eleven measures, the free energy and the first ten principal components of the data. The network is a latent of as
    many units with a Gaussian prior that predicts the same bits, trained by predictive coding; its cost is that of
    relaxing the latent from zero until the relative residual is at most `residual`. A sweep and a relaxation step are
    both two passes through the same number of weights.

    Attributes:
        dataset: name of a set of grey images.
        hidden: hidden units of both.
        epochs: of training, for both; both are measured after each of `after`.
        after: epochs after which inference is measured.
        chains, sweeps: of the sampling that is measured; a tenth more is left out at the start.
        residual: where a relaxation counts as settled.
        most: most steps of a relaxation.
        subset: training images; None takes all.
    """

    name: ClassVar[str] = "sampling_cost"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "hidden": 12,
        "epochs": 1,
        "after": [1],
        "chains": 4,
        "sweeps": 100,
        "most": 100,
        "subset": 500,
    }
    dataset: str = "mnist"
    hidden: int = pydantic.Field(default=128, ge=1)
    epochs: int = pydantic.Field(default=10, ge=1)
    after: tuple[pydantic.PositiveInt, ...] = pydantic.Field(default=(1, 3, 10), min_length=1)
    chains: int = pydantic.Field(default=20, ge=2)
    sweeps: int = pydantic.Field(default=2000, ge=20)
    residual: float = pydantic.Field(default=1e-3, gt=0, lt=1)
    most: int = pydantic.Field(default=2000, ge=1)
    subset: int | None = pydantic.Field(default=10_000, ge=1)

    def names(self) -> dict[str, str]:
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").__name__
        network = f"{self.hidden}-hidden"
        return {"label": self.label or network, "algorithm": "PCD-1 and PC", "network": network, "dataset": dataset}

    def check(self) -> None:
        if max(self.after) > self.epochs:
            raise ConfigError(f"after must name epochs from 1 to epochs, {self.epochs}, got {list(self.after)}.")

    def measure(self, stage: Stage) -> None:
        train, _, test, _ = bits_of(self.dataset, 100, self.subset, self.download)
        directions = np.linalg.svd(train / 255 - (train / 255).mean(axis=0), full_matrices=False)[2][:COMPONENTS]

        def sampled(state: Any, epoch: int) -> dict[str, Any]:
            if epoch not in self.after:
                return {}
            return {"inference": self.sampling(machine(state.network), state.memory, directions)}

        def relaxed(state: Any, epoch: int) -> dict[str, Any]:
            if epoch not in self.after:
                return {}
            return {"inference": self.relaxing(state.network, test[: self.chains])}

        rates = means(train)
        key = jax.random.key(self.seed)
        rbm = RestrictedBoltzmann(train.shape[1], self.hidden, rates=rates, key=key)
        options = {"epochs": self.epochs, "batch_size": 100, "seed": self.seed}
        rule = Boltzmann(hidden=self.hidden, epochs=self.epochs).algorithm(len(train))
        rows = {"inputs": train}
        fit(stage, rule, bonded(rbm), rows, drawn_bits, after=sampled, part="machine", **options)
        latent = latent_network(train.shape[1], self.hidden, key)
        stage.record.parameters = count_parameters(latent)
        # Steps of 0.05 are stable for the weights that arise here; what is measured chooses its rate by the curvature.
        pc = PC(solver=Gradient(0.05), steps=20, initial=Zero(), optimiser=optax.adam(1e-3))
        fit(stage, pc, latent, rows, drawn_bits, after=relaxed, part="network", **options)
        self.fill(stage)

    def sampling(
        self, rbm: RestrictedBoltzmann, particles: Float[Array, "many d"], directions: Float[np.ndarray, "k d"]
    ) -> dict[str, float]:
        """Return passes and seconds of one independent draw, per chain, and the effective share of the samples."""
        v = jnp.tile(particles, (-(-self.chains // len(particles)), 1))[: self.chains]
        axes = jnp.asarray(directions, v.dtype)

        @jax.jit
        def run(rbm: RestrictedBoltzmann, v: Array, key: Array) -> tuple[Array, Array]:
            def body(v: Array, key: Array) -> tuple[Array, Array]:
                v = jax.vmap(rbm.sweep)(v, key=jax.random.split(key, self.chains))
                return v, jnp.concatenate([jax.vmap(rbm.free_energy)(v)[:, None], v @ axes.T], axis=1)

            return jax.lax.scan(body, v, jax.random.split(key, self.sweeps))

        compiled = run.lower(rbm, v, jax.random.key(self.seed)).compile()
        v, _ = compiled(rbm, v, jax.random.key(self.seed))  # the start, which is left out
        began = time.perf_counter()
        _, trace = jax.block_until_ready(compiled(rbm, v, jax.random.key(self.seed + 1)))
        seconds = (time.perf_counter() - began) / self.sweeps
        size = array_stats.ess(np.asarray(trace, np.float64), chain_axis=1, draw_axis=0).min()
        sweeps = max(1.0, self.sweeps * self.chains / float(size))
        return {"passes": 2 * sweeps, "seconds": sweeps * seconds / self.chains, "effective share": 1 / sweeps}

    def relaxing(self, network: Network, bits: Float[Array, "n d"]) -> dict[str, float]:
        """Return passes and seconds until the relative residual is small, per sample (means over samples)."""
        weight = network.terms["v"].function.linear.weight  # type: ignore[attr-defined]
        # The energy is convex in the latent and its curvature at most 1 + |W|^2 / 4; half of the stable rate.
        rate = 1 / (1 + jnp.linalg.norm(weight, 2) ** 2 / 4)

        arrays, static = eqx.partition(network, eqx.is_array)

        @jax.jit
        def run(arrays: Network, bits: Array, rate: Array) -> Any:
            network = eqx.combine(arrays, static)
            return relax(
                network,
                {"v": bits},
                solver=Gradient(rate),
                steps=self.most,
                initial=Zero(),
                tolerance=self.residual,
            )

        compiled = run.lower(arrays, bits, rate).compile()
        compiled(arrays, bits, rate)
        began = time.perf_counter()
        end = jax.block_until_ready(compiled(arrays, bits, rate))
        seconds = time.perf_counter() - began
        settled = float(jnp.mean(end.result == Result.settled))
        # The gradient at the start, and one for each step.
        passes = 2 * (float(jnp.mean(end.steps)) + 1)
        return {"passes": passes, "seconds": seconds / len(bits), "settled share": settled}

    def fill(self, stage: Stage) -> None:
        """Write the last measures as the result, and the course over training as charts."""
        found = {
            name: [
                {"epoch": entry["epoch"]} | entry["inference"]
                for entry in stage.record.history
                if entry["part"] == part and "inference" in entry
            ]
            for name, part in (("Gibbs sampling", "machine"), ("PC relaxation", "network"))
        }
        (sampling, relaxing) = (entries[-1] for entries in found.values())
        stage.record.test = {
            "passes a draw": sampling["passes"],
            "passes a relaxation": relaxing["passes"],
            "ms a draw": 1e3 * sampling["seconds"],
            "ms a relaxation": 1e3 * relaxing["seconds"],
            "effective share of the samples": sampling["effective share"],
            "settled share": relaxing["settled share"],
        }
        stage.record.shown = ["passes a draw", "passes a relaxation", "ms a draw", "ms a relaxation"]

        def line(name: str, x: str, y: str) -> dict[str, list[float]]:
            return {"x": [float(e[x]) for e in found[name]], "y": [float(e[y]) for e in found[name]]}

        stage.record.charts = [
            Chart(
                f"{title} of inference over training",
                "epochs",
                unit,
                {name: line(name, "epoch", y) for name in found},
                log="xy",
                reading="One independent draw of the free phase, and one relaxation of a clamped sample.",
            )
            for title, unit, y in (("Passes", "passes a sample", "passes"), ("Seconds", "seconds a sample", "seconds"))
        ]


def latent_network(visible: int, hidden: int, key: Array) -> Network:
    """Return a latent with a Gaussian prior that predicts bits: as many weights as the machine has."""
    prior = Coupling("h", lambda h: 0.5 * jnp.sum(jnp.square(h)))
    bits = Prediction("v", "h", Dense(hidden, visible, identity, key=key), Bernoulli())
    return Network({"h": hidden, "v": visible}, {"prior": prior, "v": bits}, output="v")
