"""FabricPC's training step, from its own `make_train_step`, on the weights and the batch of the protocol.

    python fabricpc_worker.py --spec spec.json
    python fabricpc_worker.py mlp512

The step is jitted once more with its buffers donated and the final state dropped, as FabricPC's own `train` has it. It
relaxes by gradient descent without momentum, and pools in nodes of their own, so that convolutions are left out.
"""

import itertools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from fabricpc.core.activations import GeluActivation, IdentityActivation
from fabricpc.core.inference import InferenceSGD, run_inference
from fabricpc.core.topology import Edge
from fabricpc.core.types import GraphParams, GraphStructure, NodeParams
from fabricpc.graph_assembly import TaskMap, graph
from fabricpc.graph_initialization import initialize_params
from fabricpc.graph_initialization.state_initializer import initialize_graph_state
from fabricpc.nodes import Linear
from fabricpc.training.trainer import build_clamps, make_train_step, pc_weight_gradients
from protocol import (
    CASES,
    STATE_RATE,
    WEIGHT_DECAY,
    WEIGHT_RATE,
    Case,
    read_spec,
    serve,
    versions,
)


def structure(case: Case) -> GraphStructure:
    """Return the chain of a case; activations are those of the predictions."""
    nodes = [Linear(shape=case.inputs, name="x")]
    widths = (*case.hidden, case.outputs)
    for i, width in enumerate(widths):
        last = i + 1 == len(widths)
        activation = IdentityActivation() if last else GeluActivation()
        nodes.append(Linear(shape=(width,), name=f"layer{i}", activation=activation))
    edges = [Edge(source=a, target=b.slot("in")) for a, b in itertools.pairwise(nodes)]
    task = TaskMap(x=nodes[0], y=nodes[-1])
    return graph(nodes, edges, task, InferenceSGD(eta_infer=STATE_RATE, infer_steps=case.steps))


def parameters(case: Case, net: GraphStructure, given: dict[str, np.ndarray]) -> GraphParams:
    """Return the parameters with the given weights, which have shape (inputs, outputs) here."""
    nodes = dict(initialize_params(net, jax.random.key(0)).nodes)
    for i in range(len(case.hidden) + 1):
        ((edge, _),) = nodes[f"layer{i}"].weights.items()
        weight, bias = given[f"{i}.weight"].T, given[f"{i}.bias"][None]
        nodes[f"layer{i}"] = NodeParams({edge: jnp.asarray(weight)}, {"b": jnp.asarray(bias)})
    return GraphParams(nodes)


def by_name(case: Case, gradient: GraphParams) -> dict[str, np.ndarray]:
    """Return a tree of parameters in the layout and under the names of the protocol."""
    found = {}
    for i in range(len(case.hidden) + 1):
        node = gradient.nodes[f"layer{i}"]
        ((_, weight),) = node.weights.items()
        found |= {f"{i}.weight": np.asarray(weight).T, f"{i}.bias": np.asarray(node.biases["b"])[0]}
    return found


def main() -> None:
    spec = read_spec(sys.argv[1:])
    case = CASES[spec.case]
    if spec.rule != "PC" or case.convolutional:
        raise SystemExit(f"FabricPC's worker knows the rule PC on dense networks, not {spec.rule} on {spec.case}.")
    if spec.precise:
        jax.config.update("jax_enable_x64", True)
    given = spec.load()
    net = structure(case)
    optimiser = optax.adamw(WEIGHT_RATE, weight_decay=WEIGHT_DECAY)
    batch = {"x": jnp.asarray(given["x"]), "y": jnp.asarray(given["y"])}
    key = jax.random.key(0)
    first = parameters(case, net, given)

    @jax.jit
    def signal(params):
        clamps = build_clamps(batch, net, clamp_target=True)
        state = initialize_graph_state(net, case.batch, key, clamps=clamps, params=params)
        return pc_weight_gradients(params, run_inference(params, state, clamps, net), net, clamps)

    def gradient():
        if not spec.precise:
            raise SystemExit("the gradient is computed only where the spec says precise.")
        return by_name(case, signal(first))

    inner = make_train_step(net, optimiser, algorithm="pc")
    train = jax.jit(lambda params, memory, batch: inner(params, memory, batch, key)[:2], donate_argnums=(0, 1))
    facts = {"library": "fabricpc", **versions("fabricpc", "jax", "jaxlib", "optax", "numpy")}
    began = time.perf_counter()
    state = (first, optimiser.init(first))
    if not spec.precise:  # the gradient is wanted at the first weights, so that no step may be taken before
        state = jax.block_until_ready(train(*state, batch))
        facts["compile_seconds"] = time.perf_counter() - began

    def step():
        nonlocal state
        state = train(*state, batch)
        return state

    serve(step, gradient, facts, jax.block_until_ready)


if __name__ == "__main__":
    main()
