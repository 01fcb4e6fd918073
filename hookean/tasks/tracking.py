"""Task `tracking`: the hidden state of a linear system, by temporal predictive coding and by the Kalman filter."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pydantic
from jaxtyping import Array, Float

from ..algorithms.contract import TrainState
from ..algorithms.temporal_pc import TemporalPC
from ..classical.kalman import kalman_filter
from ..core.builders import elman
from ..core.density import Gaussian
from ..core.layers import identity
from ..core.network import Network
from ..core.parameters import count_parameters
from ..inference.gradient import Gradient
from ..inference.relax import relax
from ..inference.tracking import track
from ..record import Chart
from .experiment import AbstractExperiment, Stage
from .fit import fit


class System(NamedTuple):
    r"""$z_t = A z_{t-1} + B u_t + w_t$, $x_t = C z_t + v_t$, with variances q of w and r of v; $z_0 = 0$."""

    A: Float[Array, "n n"]
    B: Float[Array, "n p"]
    C: Float[Array, "k n"]
    q: float
    r: float


class Tracking(AbstractExperiment, frozen=True):
    """Estimate the state of a linear dynamical system from noisy observations of a part of it.

    With the true system: the Kalman filter, temporal predictive coding (settled, and after a few steps), and predictive
    coding over the whole sequence, which also sees what comes later. With a system that temporal predictive coding has
    learned from observations alone: the error of the next observation, as the states of two systems cannot be compared.

    Attributes:
        units, inputs, observed: sizes of z, u and x.
        radius: of A, an orthogonal matrix times this.
        state_noise, noise: variances q and r; precisions of the network are their inverses.
        length: steps of a sequence.
        samples: sequences to learn from; 500 others test.
        steps: relaxation steps at each time in learning. The rate is a quarter of 1 over the largest curvature of the
            true system: that of a learned one may be eight times as large before its states diverge.
        few: relaxation steps of the estimate that is not settled.
        epochs, batch_size, rate: of learning, with Adam.
    """

    name: ClassVar[str] = "tracking"
    smoke: ClassVar[Mapping[str, Any]] = {"length": 5, "samples": 60, "epochs": 1}
    units: int = pydantic.Field(default=4, ge=1)
    inputs: int = pydantic.Field(default=2, ge=1)
    observed: int = pydantic.Field(default=2, ge=1)
    radius: float = pydantic.Field(default=0.95, gt=0)
    state_noise: float = pydantic.Field(default=0.1, gt=0)
    noise: float = pydantic.Field(default=0.5, gt=0)
    length: int = pydantic.Field(default=50, ge=2)
    samples: int = pydantic.Field(default=2000, ge=1)
    steps: int = pydantic.Field(default=60, ge=1)
    few: int = pydantic.Field(default=5, ge=1)
    epochs: int = pydantic.Field(default=20, ge=0)
    batch_size: int = pydantic.Field(default=50, ge=1)
    rate: float = pydantic.Field(default=3e-3, gt=0)

    def names(self) -> dict[str, str]:
        size = f"linear system of {self.units} units"
        return {"label": self.label or "temporal PC", "algorithm": "TemporalPC", "network": "elman", "dataset": size}

    def measure(self, stage: Stage) -> None:
        key = jax.random.key(self.seed)
        system = self._system(jax.random.fold_in(key, 0))
        blank = self._network(jax.random.fold_in(key, 1))
        true = _holding(blank, system)
        test = simulate(system, 500, self.length, self.inputs, key=jax.random.fold_in(key, 2))
        rows = simulate(system, self.samples, self.length, self.inputs, key=jax.random.fold_in(key, 3))
        with stage.timed("evaluate"):
            kalman, guesses = self._filtered(system, test), self._estimates(system, true, test)
        errors = {name: np.square(np.asarray(z - test["z"])).mean((0, 2)) for name, z in guesses.items()}
        following = {"Kalman, next observation": float(jnp.mean(jnp.square(kalman - test["x"])))}
        following["temporal PC, next observation"] = self._next(true, system, test)

        def after(state: TrainState, epoch: int) -> dict[str, Any]:
            return {"next observation": self._next(state.network, system, test)}

        state = fit(
            stage,
            TemporalPC(solver=self._solver(system), steps=self.steps, optimiser=optax.adam(self.rate)),
            blank,
            {"x": np.asarray(rows["u"]), "y": np.asarray(rows["x"])},
            lambda batch, key: dict(batch),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
            after=after,
        )
        following["learned, next observation"] = self._next(state.network, system, test)
        read = state.network.terms["y"].function.layer.layer.linear.weight  # type: ignore[attr-defined]
        following["learned readout, norm over the true one"] = float(jnp.linalg.norm(read) / jnp.linalg.norm(system.C))
        stage.record.parameters = count_parameters(blank)
        curve = [entry["next observation"] for entry in stage.record.history]
        self._show(stage, errors, following, curve)

    def _show(
        self, stage: Stage, errors: Mapping[str, np.ndarray], following: Mapping[str, float], curve: list[float]
    ) -> None:
        record, times, epochs = stage.record, range(1, self.length + 1), range(1, len(curve) + 1)
        record.test = {f"{name}, state": float(each.mean()) for name, each in errors.items()} | dict(following)
        record.shown = list(record.test)
        reading = "Mean over sequences and units. The first states have little past to be uncertain about."
        along = {name: {"x": [float(t) for t in times], "y": [float(v) for v in e]} for name, e in errors.items()}
        lines = {"learned": {"x": [float(e) for e in epochs], "y": curve}}
        for name in ("Kalman", "temporal PC"):
            level = following[f"{name}, next observation"]
            lines[f"{name}, true system"] = {"x": lines["learned"]["x"], "y": [level for _ in epochs]}
        record.charts = [
            Chart("Error of the state", "time (steps)", "mean squared error", along, reading=reading),
            Chart("Learning the system", "epoch", "mean squared error of the next observation", lines),
        ]

    def _system(self, key: Array) -> System:
        a, b, c = jax.random.split(key, 3)
        A = jax.nn.initializers.orthogonal(self.radius)(a, (self.units, self.units))
        B = jax.random.normal(b, (self.units, self.inputs)) * self.inputs**-0.5
        C = jax.random.normal(c, (self.observed, self.units)) * self.units**-0.5
        return System(A, B, C, self.state_noise, self.noise)

    def _network(self, key: Array) -> Network:
        return elman(
            (self.length, self.inputs),
            self.observed,
            hidden=(self.units,),
            activation=identity,
            readout="each",
            radius=0.5,
            precision=1 / self.state_noise,
            output=Gaussian(1 / self.noise),
            key=key,
        )

    def _solver(self, system: System) -> Gradient:
        """Return gradient descent on one time with a quarter of 1 over the largest curvature of the true system."""
        return Gradient(0.25 / (1 / system.q + float(jnp.linalg.norm(system.C, 2)) ** 2 / system.r))

    def _filtered(self, system: System, data: Mapping[str, Array]) -> Float[Array, "batch steps k"]:
        """Return the Kalman filter's prediction of every observation from those before it."""
        means = _kalman(system, data)
        before = jnp.concatenate([jnp.zeros_like(means[:, :1]), means[:, :-1]], axis=1)
        return (before @ system.A.T + data["u"] @ system.B.T) @ system.C.T

    def _estimates(self, system: System, true: Network, data: Mapping[str, Array]) -> dict[str, Array]:
        """Return the estimated states of every sequence, by method."""
        clamps = {"x": data["u"], "y": data["x"]}
        solver = self._solver(system)
        largest = (1 + self.radius) ** 2 / system.q + float(jnp.linalg.norm(system.C, 2)) ** 2 / system.r
        found = {
            "Kalman": _kalman(system, data),
            "temporal PC, settled": track(true, clamps, solver=solver, steps=200).states["h1"],
            f"temporal PC, {self.few} steps": track(true, clamps, solver=solver, steps=self.few).states["h1"],
        }
        whole = relax(true, clamps, solver=Gradient(1 / largest, 0.9), steps=500)
        return found | {
            "PC, whole sequence": whole.states["h1"],
            "without observations": eqx.filter_vmap(true.forward)({"x": data["u"]})["h1"],
        }

    def _next(self, network: Network, system: System, data: Mapping[str, Array]) -> float:
        """Return the mean squared error of each next observation, predicted from the tracked state before it."""
        return float(_next_error(network, self._solver(system), self.steps, data["u"], data["x"]))


