r"""Backpropagation on the same network: the gradient of the energy of the forward states, through the forward pass."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..core import graph
from ..core.clamp import Clamps
from ..core.initialise import Forward
from ..core.network import Network
from ..core.normalise import measured
from ..core.parameters import split
from ..core.recurrent import truncated
from .batch import mean_gradient


def backprop(network: Network, clamps: Clamps) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    r"""Return $\frac1B\sum_b \frac{d}{dW} E_b(x(W))$, where $x(W)$ are the states of a forward pass.

    Every free node sits at its prediction. Where its density is Gaussian its term holds no energy there, so that the
    loss is the sum of the terms with a clamped target (half the squared error, or the cross entropy, at the output). A
    free Bernoulli or categorical node holds the entropy of its prediction, which is part of the loss.

    Arguments:
        clamps: node -> values with a leading batch axis.

    Returns:
        (a tree shaped like the network, name of term -> mean energy in nats).

    Raises:
        ValueError: if the graph has a cycle.
    """

    return mean_gradient(_energies, network, dict(clamps))


def backprop_errors(network: Network, clamps: Clamps, errors: Mapping[str, Array]) -> PyTree:
    r"""Return $\frac1B\sum_b \frac{d}{dW} \langle \varepsilon_b, f(h_b(W))\rangle$: given errors of outputs, sent back.

    h are the states of a forward pass, the errors constants. Where $\varepsilon$ is the slope of the energy in the
    predictions of clamped nodes at h, this is the gradient of backpropagation.

    Arguments:
        clamps: node -> values with a leading batch axis.
        errors: name of term -> $\varepsilon$, shaped like its prediction, with a leading batch axis.

    Returns:
        A tree shaped like the network.

    Raises:
        ValueError: if the graph has a cycle.

    Cost: one forward and one backward pass.
    """

    def products(model: Network, sample: tuple[Clamps, Mapping[str, Array]]) -> dict[str, Float[Array, ""]]:
        held, error = sample
        predicted = model.predictions(model.forward(held), only=list(error))
        return {name: jnp.vdot(error[name], predicted[name]) for name in error}

    return mean_gradient(products, network, (dict(clamps), dict(errors)))[0]


def backprop_through_statistics(network: Network, clamps: Clamps) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    """Return what `backprop` returns, with the gradient through the statistics of batch normalisation as well.

    The statistics are those of this batch, whatever the network holds.

    Arguments:
        clamps: node -> values with a leading batch axis.
    """
    trained, rest = split(network)

    def mean(trained: PyTree) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        model = measured(eqx.combine(trained, rest), clamps)
        energies = jax.vmap(lambda sample: _energies(model, sample))(dict(clamps))
        means = {name: jnp.mean(values) for name, values in energies.items()}
        return sum(means.values(), start=jnp.zeros(())), means

    return jax.grad(mean, has_aux=True)(trained)


def backprop_through_time(
    network: Network, clamps: Clamps, *, window: int | None, sliding: bool
) -> tuple[PyTree, dict[str, Float[Array, ""]]]:
    """Return what `backprop` returns, with gradients that reach back over `window` steps of a sequence at the most.

    Arguments:
        clamps: node -> values with a leading batch axis.
        window: number of steps; None does not truncate, and the gradient is that of `backprop`.
        sliding: every step reaches `window` steps back; otherwise the sequence is cut into windows side by side.

    Cost: one forward and one backward pass; with sliding windows `window` of each, all steps at once.
    """

    def energies(model: Network, sample: Mapping[str, Array]) -> dict[str, Float[Array, ""]]:
        return _energies(truncated(model, window, sliding=sliding), sample)

    return mean_gradient(energies, network, dict(clamps))


def _energies(model: Network, sample: Mapping[str, Array]) -> dict[str, Float[Array, ""]]:
    """Return the energies of the forward states; terms that are at rest there are not evaluated.

    Their gradient is zero, but the compiler cannot know it: on 20 layers their evaluation made a step 1.6 times longer.
    """
    terms = graph.predictions(model.terms)
    resting = {n for n in Forward().resting_terms(model, sample) if not terms[n].density.learns()}
    held = model.energies(model.forward(sample), only=[name for name in model.term_names if name not in resting])
    return {name: held.get(name, jnp.zeros(())) for name in model.term_names}
