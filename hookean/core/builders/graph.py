"""A graph of units with any couplings: image, hidden groups and label may all predict each other."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..activation import Activation
from ..checks import positive
from ..checks import widths as check_widths
from ..density import AbstractDensity, Gaussian
from ..edges import DenseEdges, Gathered, SparseEdges
from ..layers import identity
from ..network import Network
from ..term import Prediction
from ..topology import AbstractTopology, Full


def graph(
    inputs: int | Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (1206,),
    topology: AbstractTopology = Full(),
    labels: bool = True,
    activation: Activation = jnp.tanh,
    after: bool = False,
    sparse: bool = False,
    gain: float = 1.0,
    image: AbstractDensity = Gaussian(),
    output: AbstractDensity = Gaussian(),
    key: PRNGKeyArray,
) -> Network:
    r"""Graph of units: every unit is predicted from the units that it is coupled with, whatever cycles that makes.

    $\hat x_i = b_i + \sum_j M_{ij} W_{ij}\,\phi(x_j)$ over all units, $E = \tfrac12\lVert x - \hat x\rVert^2$. Some
    units are the image (node `x`), some the label (node `y`), the others are hidden (`h`, or `h1`, `h2`, ... where
    there are several groups). A node is predicted from all nodes that one of its units reads; pairs of nodes without
    couplings cost nothing. Clamp other nodes and the same weights classify, generate or complete.

    Arguments:
        inputs: shape of the image.
        outputs: number of label units.
        hidden: units of each hidden group (default: 1206, which makes 2000 with an MNIST image and ten labels).
        topology: which unit reads which (default: every unit every other one).
        labels: keep the couplings of label units with each other (default true). Nine units of a one-hot label tell the
            tenth, which then learns little from the image.
        activation: $\phi$ (default: tanh, which keeps the drive of a large recurrent graph bounded).
        after: apply $\phi$ to the sums of hidden units instead of to the states that are read, as `mlp` does.
        sparse: hold the edges alone instead of a masked matrix; the numbers are the same.
        gain: size of the first weights.
        image: density of the image node (default: squared error). A precision below 1 keeps its many units from
            outweighing the few of the label.
        output: density of the label node (default: squared error).
        key: for the topology and the weights, uniform in $\pm$ gain over the root of the number of units read.

    Source: Salvatori et al., Learning on arbitrary graph topologies via predictive coding, NeurIPS (2022).
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    check_widths("hidden", hidden)
    positive("gain", gain)
    names = ["x", *(["h"] if len(hidden) == 1 else [f"h{i + 1}" for i in range(len(hidden))]), "y"]
    sizes = [math.prod(shape), *hidden, outputs]
    key_topology, key_weights = jax.random.split(key)
    mask = np.array(topology.mask(sizes, key=key_topology))
    if not labels:
        mask[-outputs:, -outputs:] = False
    weights, bias = _weights(mask, gain, key_weights)
    ends = list(itertools.accumulate(sizes, initial=0))
    units = {name: slice(*pair) for name, pair in zip(names, itertools.pairwise(ends), strict=True)}
    shapes = {name: (size,) for name, size in zip(names, sizes, strict=True)} | {"x": shape}
    densities = {"x": image, "y": output}
    kind = SparseEdges if sparse else DenseEdges
    terms = []
    for target, rows in units.items():
        sources = [name for name, columns in units.items() if mask[rows, columns].any()]
        if sources:
            blocks = tuple(kind(weights[rows, units[s]], mask[rows, units[s]]) for s in sources)
            phi = activation if after and target not in ("x", "y") else identity
            function = Gathered(blocks, bias[rows], identity if after else activation, phi, shapes[target])
            terms.append(Prediction(target, sources, function, densities.get(target)))
    return Network(shapes, terms, input="x", output="y")


def _weights(
    mask: np.ndarray, gain: float, key: PRNGKeyArray
) -> tuple[Float[np.ndarray, "units units"], Float[Array, "units"]]:
    """Return weights and biases, uniform in plus or minus gain over the root of the fan-in of each unit."""
    limit = gain / np.sqrt(np.maximum(mask.sum(axis=1), 1))
    key_weights, key_bias = jax.random.split(key)
    weights = limit[:, None] * np.asarray(jax.random.uniform(key_weights, mask.shape, minval=-1, maxval=1))
    bias = jnp.asarray(limit) * jax.random.uniform(key_bias, limit.shape, minval=-1, maxval=1)
    return weights.astype(bias.dtype), bias
