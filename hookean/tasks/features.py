"""Task `features`: what rules that learn without labels make of images."""

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float

from .. import classical, data
from ..classical.rule import AbstractRule, learn_all
from ..data.batches import epoch_order
from ..data.dataset import AbstractDataset
from ..data.split import subset
from ..registry import exported_classes, find
from .build import construct, resolve
from .experiment import AbstractExperiment, Stage
from .lateral import keep_filters, statistics_of


class Features(AbstractExperiment, frozen=True):
    """Learn features from images alone; draw them, and measure what a linear classifier can read from them.

    Attributes:
        dataset: name of a data set.
        rule: {"name": ..., options}: `Oja`, `Sanger`, `Foldiak` or `SparseCoding`.
        inputs: `centred` (mean image taken off, divided by the spread of all pixels) or `binary` (above half grey).
        epochs, batch_size: of learning; rates fall linearly to a tenth.
        subset: training samples, with equal shares of the classes.
        tested: test samples, the first ones; None takes all.
        shown: filters in the picture.
    """

    name: ClassVar[str] = "features"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits",
        "rule": {"name": "Sanger", "units": 8},
        "epochs": 1,
        "subset": 300,
        "tested": 60,
        "shown": 8,
    }
    dataset: str = "mnist"
    rule: dict[str, Any] = pydantic.Field(default={"name": "Sanger", "units": 32})
    inputs: str = pydantic.Field(default="centred", pattern="^(centred|binary)$")
    epochs: int = pydantic.Field(default=5, ge=1)
    batch_size: int = pydantic.Field(default=20, ge=1)
    subset: int = pydantic.Field(default=5000, ge=1)
    tested: int | None = pydantic.Field(default=None, ge=1)
    shown: int = pydantic.Field(default=32, ge=1)

    def names(self) -> dict[str, str]:
        rule = find(str(self.rule["name"]), exported_classes(classical, AbstractRule), "rule")
        dataset = find(self.dataset, exported_classes(data, AbstractDataset), "data set").name
        units = self.rule.get("units", rule.__dataclass_fields__["units"].default)
        return {
            "label": self.label or rule.__name__,
            "algorithm": rule.__name__,
            "network": f"{units} units",
            "dataset": dataset,
        }

    def check(self) -> None:
        find(self.dataset, exported_classes(data, AbstractDataset), "data set")
        resolve(self.rule, exported_classes(classical, AbstractRule), "rule")

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            loaded = find(self.dataset, exported_classes(data, AbstractDataset), "data set")().load(
                download=self.download
            )
            train = subset(loaded.train, self.subset, 0)
            x, tested = self._rows(train.inputs, loaded.test.inputs[: self.tested])
        rule, _ = construct(self.rule, exported_classes(classical, AbstractRule), "rule")
        learned = rule.init(x.shape[1], key=jax.random.key(self.seed))
        advance = eqx.filter_jit(learn_all)
        with stage.timed("train"), stage.progress("epochs", self.epochs) as bar:
            for epoch in range(self.epochs):
                order = epoch_order(len(x), self.batch_size, seed=self.seed, epoch=epoch)
                done = (epoch + jnp.arange(len(order)) / len(order)) / self.epochs
                learned = advance(rule, learned, x[order], 1 - 0.9 * done)
                if not bool(jnp.isfinite(rule.filters(learned)).all()):
                    stage.diverged(f"the weights are no longer finite in epoch {epoch + 1}: lower rule.rate.")
                bar.advance()
        with stage.timed("evaluate"):
            respond = eqx.filter_jit(lambda learned, rows: jax.vmap(lambda row: rule.respond(learned, row))(rows))
            codes, test_codes = np.asarray(respond(learned, x)), np.asarray(respond(learned, tested))
            accuracy = linear_readout(codes, train.labels, test_codes, loaded.test.labels[: self.tested])
        found = {"readout accuracy": accuracy} | statistics_of(test_codes)
        stage.record.test, stage.record.shown = found, list(found)
        stage.record.parameters = int(sum(leaf.size for leaf in jax.tree.leaves(learned)))
        keep_filters(stage, np.asarray(rule.filters(learned)), loaded.shape, self.shown, "Filters of the units")

    def _rows(self, train: Any, test: Any) -> tuple[Float[Array, "n inputs"], Float[Array, "m inputs"]]:
        x, y = (np.asarray(part, np.float32).reshape(len(part), -1) for part in (train, test))
        if self.inputs == "binary":
            middle = x.max() / 2
            return jnp.asarray((x > middle).astype(np.float32)), jnp.asarray((y > middle).astype(np.float32))
        mean, spread = x.mean(axis=0), x.std()
        return jnp.asarray((x - mean) / spread), jnp.asarray((y - mean) / spread)


def linear_readout(codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy of a logistic regression on the codes."""
    from sklearn.linear_model import LogisticRegression  # a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    return float(classifier.fit(codes, labels).score(test_codes, test_labels))
