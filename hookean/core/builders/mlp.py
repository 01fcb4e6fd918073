"""Multilayer perceptron as a chain of nodes."""

import itertools
import math
from collections.abc import Sequence

import jax
from jaxtyping import PRNGKeyArray

from ..activation import Activation
from ..checks import one_each
from ..checks import widths as check_widths
from ..density import AbstractDensity, Gaussian
from ..lateral import AbstractLateral
from ..layers import Dense, identity, keys
from ..network import Network
from ..term import AbstractTerm, Prediction


def mlp(
    inputs: int | Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (128, 128, 128),
    activation: Activation = jax.nn.gelu,
    orthogonal: float | None = None,
    precision: float | tuple[float, ...] = 1.0,
    lateral: AbstractLateral | None = None,
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Multilayer perceptron: x -> h1 -> ... -> y, each node predicted from the one before it.

    $\hat h_l = \phi(W_l h_{l-1} + b_l)$, $\hat y = W_L h_{L-1} + b_L$. The state of a node stands after its activation;
    the output has none (logits where its density is categorical).

    Arguments:
        inputs: shape of a sample; anything but a vector is flattened by the first layer.
        outputs: number of outputs (classes).
        hidden: width of each hidden node (default: the benchmark's, 134,794 parameters for 784 inputs, ten classes).
        activation: $\phi$ (default: GELU, the best choice of the benchmark for most rules).
        orthogonal: start from orthogonal weights with this gain and zero biases (gain $\sqrt2$ keeps the size of
            signals over many GELU or ReLU layers); None keeps the weights below.
        precision: $\gamma$, precision of the hidden nodes: a number, or one for each of them (default 1). The output's
            is that of its density.
        lateral: how the units of each hidden node compete (default: not at all).
        output: density of the output node (default: squared error; `Categorical()` for cross entropy).
        key: for the weights, uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Source: Pinchetti et al. (2025), appendix on discriminative models.
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    check_widths("hidden", hidden)
    widths = [math.prod(shape), *hidden, outputs]
    names = ["x", *(f"h{i + 1}" for i in range(len(hidden))), "y"]
    precisions = one_each("precision", precision, len(hidden))
    layer_keys = keys(key, len(widths) - 1)
    hidden_phi = activation if lateral is None else lateral.activation(activation)
    terms: dict[str, AbstractTerm] = {}
    for i, (source, target) in enumerate(itertools.pairwise(names)):
        last = target == "y"
        phi = identity if last else hidden_phi
        layer = Dense(widths[i], widths[i + 1], phi, key=layer_keys[i])
        if orthogonal is not None:
            layer = layer.orthogonal(orthogonal, key=layer_keys[i])
        terms[target] = Prediction(target, source, layer, output if last else Gaussian(precisions[i]))
    for name in names[1:-1]:
        competition = None if lateral is None else lateral.term(name)
        if competition is not None:
            terms[f"{name} lateral"] = competition
    nodes = {"x": shape} | dict(zip(names[1:], widths[1:], strict=True))
    return Network(nodes, terms, input="x", output="y")
