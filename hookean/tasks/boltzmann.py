"""Task `boltzmann`: train a restricted Boltzmann machine, and measure the likelihood that it gives to unseen images."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from .. import data
from ..algorithms.contract import AbstractLearner, Info, TrainState
from ..classical.annealed_importance import AnnealedImportance, Partition, schedule
from ..classical.contrastive_divergence import ContrastiveDivergence, ContrastiveState
from ..classical.restricted_boltzmann import RestrictedBoltzmann, draw, logit
from ..core.clamp import Clamps
from ..core.network import Network
from ..core.parameters import count_parameters
from ..data.dataset import AbstractDataset
from ..data.split import subset, validation_split
from ..record import Chart, Images
from ..registry import exported_classes, find
from .build import ConfigError
from .experiment import AbstractExperiment, Stage
from .fit import fit

#: Images, chains and filters that are shown in a row.
SHOWN = 12
#: Sweeps after which chains are shown.
SWEEPS = (1, 10, 100, 1000)


class Contrastive(AbstractLearner):
    """Contrastive divergence as the training loop has it: the machine is a term, the chains are the memory.

    The visible node is clamped to bits that are drawn from grey levels anew at every step.
    """

    rule: ContrastiveDivergence
    chains: int = eqx.field(static=True, default=100)

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        first = self.rule.init(machine(network), chains=self.chains, key=key)
        return TrainState(network, first.optimiser, first.updates, jnp.zeros((), jnp.int32), first.chains)

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        before = ContrastiveState(machine(state.network), state.optimiser, state.memory, state.updates)
        after, energies = self.rule.step(before, batch["v"], key=key)  # type: ignore[arg-type]
        network = eqx.tree_at(machine, state.network, after.model)
        gap = {"bond": energies["data"] - energies["model"]}
        return TrainState(network, after.optimiser, after.updates, state.epoch, after.chains), Info(
            gap, None, jnp.zeros(())
        )


class Boltzmann(AbstractExperiment, frozen=True):
    """Train a restricted Boltzmann machine on images as bits; test log-likelihood by annealed importance sampling.

    A grey level is the probability of a bit. Training draws the bits anew at every step; held-out and test bits are
    drawn once, the same for every seed.

    Attributes:
        dataset: name of a set of images.
        hidden: hidden units.
        rule: persistent contrastive divergence, or contrastive divergence from the data.
        sweeps: k, sweeps of every chain an update.
        chains: number of persistent chains.
        epochs, batch_size: how long, and how many images an update.
        rate, momentum, decay: of stochastic gradient descent; the rate falls linearly to 0, weights alone decay.
        validation: images held out of training, for choosing options.
        subset: use so many training images only; None takes all.
        temperatures: steps of the annealing up to 0.5, 0.9 and 1.
        runs: annealing runs.
    """

    name: ClassVar[str] = "boltzmann"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "hidden": 12,
        "epochs": 1,
        "validation": 100,
        "temperatures": [10, 20, 20],
        "runs": 20,
    }
    dataset: str = "mnist"
    hidden: int = pydantic.Field(default=500, ge=1)
    rule: Literal["pcd", "cd"] = "pcd"
    sweeps: int = pydantic.Field(default=1, ge=1)
    chains: int = pydantic.Field(default=100, ge=1)
    epochs: int = pydantic.Field(default=25, ge=1)
    batch_size: int = pydantic.Field(default=100, ge=1)
    rate: float = pydantic.Field(default=0.05, gt=0)
    momentum: float = pydantic.Field(default=0.5, ge=0, lt=1)
    decay: float = pydantic.Field(default=2e-4, ge=0)
    validation: int = pydantic.Field(default=10_000, ge=1)
    subset: int | None = pydantic.Field(default=None, ge=1)
    temperatures: tuple[pydantic.PositiveInt, pydantic.PositiveInt, pydantic.PositiveInt] = (500, 4000, 10_000)
    runs: int = pydantic.Field(default=100, ge=2)

    def names(self) -> dict[str, str]:
        rule = f"{self.rule.upper()}-{self.sweeps}"
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").__name__
        network = f"RBM-{self.hidden}"
        return {"label": self.label or rule, "algorithm": rule, "network": network, "dataset": dataset}

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            train, valid, test, shape = bits_of(self.dataset, self.validation, self.subset, self.download)
        rates = means(train)
        key = jax.random.key(self.seed)
        rbm = RestrictedBoltzmann(train.shape[1], self.hidden, rates=rates, key=key)
        stage.record.parameters = count_parameters(rbm)
        stage.record.passes = 2 * self.sweeps + 4
        state = fit(
            stage,
            self.algorithm(len(train)),
            bonded(rbm),
            {"inputs": train},
            drawn_bits,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            after=lambda state, epoch: {"valid": {"free energy gap": gap(machine(state.network), train, valid)}},
        )
        rbm = machine(state.network)
        with stage.timed("evaluate"):
            self._likelihood(
                stage, rbm, logit(rates), {"train": as_bits(train[: len(test)], 2), "valid": valid, "test": test}
            )
        with stage.timed("evidence"):
            self._pictures(stage, rbm, test, shape)

    def algorithm(self, samples: int) -> Contrastive:
        """Return the learning rule with its rate falling to 0 over all updates."""
        updates = self.epochs * (samples // self.batch_size)
        optimiser = optax.sgd(optax.linear_schedule(self.rate, 0.0, updates), self.momentum or None)
        rule = ContrastiveDivergence(self.sweeps, self.rule == "pcd", self.decay, optimiser)
        return Contrastive(rule, self.chains)

    def _likelihood(self, stage: Stage, rbm: RestrictedBoltzmann, base: Array, splits: dict[str, Array]) -> None:
        sampler = AnnealedImportance(schedule(*self.temperatures), self.runs)
        found: Partition = eqx.filter_jit(sampler)(rbm, base, key=jax.random.fold_in(jax.random.key(self.seed), 2))
        if not np.isfinite(float(found.value)):
            stage.diverged("the partition function is not finite: lower the rate.")
        energies = {name: np.asarray(free_energies(rbm, bits)) for name, bits in splits.items()}
        means = {f"{name} log-likelihood, nats": -float(e.mean()) - float(found.value) for name, e in energies.items()}
        test = -float(energies["test"].mean())
        stage.record.test = {
            "log-likelihood, nats": means.pop("test log-likelihood, nats"),
            "low": test - float(found.high),
            "high": test - float(found.low),
            "standard error over images": float(energies["test"].std() / np.sqrt(len(energies["test"]))),
            "ln Z": float(found.value),
            "effective annealing runs": float(found.effective),
            **means,
        }
        stage.record.shown = ["log-likelihood, nats", "low", "high", "effective annealing runs"]
        if not bool(found.reliable()):
            stage.record.message = "The annealing is unreliable: one run carries the estimate. Take more temperatures."

    def _pictures(self, stage: Stage, rbm: RestrictedBoltzmann, test: Array, shape: tuple[int, ...]) -> None:
        image = shape[:2]
        largest = np.argsort(-np.linalg.norm(np.asarray(rbm.weight), axis=0))[: 4 * SHOWN]
        filters = np.asarray(rbm.weight)[:, largest].T
        rows = -(-len(largest) // SHOWN)
        filters = np.concatenate([filters, np.zeros((rows * SHOWN - len(largest), filters.shape[1]))])
        key = jax.random.fold_in(jax.random.key(self.seed), 3)
        samples = chains_at(rbm, key, SWEEPS)
        some = test[:SHOWN]
        rebuilt = jnp.stack([some, jax.vmap(rbm.reconstruct)(some), completed(rbm, some, key)])
        stage.keep_arrays(
            {
                "filters": filters.reshape(rows, SHOWN, *image).astype(np.float16),
                "samples": as_pixels(samples, image),
                "reconstructions": as_pixels(rebuilt, image),
            }
        )
        stage.record.images = [
            Images(
                "Filters of hidden units", "filters", [""] * rows, "Weights of the units with the largest norm.", True
            ),
            Images(
                "Samples of the machine",
                "samples",
                [f"after {n} sweeps" for n in SWEEPS],
                "Each column is one chain that starts at independent pixels; shown are probabilities.",
            ),
            Images(
                "Reconstruction and completion",
                "reconstructions",
                ["test image", "through the hidden units", "lower half drawn"],
                "The last row holds the upper half and shows the mean of 200 sweeps over the lower half.",
            ),
        ]
        history = stage.record.history
        epochs = [float(entry["epoch"]) for entry in history]
        gaps = [float(entry["valid"]["free energy gap"]) for entry in history]
        stage.record.charts = [
            Chart(
                "Free energy of held-out images less that of training images",
                "epochs",
                "nats",
                {"": {"x": epochs, "y": gaps}},
                reading="It needs no partition function. A growing gap says that samples are learnt by heart.",
            )
        ]


def machine(network: Network) -> RestrictedBoltzmann:
    """Return the machine of a bonded network."""
    (term,) = network.term_list
    return term  # type: ignore[return-value]


def bonded(rbm: RestrictedBoltzmann) -> Network:
    """Return the network of a visible and a hidden node whose only term is the machine."""
    visible, hidden = rbm.weight.shape
    return Network({"v": visible, "h": hidden}, {"bond": rbm})


def bits_of(
    dataset: str, validation: int, samples: int | None, download: bool
) -> tuple[UInt8[np.ndarray, "n d"], Float[Array, "m d"], Float[Array, "k d"], tuple[int, ...]]:
    """Return grey levels to train on, held-out and test bits (one fixed draw), and the shape of an image."""
    loaded = find(dataset, exported_classes(data, AbstractDataset), "data set")().load(download=download)
    if loaded.train.inputs.ndim != 4 or loaded.train.inputs.shape[3] != 1:
        raise ConfigError(f"dataset must hold grey images, for each pixel is a bit; {loaded.name} does not.")
    whole = loaded.train if samples is None else subset(loaded.train, samples, 0)
    train, valid = validation_split(whole, size=validation, seed=0)
    flat = [split.inputs.reshape(len(split), -1) for split in (train, valid, loaded.test)]
    return flat[0], as_bits(flat[1], 0), as_bits(flat[2], 1), loaded.train.inputs.shape[1:]


def means(grey: UInt8[np.ndarray, "n d"]) -> Float[Array, "d"]:
    """Return the mean of every pixel, in [0, 1]."""
    return jnp.asarray(grey.mean(axis=0) / 255, jnp.result_type(float))


def as_bits(grey: UInt8[np.ndarray, "n d"], seed: int) -> Float[Array, "n d"]:
    """Return one fixed draw of bits whose probabilities are the grey levels."""
    drawn = np.random.default_rng(seed).random(grey.shape, np.float32)
    return jnp.asarray(drawn < grey.astype(np.float32) / 255, jnp.result_type(float))


def drawn_bits(rows: Any, key: PRNGKeyArray) -> dict[str, Array]:
    """Return the clamps of a batch: new bits from its grey levels."""
    grey = rows["inputs"].astype(jnp.result_type(float)) / 255
    return {"v": jax.random.bernoulli(key, grey).astype(grey.dtype)}


@eqx.filter_jit
def free_energies(rbm: RestrictedBoltzmann, bits: Float[Array, "n d"]) -> Float[Array, "n"]:
    """Return the free energy of every row in nats."""
    return jax.lax.map(rbm.free_energy, bits, batch_size=min(len(bits), 1000))


def gap(rbm: RestrictedBoltzmann, grey: UInt8[np.ndarray, "n d"], valid: Float[Array, "m d"]) -> float:
    """Return the mean free energy of held-out bits less that of as many training bits."""
    seen = as_bits(grey[: len(valid)], 2)
    return float(free_energies(rbm, valid).mean() - free_energies(rbm, seen).mean())


def chains_at(rbm: RestrictedBoltzmann, key: PRNGKeyArray, sweeps: tuple[int, ...]) -> Float[Array, "rows columns d"]:
    """Return the probabilities of the visible units of `SHOWN` chains after so many sweeps each."""
    first, *keys = jax.random.split(key, len(sweeps) + 1)
    v = draw(jnp.tile(rbm.visible_bias, (SHOWN, 1)), key=first)
    rows, done = [], 0
    for until, key in zip(sweeps, keys, strict=True):
        more = until - done
        run = jax.vmap(lambda v, k, more=more: rbm.sample(v, sweeps=more, key=k))
        v, done = run(v, jax.random.split(key, SHOWN)), until
        rows.append(jax.vmap(rbm.reconstruct)(v))
    return jnp.stack(rows)


def completed(rbm: RestrictedBoltzmann, bits: Float[Array, "n d"], key: PRNGKeyArray) -> Float[Array, "n d"]:
    """Hold the upper half of every image and return the mean of the lower half over 200 sweeps."""
    held = jnp.arange(bits.shape[1]) < bits.shape[1] // 2

    def one(v: Array, key: PRNGKeyArray) -> Array:
        def body(v: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
            keys = jax.random.split(key)
            means = jax.nn.sigmoid(rbm.visible_logits(draw(rbm.hidden_logits(v), key=keys[0])))
            drawn = (jax.random.uniform(keys[1], means.shape) < means).astype(v.dtype)
            return jnp.where(held, v, drawn), means

        start = jnp.where(held, v, 0)
        return jnp.where(held, v, jnp.mean(jax.lax.scan(body, start, jax.random.split(key, 200))[1][50:], axis=0))

    return jax.vmap(one)(bits, jax.random.split(key, len(bits)))


def as_pixels(values: Float[Array, "rows columns d"], image: tuple[int, ...]) -> UInt8[np.ndarray, "rows columns h w"]:
    """Return values in [0, 1] as grey levels of images."""
    return np.round(255 * np.asarray(values)).astype(np.uint8).reshape(*values.shape[:2], *image)
