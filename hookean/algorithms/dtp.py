"""Difference target propagation: every layer learns towards a target that learned feedback brings from above."""

import itertools
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.checks import at_least, positive
from ..core.clamp import Clamps, value
from ..core.layers import Dense
from ..core.network import Network
from ..core.term import Prediction
from ..learning.batch import mean_gradient
from ..learning.feedback import dense_chain, feedback_keys
from ..learning.targets import answers, difference_reconstruction, difference_targets, layer_losses, reconstruction
from .contract import AbstractRememberingAlgorithm, Info, Needs, Signal, TrainState, learn_once, require_fixed_densities

#: node -> layer from the node above to this one.
Feedback = dict[str, Dense]


class DTP(AbstractRememberingAlgorithm):
    r"""Difference target propagation: targets come down through feedback layers that learn to invert the forward ones.

    The output's target is $\hat u = u - \beta\,\partial\ell/\partial u$ (u: logits where it is categorical), the others
    are $\hat h_l = h_l + g_l(\hat h_{l+1}) - g_l(h_{l+1})$. A layer's weights descend
    $\frac{1}{2\beta}\lVert f_l(h_{l-1}) - \hat h_l\rVert^2$ alone, for the output layer backpropagation's gradient.
    Before that, the feedback layers take `feedback_steps` steps on their own loss. They are dense, with the activation
    of the layer whose state they give, and stand in `TrainState.memory` with their optimiser.

    Networks: chains of dense layers, as `mlp` builds them.

    Arguments:
        beta: size of the output's step to its target (default 0.1).
        feedback_loss: "reconstruction" makes g an inverse of f; "difference" makes its Jacobian that of f transposed,
            which gives backpropagation's gradient (default difference).
        noise: standard deviation $\sigma$ of what is added to a state for the feedback loss (default 0.1).
        feedback_rate: rate of Adam for the feedback layers (default 1e-3).
        feedback_steps: steps of the feedback layers a batch (default 1).
        optimiser: the weight rule of the forward layers; it sees the batch mean.

    Cost: one forward pass, one pass down, and for every feedback step one pass up and down, all layers at once.

    Source: Lee, Zhang, Fischer & Bengio (2015); Ernoult et al. (2022) for the loss of differences.
    """

    beta: float = 0.1
    feedback_loss: Literal["reconstruction", "difference"] = "difference"
    noise: float = 0.1
    feedback_rate: float = 1e-3
    feedback_steps: int = 1
    optimiser: optax.GradientTransformation = optax.adam(1e-3)

    label: ClassVar[str] = "DTP"
    reference: ClassVar[str] = "Lee, Zhang, Fischer & Bengio, ECML (2015)"
    cost: ClassVar[str] = "one pass up and down, and one a feedback step"
    needs: ClassVar[Needs] = Needs(backward_pass=True, phases=3)

    def __check_init__(self) -> None:
        positive("beta", self.beta)
        positive("noise", self.noise)
        positive("feedback_rate", self.feedback_rate)
        at_least("feedback_steps", self.feedback_steps, 0)
        if self.feedback_loss not in ("reconstruction", "difference"):
            raise ValueError(f"feedback_loss must be reconstruction or difference, got '{self.feedback_loss}'.")

    def init(self, network: Network, *, key: PRNGKeyArray) -> TrainState:
        state = super().init(network, key=key)
        feedback = self.feedback(network, key=key)
        memory = (feedback, self._feedback_rule().init(eqx.filter(feedback, eqx.is_array)))
        return eqx.tree_at(lambda s: s.memory, state, memory, is_leaf=lambda leaf: leaf is None)

    def check(self, network: Network) -> None:
        dense_chain(network, "DTP")
        require_fixed_densities(network, "DTP")

    def updates_per_batch(self) -> int:
        return 1

    def passes(self, network: Network) -> int:
        del network
        return 2 + 2 * self.feedback_steps

    def feedback(self, network: Network, *, key: PRNGKeyArray) -> Feedback:
        """Return hidden node -> $g_l$ with new weights, drawn from `key`."""
        chain = dense_chain(network, "DTP")
        found = {}
        drawn = feedback_keys(key, len(chain) - 1)
        for (term, above), key_here in zip(itertools.pairwise(chain), drawn, strict=True):
            here, up = term.function, above.function
            assert isinstance(here, Dense)
            assert isinstance(up, Dense)
            m, n = up.linear.weight.shape
            dtype = up.linear.weight.dtype
            layer = Dense(m, n, here.activation, key=key_here)
            found[term.target] = jax.tree.map(lambda a, t=dtype: a.astype(t) if eqx.is_array(a) else a, layer)
        return found

    def remembered_signal(
        self,
        memory: Any,
        network: Network,
        batch: Clamps,
        *,
        epoch: Int[Array, ""] | int,
        key: PRNGKeyArray,
        record: bool = False,
    ) -> Signal:
        del epoch, key, record
        feedback, _ = memory
        chain = dense_chain(network, "DTP")
        names = [term.target for term in chain]

        def energies(model: Network, sample: dict[str, Array]) -> dict[str, Float[Array, ""]]:
            layers = dense_chain(model, "DTP")
            states = answers(layers, sample["x"])
            slope = jax.grad(lambda u: chain[-1].density.energy(sample["y"], u))(states[-1])
            targets = difference_targets(states, states[-1] - self.beta * slope, feedback, names)
            losses = layer_losses(layers, sample["x"], targets)
            return {n: e / self.beta for n, e in zip(names, losses, strict=True)}

        samples = {"x": value(batch[network.input]), "y": value(batch[network.output])}  # type: ignore[index]
        gradient, found = mean_gradient(energies, network, samples)
        by_target = {term.target: name for name, term in network.terms.items() if isinstance(term, Prediction)}
        return Signal(gradient, {by_target[n]: e for n, e in found.items()}, None)

    def remember(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> Any:
        memory = state.memory
        for index in range(self.feedback_steps):
            memory = self.improved(memory, state.network, batch, key=jax.random.fold_in(key, index))
        return memory

    def step(self, state: TrainState, batch: Clamps, *, key: PRNGKeyArray) -> tuple[TrainState, Info]:
        return learn_once(self, state, batch, key=key)

    def improved(self, memory: Any, network: Network, batch: Clamps, *, key: PRNGKeyArray) -> Any:
        """Return the memory after one step of every feedback layer on its own loss; the forward weights stay."""
        feedback, rule = memory
        chain = dense_chain(network, "DTP")
        inputs = value(batch[network.input])  # type: ignore[index]
        keys = jax.random.split(key, len(inputs))

        def loss(layers: Feedback) -> Float[Array, ""]:
            return jnp.mean(jax.vmap(lambda sample, k: self._feedback_loss(chain, layers, sample, k))(inputs, keys))

        gradient = eqx.filter_grad(loss)(feedback)
        updates, rule = self._feedback_rule().update(gradient, rule)
        return eqx.apply_updates(feedback, updates), rule

    def _feedback_loss(
        self, chain: list[Prediction], feedback: Feedback, sample: Float[Array, "*input"], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Return the sum of the feedback layers' losses for one sample."""
        total = jnp.zeros(())
        states = jax.lax.stop_gradient(answers(chain, sample))
        for index, (term, above) in enumerate(itertools.pairwise(chain)):
            key_here, key_above = jax.random.split(jax.random.fold_in(key, index))
            state, layer = states[index], feedback[term.target]
            noise = self.noise * jax.random.normal(key_here, state.shape, state.dtype)
            if self.feedback_loss == "reconstruction":
                total += reconstruction(above, layer, state, noise)
            else:
                beyond = states[index + 1]
                extra = self.noise * jax.random.normal(key_above, beyond.shape, beyond.dtype)
                total += difference_reconstruction(above, layer, state, noise, extra)
        return total

    def _feedback_rule(self) -> optax.GradientTransformation:
        return optax.adam(self.feedback_rate)
