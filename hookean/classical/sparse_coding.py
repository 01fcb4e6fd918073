"""Sparse coding: features that explain a sample by few active units, which the locally competitive algorithm finds."""

from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.checks import at_least, positive
from ..core.initialise import Zero
from ..core.lateral import Sparsity
from ..core.network import Network
from ..core.term import Coupling, Prediction
from ..inference.lca import LCA
from ..inference.relax import relax
from .rule import AbstractRule


@final
class SparseCoding(AbstractRule):
    r"""Features $\Phi$ with rows of length one: $E = \tfrac12\lVert s - \Phi^\top a\rVert^2 + \lambda\lVert a\rVert_1$.

    A sample is settled by `LCA`; then $\Delta\Phi = \eta\,a\,(s - \Phi^\top a)^\top$, the energy's own gradient, and
    every feature is scaled back to length one: the energy alone would make them longer, for smaller and cheaper codes.

    Arguments:
        units: number of features (default 64).
        weight: $\lambda$ (default 0.5, for images of variance one a pixel or so).
        positive: codes at or above zero (default true).
        rate: $\eta$ (default 0.05).
        solver: how codes settle; its rate must stay below 2 over the largest eigenvalue of $\Phi\Phi^\top$.
        steps: of the solver a sample (default 100).

    Cost: one gradient of the energy a step and sample.

    Source: Olshausen & Field, Nature 381 (1996); Rozell et al., Neural Computation 20 (2008).
    """

    units: int = 64
    weight: float = 0.5
    positive: bool = True
    rate: float = 0.05
    solver: LCA = LCA(0.05)
    steps: int = 100

    def __check_init__(self) -> None:
        at_least("units", self.units, 1)
        at_least("steps", self.steps, 1)
        positive("weight", self.weight)
        positive("rate", self.rate)

    def init(self, inputs: int, *, key: PRNGKeyArray) -> Float[Array, "units inputs"]:
        return _scaled(jax.random.normal(key, (self.units, inputs)))

    def respond(self, learned: Float[Array, "units inputs"], sample: Float[Array, "inputs"]) -> Float[Array, "units"]:
        return self._codes(learned, sample[None])[0]

    def learn(
        self,
        learned: Float[Array, "units inputs"],
        batch: Float[Array, "batch inputs"],
        *,
        factor: float | Array = 1.0,
    ) -> Float[Array, "units inputs"]:
        codes = self._codes(learned, batch)
        change = codes.T @ (batch - codes @ learned) / len(batch)
        return _scaled(learned + factor * self.rate * change)

    def filters(self, learned: Float[Array, "units inputs"]) -> Float[Array, "units inputs"]:
        return learned

    def _codes(
        self, learned: Float[Array, "units inputs"], batch: Float[Array, "batch inputs"]
    ) -> Float[Array, "batch units"]:
        terms = {
            "x": Prediction("x", "a", lambda code: code @ learned),
            "prior": Coupling("a", Sparsity(self.weight, self.positive)),
        }
        network = Network({"a": learned.shape[0], "x": learned.shape[1]}, terms, output="x")
        settled = relax(network, {"x": batch}, solver=self.solver, steps=self.steps, initial=Zero(), unroll=False)
        return settled.states["a"]


def _scaled(features: Float[Array, "units inputs"]) -> Float[Array, "units inputs"]:
    return features / jnp.linalg.norm(features, axis=1, keepdims=True)
