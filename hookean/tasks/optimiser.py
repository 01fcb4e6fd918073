"""The weight rule of a run and its rate schedule, built from plain values."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import pydantic
from jaxtyping import Array


class Optimiser(pydantic.BaseModel, frozen=True, extra="forbid"):
    r"""AdamW, Adam, Muon or SGD with a rate schedule over all weight updates of the run.

    Attributes:
        name: the rule (default adamw, as in the benchmark). Muon moves each matrix by the nearest orthogonal matrix to
            its gradient with momentum, so that all directions learn equally fast, at a cost of some products of the
            matrix with itself; what is no matrix follows Adam at a hundredth of the rate. Its rates are about a hundred
            times those of Adam.
        rate: $\alpha$, at the start of the schedule (default 3e-4, the upper end of the benchmark's).
        weight_decay: decoupled decay on all parameters, biases included (AdamW only; default 0).
        momentum: of SGD (default 0).
        schedule: `warmup_cosine`: from the rate linearly to 1.1 times the rate over the first tenth, then a cosine to a
            tenth of the rate (the benchmark's); `from_zero`: from zero to the rate over the first tenth, then the same
            cosine; `constant`.
        clip: norm above which the gradient of all weights together is scaled down to it; None never does.
        weight_norm: after every update divide each matrix of weights by the size that a random one of its spread would
            have, see `weight_norm` (default false). It serves every algorithm, backpropagation as well.
    """

    name: Literal["adamw", "adam", "muon", "sgd"] = "adamw"
    rate: float = pydantic.Field(default=3e-4, gt=0)
    weight_decay: float = pydantic.Field(default=0.0, ge=0)
    momentum: float = pydantic.Field(default=0.0, ge=0, lt=1)
    schedule: Literal["warmup_cosine", "from_zero", "constant"] = "warmup_cosine"
    clip: float | None = pydantic.Field(default=None, gt=0)
    weight_norm: bool = False

    @pydantic.model_validator(mode="after")
    def _every_option_counts(self) -> "Optimiser":
        if self.weight_decay and self.name != "adamw":
            raise ValueError(f"weight_decay belongs to adamw, but the rule is {self.name}")
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum belongs to sgd, but the rule is {self.name}")
        return self

    def build(self, updates: int) -> optax.GradientTransformation:
        """Return the Optax rule for a run of `updates` weight updates."""
        schedules = {"warmup_cosine": warmup_cosine, "from_zero": from_zero}
        schedule = (
            optax.constant_schedule(1.0) if self.schedule == "constant" else schedules[self.schedule](1.0, updates)
        )
        rules = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        if self.name == "sgd":
            rules += [optax.trace(self.momentum)] if self.momentum else []
        elif self.name == "muon":  # rates with a minus: what follows the gradient here is turned by the rate below
            rules += [optax.contrib.muon(-1.0, adam_learning_rate=-0.01)]
        else:
            rules += [optax.scale_by_adam()]
        rules += [optax.add_decayed_weights(self.weight_decay)] if self.weight_decay else []
        rules += [at_rate(self.rate, schedule)] + ([weight_norm()] if self.weight_norm else [])
        return optax.chain(*rules)


def at_rate(rate: float, schedule: optax.Schedule) -> optax.GradientTransformation:
    r"""Return the last factor of a rule, $-\alpha\,c(t)$, with the schedule c in units of the rate.

    The rate $\alpha$ stands in the memory and not in the program: runs that differ in it alone compile once.
    """

    def update(updates: Any, state: tuple[Array, Array], params: Any = None) -> tuple[Any, Any]:
        del params
        rate, count = state
        factor = -rate * schedule(count)
        return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, updates), (rate, count + 1)

    return optax.GradientTransformation(lambda params: (jnp.asarray(rate, float), jnp.zeros((), jnp.int32)), update)


def weight_norm() -> optax.GradientTransformation:
    r"""Return the projection $W \leftarrow W / ((\sqrt m + \sqrt n)\,\mathrm{std}(W))$ after the update of the weights.

    m is the number of outputs, n of inputs (of a convolution: channels times the size of the kernel). A Gaussian matrix
    then has a spectral norm near 1, which bounds what signals grow by over depth. Biases are left alone.

    Source: Ha et al. (2026), for fixed prediction.
    """

    def projected(weight: Array, update: Array) -> Array:
        if weight.ndim < 2:
            return update
        outputs = weight.shape[0] if weight.ndim == 2 else weight.shape[-1]  # kernels have their channels last
        new = weight + update
        size = outputs**0.5 + (weight.size / outputs) ** 0.5
        return new / (size * jnp.std(new)) - weight

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(projected, params, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def warmup_cosine(rate: float, updates: int) -> optax.Schedule:
    r"""Return the benchmark's schedule: $\alpha \to 1.1\,\alpha$ linearly over a tenth, then a cosine to $0.1\,\alpha$.

    Source: Pinchetti et al. (2025), training protocol.
    """
    return _warmed(rate, 1.1 * rate, 0.1 * rate, updates)


def from_zero(rate: float, updates: int) -> optax.Schedule:
    r"""Return the schedule $0 \to \alpha$ linearly over a tenth, then a cosine to $0.1\,\alpha$."""
    return _warmed(0.0, rate, 0.1 * rate, updates)


def _warmed(first: float, peak: float, last: float, updates: int) -> optax.Schedule:
    updates = max(updates, 1)
    warm, decay = max(1, updates // 10), max(2, updates)
    return optax.warmup_cosine_decay_schedule(first, peak, warm, decay, last)
