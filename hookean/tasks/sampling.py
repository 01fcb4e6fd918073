"""Task `sampling`: learn a distribution and draw from it, by Monte Carlo predictive coding or a rival."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array

from .. import algorithms, data
from ..algorithms.contract import AbstractAlgorithm
from ..classical.vae import VAE, learn_epoch
from ..core import builders
from ..core.coordinates import ErrorCoordinates, StateCoordinates
from ..core.density import Bernoulli, Gaussian
from ..core.network import Network
from ..core.parameters import count_parameters
from ..core.precision import ScalarPrecision
from ..data.batches import epoch_order
from ..data.dataset import AbstractDataset
from ..inference.langevin import Langevin
from ..registry import exported_classes, find
from . import chains, findings
from .build import ConfigError, construct, resolve
from .experiment import AbstractExperiment, Stage
from .findings import Rows
from .fit import fit, resumed, save
from .optimiser import Optimiser

BUILDERS = {"decoder": builders.decoder}


class Sampling(AbstractExperiment, frozen=True):
    """Learn a distribution and draw from it: Monte Carlo predictive coding, or a variational autoencoder beside it.

    Attributes:
        dataset: iris (sepal and petal length, one half to learn from and one half held out) or mnist.
        network: the decoder and its options; its hidden widths and activation are those of the rival as well.
        latent: units of the constant input (of the code, for the VAE).
        conditional: what the input of the network says: nothing, the class, or whether the class is odd.
        algorithm: {"name": "MCPC", options}, any other algorithm, or {"name": "VAE"}.
        optimiser: the weight rule and its schedule.
        epochs, batch_size: how long, and how many samples a step.
        subset: train on the first so many samples of a set of images; None takes all.
        validation: hold samples against a part of the training samples that is kept back, and not against the test
            samples: for the choice of everything above (default false).
        generation: options of the chains that generate which differ from the chain of the algorithm.
        coordinates: in which the chains that generate move: states, or prediction errors (default states). Both sample
            the same distribution; while the data node is free too, the errors are independent, and mix as fast as the
            rate allows.
        length: how many chains run and how long.
        exact: number of samples that are drawn node by node beside the chains, as the limit of long chains.
        judge_epochs: epochs of the classifier behind FID and inception score (default 3).
    """

    name: ClassVar[str] = "sampling"
    smoke: ClassVar[Mapping[str, Any]] = {
        "network": {"name": "decoder", "hidden": [6], "activation": "tanh"},
        "epochs": 2,
        "batch_size": 15,
        "length": {"chains": 20, "mixing": 20, "looks": 2, "spacing": 40, "every": 4},
        "exact": 100,
    }
    dataset: Literal["iris", "mnist"] = "iris"
    network: dict[str, Any] = pydantic.Field(default={"name": "decoder", "hidden": [64, 64], "activation": "tanh"})
    latent: int = pydantic.Field(default=2, ge=1)
    conditional: Literal["none", "class", "parity"] = "none"
    algorithm: dict[str, Any] = pydantic.Field(default={"name": "MCPC"})
    optimiser: Optimiser = Optimiser(name="adam", rate=1e-3, schedule="constant")
    epochs: int = pydantic.Field(default=100, ge=0)
    batch_size: int = pydantic.Field(default=75, ge=1)
    subset: int | None = pydantic.Field(default=None, ge=1)
    validation: bool = False
    generation: dict[str, Any] = pydantic.Field(default={})
    coordinates: Literal["states", "errors"] = "states"
    length: chains.Length = chains.Length()
    exact: int = pydantic.Field(default=2000, ge=100)
    judge_epochs: int = pydantic.Field(default=3, ge=0)

    @property
    def rival(self) -> bool:
        """Whether the run is that of the variational autoencoder."""
        return str(self.algorithm["name"]).lower() == "vae"

    def names(self) -> dict[str, str]:
        label = "VAE" if self.rival else self._algorithm()[0].label
        given = {"none": "", "class": ", given the class", "parity": ", given odd or even"}[self.conditional]
        _, _, plain = resolve(self.network, BUILDERS, "network")
        widths = "-".join(str(width) for width in plain["hidden"])
        kind = find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        return {
            "label": self.label or label + given,
            "algorithm": "VAE" if self.rival else type(self._algorithm()[0]).__name__,
            "network": f"decoder {widths} {plain['activation']}",
            "dataset": kind.name,
        }

    def check(self) -> None:
        self.names()
        if self.rival:
            if len(self.algorithm) > 1 or self.conditional != "none":
                raise ConfigError("the VAE has no options of its own and no condition: its sizes are those of network.")
        else:
            self.generator()
        if self.dataset == "iris" and self.conditional == "parity":
            raise ConfigError("conditional: flowers are neither odd nor even; use none or class.")
        needed = {"none": self.latent, "parity": 2, "class": 3 if self.dataset == "iris" else 10}[self.conditional]
        if self.latent != needed:
            raise ConfigError(f"latent must be {needed}, one unit for each {self.conditional}, got {self.latent}.")

    def resolved(self) -> dict[str, Any]:
        sections = {"network": resolve(self.network, BUILDERS, "network")[2]}
        if not self.rival:
            sections["algorithm"] = self._algorithm()[1]
            sections["generation"] = self._generator()[1]
        return super().resolved() | sections | {"label": self.names()["label"]}

    def _algorithm(self, **more: Any) -> tuple[AbstractAlgorithm, dict[str, Any]]:
        return construct(self.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm", **more)

    def _generator(self) -> tuple[Langevin, dict[str, Any]]:
        chain = self._algorithm()[1].get("chain", {"name": "Langevin"})
        return construct(chain | self.generation, {"Langevin": Langevin}, "generation")

    def generator(self) -> Langevin:
        """Return the solver of the chains that generate."""
        return self._generator()[0]

    def measure(self, stage: Stage) -> None:
        rows = findings.load(self.dataset, download=self.download, subset=self.subset, validation=self.validation)
        if self.rival:
            self._measure_rival(stage, rows)
        else:
            self._measure_chains(stage, rows)

    def _inputs(self, labels: Any) -> Array:
        """Return the clamp of the input for samples with these labels."""
        if self.conditional == "none":
            return jnp.zeros((len(labels), self.latent))
        classes = jnp.asarray(labels) % 2 if self.conditional == "parity" else jnp.asarray(labels)
        return jax.nn.one_hot(classes, self.latent)

    def _measure_chains(self, stage: Stage, rows: Rows) -> None:
        key = jax.random.key(self.seed)
        network: Network = construct(
            self.network, BUILDERS, "network", latent=self.latent, outputs=rows.units, key=jax.random.fold_in(key, 0)
        )[0]
        per_batch = self._algorithm()[0].updates_per_batch()
        updates = self.epochs * (len(rows.train) // self.batch_size) * per_batch
        algorithm = self._algorithm(optimiser=self.optimiser.build(updates))[0]
        stage.record.parameters = count_parameters(network)
        stage.record.passes = algorithm.passes(network)
        source = network.node_shapes[0][0]

        def clamps(batch: Any, key: Any) -> dict[str, Array]:
            del key
            return {source: self._inputs(batch["labels"]), network.output or "": rows.scaled(batch["x"])}

        state = fit(
            stage,
            algorithm,
            network,
            {"x": rows.train, "labels": rows.labels},
            clamps,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        labels = findings.balanced(rows, self.length.chains)
        drawn = chains.run_chains(
            stage,
            state.network,
            {source: self._inputs(labels)},
            self.generator(),
            self.length,
            coordinates=StateCoordinates() if self.coordinates == "states" else ErrorCoordinates(),
            watch=rows.watch,
            key=jax.random.fold_in(key, 1),
        )
        exact = chains.ancestral(
            state.network,
            {source: self._inputs(findings.balanced(rows, self.exact))},
            temperature=self.generator().temperature,
            key=jax.random.fold_in(key, 2),
        )
        conditions = np.asarray(self._inputs(labels)).argmax(axis=1)
        watched = chains.centred(drawn.watched, conditions[drawn.alive])
        self._report_chains(stage, rows, state.network, dataclasses.replace(drawn, watched=watched))
        findings.report_samples(
            stage,
            rows,
            {"chains": (drawn.samples, drawn.states), "drawn node by node": (np.asarray(exact), None)},
            seed=self.seed,
            judge_epochs=self.judge_epochs,
        )

    def _report_chains(self, stage: Stage, rows: Rows, network: Network, drawn: chains.Drawn) -> None:
        record = stage.record
        lost = int((~drawn.alive).sum())
        record.test = {"diverged chains": float(lost)} | chains.diagnose(drawn.watched)
        if lost:
            record.message = f"{lost} of {self.length.chains} chains left the finite numbers and are not counted."
        record.charts.append(chains.autocorrelation(drawn.watched, rows.statistics, self.length.every))
        if rows.pictures:
            findings.report_film(stage, rows, drawn.film, every=self.length.every)
        elif findings.is_linear(network):
            findings.report_covariance(stage, network, drawn, self.generator())

    def _measure_rival(self, stage: Stage, rows: Rows) -> None:
        key = jax.random.key(self.seed)
        _, given, _ = resolve(self.network, BUILDERS, "network")
        shared = {name: given[name] for name in ("hidden", "activation") if name in given}
        # Images are taken as probabilities of a white pixel; the spread of features is learned.
        density = Bernoulli() if rows.pictures else Gaussian(ScalarPrecision(10.0, learned=True))
        vae = VAE(rows.units, self.latent, density=density, key=jax.random.fold_in(key, 0), **shared)
        stage.record.parameters, stage.record.passes = count_parameters(vae), 2
        vae = self._trained(stage, rows, vae, key)
        keys = jax.random.split(jax.random.fold_in(key, 2), max(self.exact, self.length.chains * self.length.looks))
        made = np.asarray(jax.vmap(lambda k: vae.generate(key=k))(keys))
        if rows.pictures:
            samples, states = 2 * made - 1, None
        else:
            spread = np.asarray(jax.vmap(lambda k: jax.random.normal(k, (rows.units,)))(keys))
            precision = vae.density.precision  # type: ignore[attr-defined]
            samples, states = made, made + np.asarray(jax.vmap(precision.solve)(jax.vmap(precision.root)(spread)))
        stage.record.test = {}
        findings.report_samples(
            stage, rows, {"samples": (samples, states)}, seed=self.seed, judge_epochs=self.judge_epochs
        )

    def _trained(self, stage: Stage, rows: Rows, vae: VAE, key: Array) -> VAE:
        steps = len(rows.train) // self.batch_size
        optimiser = self.optimiser.build(self.epochs * steps)
        inputs = rows.scaled(jnp.asarray(rows.train))
        inputs = (inputs + 1) / 2 if rows.pictures else inputs
        memory = optimiser.init(eqx.filter(vae, eqx.is_inexact_array))
        go = eqx.filter_jit(learn_epoch)
        path = stage.folder / "train.safetensors"
        (vae, memory), done = resumed(stage, path, (vae, memory))
        with stage.timed("train"), stage.progress("training", self.epochs) as bar:
            bar.advance(done)
            for epoch in range(done, self.epochs):
                order = jnp.asarray(epoch_order(len(rows.train), self.batch_size, seed=self.seed, epoch=epoch))
                vae, memory, means = go(vae, optimiser, memory, inputs, order, key=jax.random.fold_in(key, 100 + epoch))
                energies = {name: float(value) for name, value in means.items()}
                energy = sum(energies.values())
                if not np.isfinite(energy):
                    stage.diverged(f"training diverged in epoch {epoch + 1}. Lower optimiser.rate.")
                entry = {"epoch": epoch + 1, "energies": energies, "train": {"energy": energy}}
                stage.record.history.append(entry)
                save(stage, path, (vae, memory), epoch + 1)
                bar.advance(note=f"bound {energy:.4g} nats")
        return vae