@eqx.filter_jit
def _next_error(network: Network, solver: Gradient, steps: int, u: Array, x: Array) -> Float[Array, ""]:
    states = track(network, {"x": u, "y": x}, solver=solver, steps=steps).states
    ahead = jax.vmap(network.predictions)(states)["h1"]
    return jnp.mean(jnp.square(jax.vmap(network.predictions)(states | {"h1": ahead})["y"] - x))


def _kalman(system: System, data: Mapping[str, Array]) -> Float[Array, "batch steps n"]:
    noises = (variance * jnp.eye(n) for variance, n in ((system.q, len(system.A)), (system.r, len(system.C))))
    state_noise, noise = noises
    settings = {"A": system.A, "B": system.B, "C": system.C, "state_noise": state_noise, "noise": noise}
    return jax.vmap(lambda x, u: kalman_filter(x, u, **settings)[0])(data["x"], data["u"])


def simulate(system: System, samples: int, length: int, inputs: int, *, key: Array) -> dict[str, Array]:
    """Return {"u": inputs, "z": states, "x": observations} of sequences; inputs are standard normal."""
    key_u, key_w, key_v = jax.random.split(key, 3)
    u = jax.random.normal(key_u, (samples, length, inputs))
    w = system.q**0.5 * jax.random.normal(key_w, (samples, length, len(system.A)))
    v = system.r**0.5 * jax.random.normal(key_v, (samples, length, len(system.C)))

    def step(z: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        given, pushed = now
        z = z @ system.A.T + given @ system.B.T + pushed
        return z, z

    along = (jnp.swapaxes(u, 0, 1), jnp.swapaxes(w, 0, 1))
    z = jnp.swapaxes(jax.lax.scan(step, jnp.zeros((samples, len(system.A))), along)[1], 0, 1)
    return {"u": u, "z": z, "x": z @ system.C.T + v}


def _holding(network: Network, system: System) -> Network:
    """Return the network with the weights of the system, and no biases."""
    hidden, output = (network.term_names.index(name) for name in ("h1", "y"))

    def weights(tree: Any) -> list:
        cell, readout = tree.term_list[hidden].function.cell, tree.term_list[output].function.layer.layer.linear
        return [cell.recurrent, cell.input.weight, cell.input.bias, readout.weight, readout.bias]

    nothing = jnp.zeros(len(system.A)), jnp.zeros(len(system.C))
    return eqx.tree_at(weights, network, [system.A, system.B, nothing[0], system.C, nothing[1]])
