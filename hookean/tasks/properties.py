"""Task `properties`: what learning rules are argued about, each as a number: waiting, feedback, clocks, lost units."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from ..algorithms.contract import AbstractAlgorithm, TrainState, steps_on
from ..algorithms.feedback import AbstractFeedbackAlignment
from ..core import builders
from ..core.network import Network
from ..core.parameters import count_parameters, split
from ..core.term import Prediction
from ..inference.asynchronous import Asynchronous
from ..inference.solver import AbstractSolver
from ..learning.turned import turn, turned
from ..record import Chart
from ..registry import exported_functions
from .build import ConfigError, options, resolve
from .classification import build
from .classifying import AbstractClassifying, Course, owned, with_rules
from .experiment import Stage
from .train import Diverged, labelled
from .waiting import awaited, delayed, masked

#: Options of algorithms that count relaxation steps.
STEPS = ("steps", "free_steps", "nudged_steps")


class Properties(AbstractClassifying, frozen=True):
    """Measure what a learning rule bears: layers that do not wait, turned feedback, no clock, and lost units.

    The differences are in points of test accuracy from a training of the same seed in which nothing is disturbed.

    - Waiting: how many matrix products in sequence stand between the answer of the first layer and its update; and the
      difference where no layer waits: a new batch comes in with every product, so that a layer learns from gradients
      that are as many batches old as it would have waited for products.
    - Feedback: errors come down through weights that are turned by an angle from those that the rule prescribes, in
      a direction that stays the same. Rules that send nothing down have nothing to turn.
    - Clock: in each relaxation step a unit moves only with a given probability, in as many more steps.
    - Units: a share of each hidden layer is silenced at half-time; just after, and after the second half.

    Attributes:
        angles: of turned feedback, in degrees.
        shares: probabilities with which a unit moves in a step.
        silenced: shares of the hidden units that are lost.

    The other options are those of `classification`.
    """

    name: ClassVar[str] = "properties"
    smoke: ClassVar[Mapping[str, Any]] = {
        "dataset": "digits", "network": {"name": "mlp", "hidden": [12, 10]}, "epochs": 2,
        "angles": [60], "shares": [0.5], "silenced": [0.5],
    }  # fmt: skip
    epochs: int = pydantic.Field(default=6, ge=2)
    angles: tuple[float, ...] = (30.0, 60.0, 90.0)
    shares: tuple[float, ...] = (0.5, 0.25)
    silenced: tuple[float, ...] = (0.25, 0.5)

    @pydantic.model_validator(mode="after")
    def _within(self) -> "Properties":
        for name, values, most in (
            ("angles", self.angles, 180),
            ("shares", self.shares, 1),
            ("silenced", self.silenced, 1),
        ):
            if not values or not all(0 < value <= most for value in values):
                raise ValueError(f"{name} must hold numbers above 0, at most {most}, got {list(values)}")
        return self

    def check(self) -> None:
        super().check()
        builder = resolve(self.network, exported_functions(builders), "network")[0]
        if not {"hidden", "depth"} & set(options(builder)):
            raise ConfigError(f"network: {builder.__name__} has convolutions, of which no units can be lost; use mlp.")

    def measure(self, stage: Stage) -> None:
        with stage.timed("data"):
            parts = build(self.classification())
        course = Course(stage, parts, _masked(parts.algorithm), parts.state.network, self.batch_size)
        bench = _Bench(self, stage, course)
        record = stage.record
        record.parameters = count_parameters(parts.state.network)
        record.passes, record.needs = parts.algorithm.passes(parts.state.network), parts.algorithm.needs.words()
        record.test = bench.whole()
        record.test |= bench.waiting() | bench.feedback() | bench.clock()
        record.memory_mebibytes = bench.course.memory_mebibytes
        record.shown = [
            "accuracy",
            "products awaited",
            "nobody waits, points",
            _turned(max(self.angles)),
            _moving(min(self.shares)),
            _lost(max(self.silenced), "at once"),
            _lost(max(self.silenced), "in the end"),
        ]


def _turned(angle: float) -> str:
    return f"feedback turned by {angle:g}°, points"


def _moving(share: float) -> str:
    return f"{share:g} of the units a step, points"


def _lost(share: float, when: str) -> str:
    return f"{share:g} of the units lost, points {when}"


def _masked(algorithm: AbstractAlgorithm) -> AbstractAlgorithm:
    """Return the algorithm with a mask on its weight updates, so that one step serves before and after a loss."""
    return with_rules(algorithm, algorithm.optimiser, masked())


class _Bench:
    """The measurements of one rule and seed; each fills entries of the record and lines of its charts."""

    def __init__(self, config: Properties, stage: Stage, course: Course):
        self.config, self.stage, self.course = config, stage, course
        self.parts, self.rule = course.parts, course.parts.algorithm
        self.network: Network = course.parts.state.network

    def whole(self) -> dict[str, float]:
        """Train undisturbed, and with units lost at half-time; both share their first half."""
        half, epochs = self.config.epochs // 2, self.config.epochs
        before, history = self.course.train(self.course.start(self.network), range(half), "first half")
        after, more = self.course.train(owned(before), range(half, epochs), "second half")
        self.stage.record.history = history + more
        self.base = self._tested(self.course, after)
        found = {"accuracy": self.base / 100}
        lines: dict[str, list[float]] = {"at once": [], "in the end": []}
        for share in self.config.silenced:
            mask = silence(before.network, share, seed=self.config.seed)
            hurt = owned(before)
            network = eqx.combine(jax.tree.map(jnp.multiply, split(hurt.network)[0], mask), split(hurt.network)[1])
            hurt = dataclasses.replace(hurt, network=network, optimiser=(hurt.optimiser[0], mask))
            at_once = self._tested(self.course, hurt)
            end = self._tested(self.course, self.course.train(owned(hurt), range(half, epochs), f"{share:g} lost")[0])
            for when, value in (("at once", at_once), ("in the end", end)):
                found[_lost(share, when)] = value - self.base
                lines[when].append(value)
        self._chart("Units lost at half-time", "share of the hidden units", self.config.silenced, lines)
        return found

    def waiting(self) -> dict[str, float]:
        """Count what layers wait for, and train without waiting."""
        size = self.config.batch_size
        data, start = self.parts.data, self.parts.state
        inputs = data.transform.evaluate(self.parts.train.inputs[:size])
        batch = labelled(self.network, inputs, jnp.asarray(self.parts.train.labels[:size]), data.number_of_classes)
        left = awaited(self.rule, start, batch)
        eager = with_rules(self.rule, delayed(left), self.rule.optimiser)
        course = Course(self.stage, self.parts, eager, self.network, size)
        value = self._trained(course, self.network, "nobody waits")
        return {"products awaited": float(jax.tree.leaves(left)[0]), "nobody waits, points": value - self.base}

    def feedback(self) -> dict[str, float]:
        """Train with feedback that is turned away from what the rule prescribes."""
        needs, key = self.rule.needs, jax.random.key(self.config.seed)
        fixed = isinstance(self.rule, AbstractFeedbackAlignment)
        if not (needs.weight_transport or needs.symmetric_weights or fixed):
            return {}
        course, lines = self.course, []
        if not fixed:
            course = Course(
                self.stage, self.parts, _masked(self.rule), turned(self.network, 0.0, key=key), self.config.batch_size
            )
        for angle in self.config.angles:
            network = self.network if fixed else turned(self.network, angle, key=key)
            start = course.start(network)
            if fixed:
                memory = {
                    node: turn(matrix, jax.random.normal(jax.random.fold_in(key, i), matrix.shape), angle)
                    for i, (node, matrix) in enumerate(start.memory.items())
                }
                start = dataclasses.replace(start, memory=memory)
            lines.append(self._finished(course, start, f"feedback turned by {angle:g} degrees"))
        self._chart(
            "Feedback turned", "degrees between feedback and what the rule prescribes", self.config.angles, {"": lines}
        )
        return {_turned(a): value - self.base for a, value in zip(self.config.angles, lines, strict=True)}

    def clock(self) -> dict[str, float]:
        """Train with relaxations in which units move at random times."""
        solver = getattr(self.rule, "solver", None)
        if not isinstance(solver, AbstractSolver):
            return {}
        values = []
        for share in self.config.shares:
            course = Course(
                self.stage,
                self.parts,
                _masked(asynchronous(self.rule, share, self.network)),
                self.network,
                self.config.batch_size,
            )
            values.append(self._trained(course, self.network, f"{share:g} of the units a step"))
        self._chart("Units that move in a step", "share of the units", self.config.shares, {"": values})
        return {_moving(s): value - self.base for s, value in zip(self.config.shares, values, strict=True)}

    def _trained(self, course: Course, network: Network, title: str) -> float:
        return self._finished(course, course.start(network), title)

    def _finished(self, course: Course, start: TrainState, title: str) -> float:
        """Train from the start to the end and return the test accuracy in percent; chance is what divergence leaves."""
        try:
            return self._tested(course, course.train(start, range(self.config.epochs), title)[0])
        except Diverged:
            return 100.0 / self.parts.data.number_of_classes

    def _tested(self, course: Course, state: TrainState) -> float:
        return 100 * course.accuracy(state, self.parts.data.test)

    def _chart(self, title: str, x: str, places: Any, lines: Mapping[str, list[float]]) -> None:
        undisturbed = 1.0 if x == "share of the units" else 0.0
        drawn = {name: {"x": [undisturbed, *places], "y": [self.base, *values]} for name, values in lines.items()}
        self.stage.record.charts.append(Chart(title, x, "test accuracy, %", drawn))


def asynchronous(rule: AbstractAlgorithm, share: float, network: Network) -> AbstractAlgorithm:
    """Return the rule with relaxations in which a unit moves with a probability, and as many more steps.

    Where weights move in every step as well, the steps stay: more of them would be more learning.
    """
    changes: dict[str, Any] = {"solver": Asynchronous(rule.solver, share)}  # type: ignore[attr-defined]
    if rule.updates_per_batch() == 1:
        given = {name: getattr(rule, name) for name in STEPS if hasattr(rule, name)}
        changes |= {name: round(steps_on(network, steps) / share) for name, steps in given.items()}
    return dataclasses.replace(rule, **changes)


def silence(network: Network, share: float, *, seed: int) -> Any:
    """Return a mask shaped like the trained weights: zero at all that leads to or from a share of the hidden units.

    With its weights and bias at zero a unit answers $\\phi(0)$, which is zero for the usual activations, and no other
    unit hears of it.
    """
    kept: dict[str, np.ndarray] = {}
    for index, (node, shape) in enumerate(network.shapes.items()):
        kept[node] = np.ones(shape)
        if node not in (network.input, network.output):
            drawn = np.random.default_rng((seed, index)).permutation(shape[0])
            kept[node][drawn[: round(share * shape[0])]] = 0.0
    masks = []
    for term in network.term_list:
        to = term.target if isinstance(term, Prediction) else term.nodes[0]
        source = term.sources[0] if isinstance(term, Prediction) else term.nodes[-1]
        rows, columns = kept[to].reshape(-1), kept[source].reshape(-1)
        trained = split(term)[0]
        masks.append(
            jax.tree.map(
                lambda w, r=rows, c=columns: jnp.asarray(np.outer(r, c) if w.ndim > 1 else r, w.dtype), trained
            )
        )
    return eqx.tree_at(lambda n: n.term_list, split(network)[0], tuple(masks))
