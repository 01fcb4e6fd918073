"""Task `reach`: how far back in time an error is felt: its norm against the lag, rule by rule and radius by radius."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Array, Float

from ..core.activation import ACTIVATIONS
from ..core.builders import elman
from ..core.coordinates import ErrorCoordinates
from ..core.network import Network
from ..core.recurrent import truncated
from ..core.term import Prediction
from ..inference.gauss_newton import GaussNewton
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..inference.tracking import track
from ..record import Chart
from ..registry import find
from .build import ConfigError
from .experiment import AbstractExperiment, Stage

#: Norm of the error at every lag, the last step first, for every sample.
Signal = Callable[[Network, dict[str, Array]], Float[Array, "batch lags"]]

SETTLED = "PC, settled"
OUTPUTS = 10


class Reach(AbstractExperiment, frozen=True):
    r"""The norm of the error signal at $h_{T-k}$ against the lag k, of a random Elman network with a target at the end.

    For backpropagation it is $\lVert \partial E/\partial h_{T-k} \rVert$, for predictive coding over the whole sequence
    the prediction error $\lVert \varepsilon_{T-k} \rVert$; both divided by their value at the last step, as means over
    samples.

    Attributes:
        radii: spectral radii of the recurrent matrix, an orthogonal one times the radius.
        radius: the one of them at which all rules are drawn together.
        activation: of the hidden units.
        units, steps, samples: size of the network, of a sequence, of the batch.
        window: of truncated backpropagation.
        relaxations: numbers of relaxation steps after which the errors of predictive coding are looked at as well.
        settling: Gauss-Newton steps after which the states count as settled (gradient steps would take thousands: where
            errors grow on their way back, the energy is flat in some direction).
        rate: state rate.
    """

    name: ClassVar[str] = "reach"
    smoke: ClassVar[Mapping[str, Any]] = {
        **{"units": 4, "steps": 6, "samples": 2},
        **{"radii": [1.0], "relaxations": [2], "settling": 1},
    }
    radii: tuple[float, ...] = (0.5, 0.9, 1.0, 1.1, 1.5)
    radius: float = 1.0
    activation: str = "tanh"
    units: int = pydantic.Field(default=64, ge=1)
    steps: int = pydantic.Field(default=40, ge=4)
    samples: int = pydantic.Field(default=4, ge=1)
    window: int = pydantic.Field(default=10, ge=1)
    relaxations: tuple[int, ...] = (10, 40)
    settling: int = pydantic.Field(default=20, ge=1)
    rate: float = pydantic.Field(default=0.3, gt=0)

    def names(self) -> dict[str, str]:
        label = self.label or ("linear" if self.activation == "identity" else self.activation)
        return {"label": label, "algorithm": "BPTT", "network": "elman", "dataset": "random sequences"}

    def check(self) -> None:
        find(self.activation, ACTIVATIONS, "activation")
        if self.radius not in self.radii:
            raise ConfigError(f"radius must be one of radii, {list(self.radii)}, got {self.radius}.")

    def measure(self, stage: Stage) -> None:
        rules: dict[str, Signal] = {
            "BPTT": back,
            f"BPTT, window {self.window}": functools.partial(back, window=self.window),
            "RTRL": ahead,
            "temporal PC": functools.partial(in_time, rate=self.rate, steps=40),
            **{f"PC, {n} steps": functools.partial(together, rate=self.rate, steps=n) for n in self.relaxations},
            SETTLED: functools.partial(settled, steps=self.settling),
        }
        norms: dict[tuple[float, str], np.ndarray] = {}
        outputs: dict[float, np.ndarray] = {}
        with stage.progress("radii", len(self.radii)) as bar, stage.timed("evaluate"):
            for radius in self.radii:
                network, batch = self._example(radius)
                missed = batch["y"] - eqx.filter_vmap(network.forward)({"x": batch["x"]})["y"]
                outputs[radius] = np.linalg.norm(np.asarray(missed), axis=1)
                for rule in rules if radius == self.radius else ("BPTT", SETTLED):
                    norms[radius, rule] = np.asarray(eqx.filter_jit(rules[rule])(network, batch))
                bar.advance()
        self._show(stage, norms)
        self._show_sizes(stage, norms, outputs)

    def _example(self, radius: float) -> tuple[Network, dict[str, Array]]:
        key = jax.random.key(self.seed)
        activation = find(self.activation, ACTIVATIONS, "activation")
        network = elman((self.steps, 1), OUTPUTS, hidden=(self.units,), activation=activation, radius=radius, key=key)
        x = 0.5 * jax.random.normal(jax.random.fold_in(key, 1), (self.samples, self.steps, 1))
        return network, {"x": x, "y": jax.random.normal(jax.random.fold_in(key, 2), (self.samples, OUTPUTS))}

    def _show(self, stage: Stage, norms: Mapping[tuple[float, str], np.ndarray]) -> None:
        def line(radius: float, rule: str) -> dict[str, list[float]]:
            relative = norms[radius, rule] / norms[radius, rule][:, :1]
            y = np.where(relative > 1e-12, relative, np.nan).mean(axis=0)  # below it is rounding
            return {"x": [float(k) for k in range(self.steps)], "y": [float(v) for v in y]}

        axes = {"x": "lag (steps)", "y": "norm, relative to the last step", "log": "y"}
        record, test = stage.record, {}
        record.charts = [
            Chart(
                f"{title} against lag",
                lines={f"radius {r:g}": line(r, rule) for r in self.radii},
                reading=f"{reading} A straight line is a constant factor a step.",
                **axes,
            )
            for title, rule, reading in (
                ("Gradient of backpropagation through time", "BPTT", "Norm of the gradient in the state k steps ago."),
                ("Error of settled predictive coding", SETTLED, "Norm of the prediction error k steps ago."),
            )
        ]
        here = {rule: line(radius, rule) for radius, rule in norms if radius == self.radius}
        reading = "A line that ends reaches no further: its errors beyond are zero."
        record.charts.append(Chart(f"All rules at radius {self.radius:g}", lines=here, reading=reading, **axes))
        for radius in self.radii:
            for name, rule in (("BPTT", "BPTT"), ("settled PC", SETTLED)):
                test[f"{name}, factor a step at {radius:g}"] = _factor(norms[radius, rule])
        exact, forward = (norms[self.radius, rule] for rule in ("BPTT", "RTRL"))
        test["RTRL, largest deviation from BPTT"] = float(np.max(np.abs(forward / exact - 1)))
        record.test, record.shown = test, [name for name in test if "factor" in name]

    def _show_sizes(
        self, stage: Stage, norms: Mapping[tuple[float, str], np.ndarray], outputs: Mapping[float, np.ndarray]
    ) -> None:
        """Add the size of the whole signal, over all lags, against the radius."""
        lines = {}
        for name, rule in (("BPTT", "BPTT"), ("settled PC", SETTLED)):
            sizes = [float(np.mean(np.linalg.norm(norms[r, rule], axis=1) / outputs[r])) for r in self.radii]
            lines[name] = {"x": list(self.radii), "y": sizes}
            stage.record.test |= {f"{name}, whole signal at {self.radii[-1]:g}": sizes[-1]}  # type: ignore[operator]
        stage.record.charts.append(
            Chart(
                "Whole signal against the radius",
                "spectral radius",
                "norm over all lags, relative to the output error of the forward pass",
                lines,
                "y",
                "Gradients grow without bound; the errors of an equilibrium share out the output error; with linear "
                "units they are never more than half of it.",
            )
        )


def _factor(norms: np.ndarray) -> float:
    """Return the factor a step: of a straight line through the logarithm over the second half of the lags."""
    lags = np.arange(norms.shape[1] // 2, norms.shape[1])
    logs = np.log(np.maximum(norms[:, lags], 1e-300)).mean(axis=0)
    return float(np.exp(np.polyfit(lags, logs, 1)[0]))


def _last_first(errors: Float[Array, "batch steps units"]) -> Float[Array, "batch lags"]:
    return jnp.linalg.norm(errors, axis=-1)[:, ::-1]


def _rolled(network: Network, sample: Mapping[str, Array], errors: Float[Array, "steps units"]) -> dict[str, Array]:
    """Return the forward states of one sample whose hidden states have these errors."""
    term = network.terms["h1"]
    assert isinstance(term, Prediction)
    return {**sample, "h1": term.forward(sample, errors)}


def back(network: Network, batch: dict[str, Array], *, window: int | None = None) -> Float[Array, "batch lags"]:
    r"""Return $\lVert dE/dh_{T-k} \rVert$ by one pass backwards: the gradient in an error added to each state."""
    model = truncated(network, window, sliding=True)

    def one(sample: dict[str, Array]) -> Float[Array, "steps units"]:
        def loss(errors: Float[Array, "steps units"]) -> Float[Array, ""]:
            return model.terms["y"](_rolled(model, sample, errors))

        return jax.grad(loss)(jnp.zeros(model.shapes["h1"]))

    return _last_first(jax.vmap(one)(batch))


def ahead(network: Network, batch: dict[str, Array]) -> Float[Array, "batch lags"]:
    """Return the same norms forwards in time: the sensitivity of the last state to every earlier one, carried along."""

    def one(sample: dict[str, Array]) -> Float[Array, "steps units"]:
        def last(errors: Float[Array, "steps units"]) -> Float[Array, "units"]:
            return _rolled(network, sample, errors)["h1"][-1]

        nothing = jnp.zeros(network.shapes["h1"])
        states = _rolled(network, sample, nothing)
        pull = jax.grad(lambda h: network.terms["y"]({**states, "h1": states["h1"].at[-1].set(h)}))
        return jnp.tensordot(pull(states["h1"][-1]), jax.jacfwd(last)(nothing), 1)

    return _last_first(jax.lax.map(one, batch))


def together(network: Network, batch: dict[str, Array], *, rate: float, steps: int) -> Float[Array, "batch lags"]:
    """Return the norms of the prediction errors after relaxing all steps of the sequence together."""
    states = relax(network, batch, solver=Gradient(rate), steps=steps, unroll=False).states
    return _last_first(jax.vmap(network.errors)(states)["h1"])


def settled(network: Network, batch: dict[str, Array], *, steps: int) -> Float[Array, "batch lags"]:
    """Return the norms of the prediction errors at the equilibrium of the whole sequence."""
    solver, coordinates = GaussNewton(iterations=OUTPUTS, halvings=6), ErrorCoordinates()
    states = relax(network, batch, solver=solver, steps=steps, coordinates=coordinates, unroll=False).states
    return _last_first(jax.vmap(network.errors)(states)["h1"])


def in_time(network: Network, batch: dict[str, Array], *, rate: float, steps: int) -> Float[Array, "batch lags"]:
    """Return the norms of the prediction errors after relaxing one step after the other."""
    return _last_first(jax.vmap(network.errors)(track(network, batch, solver=Gradient(rate), steps=steps).states)["h1"])
