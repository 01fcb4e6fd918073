"""PCX's training step as its authors write it: everything in one jitted function, T written out.

    python pcx_worker.py --spec spec.json
    python pcx_worker.py mlp512

It departs from the authors' scripts in one line, to PCX's advantage: the states are cleared at the end of a step. Kept,
they change the structure of the model after the first step and everything is compiled a second time.
"""

import itertools
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pcx.functional as pxf
import pcx.nn as pxnn
import pcx.predictive_coding as pxc
import pcx.utils as pxu
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


class Model(pxc.EnergyModule):
    """A chain of layers, each with activation and pooling and then one value node."""

    def __init__(self, case: Case):
        super().__init__()
        sizes = (case.inputs[0], *case.hidden)
        if case.convolutional:
            layers = [pxnn.Conv2d(i, o, 3, padding=1) for i, o in itertools.pairwise(sizes)]
            side = case.inputs[-1] // 2 ** len(case.hidden)
            layers.append(pxnn.Linear(sizes[-1] * side**2, case.outputs))
        else:
            widths = (*sizes, case.outputs)
            layers = [pxnn.Linear(i, o) for i, o in itertools.pairwise(widths)]
        self.layers = layers
        self.pool = pxnn.MaxPool2d(2, 2)
        self.vodes = [pxc.Vode() for _ in layers]
        self.vodes[-1].h.frozen = True

    def __call__(self, x, y):
        for layer, vode in zip(self.layers[:-1], self.vodes[:-1], strict=True):
            x = jax.nn.gelu(layer(x))
            if x.ndim == 3:
                x = self.pool(x)
            x = vode(x)
        x = self.vodes[-1](self.layers[-1](x.flatten()))
        if y is not None:
            self.vodes[-1].set("h", y)
        return self.vodes[-1].get("u")


STATES = pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0))


@pxf.vmap(STATES, in_axes=(0, 0), out_axes=0)
def forward(x, y, *, model):
    return model(x, y)


@pxf.vmap(STATES, in_axes=(0,), out_axes=(None, 0), axis_name="batch")
def energy(x, *, model):
    y = model(x, None)
    return jax.lax.pmean(model.energy().sum(), "batch"), y


def relax(steps, x, y, model, optim_h):
    with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
        forward(x, y, model=model)
    optim_h.init(pxu.M_hasnot(pxc.VodeParam, frozen=True)(model))
    free = pxu.M_hasnot(pxc.VodeParam, frozen=True).to((False, True))
    for _ in range(steps):
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            _, g = pxf.value_and_grad(free, has_aux=True)(energy)(x, model=model)
        optim_h.step(model, g["model"], scale_by=x.shape[0])
    with pxu.step(model, clear_params=pxc.VodeParam.Cache):
        _, g = pxf.value_and_grad(pxu.M(pxnn.LayerParam).to((False, True)), has_aux=True)(energy)(x, model=model)
    return g["model"]


@pxf.jit(static_argnums=0)
def train_on_batch(steps, x, y, *, model, optim_w, optim_h):
    gradient = relax(steps, x, y, model, optim_h)
    optim_w.step(model, gradient)
    optim_h.clear()
    model.clear_params(pxc.VodeParam)


@pxf.jit(static_argnums=0)
def gradient_on_batch(steps, x, y, *, model, optim_h):
    gradient = relax(steps, x, y, model, optim_h)
    optim_h.clear()
    model.clear_params(pxc.VodeParam)
    return [(layer.nn.weight.get(), layer.nn.bias.get()) for layer in gradient.layers]


def main() -> None:
    spec = read_spec(sys.argv[1:])
    if spec.rule != "PC":
        raise SystemExit(f"PCX's worker knows the rule PC, not {spec.rule}.")
    case = CASES[spec.case]
    if spec.precise:
        jax.config.update("jax_enable_x64", True)
    given = spec.load()
    model = Model(case)
    for index, layer in enumerate(model.layers):
        layer.nn.weight.set(jnp.asarray(given[f"{index}.weight"]))
        layer.nn.bias.set(jnp.asarray(given[f"{index}.bias"]).reshape(layer.nn.bias.get().shape))
    x, y = jnp.asarray(given["x"]), jnp.asarray(given["y"])
    optim_h = pxu.Optim(lambda: optax.sgd(STATE_RATE))
    optim_w = pxu.Optim(lambda: optax.adamw(WEIGHT_RATE, weight_decay=WEIGHT_DECAY), pxu.M(pxnn.LayerParam)(model))
    # Taken before the first step changes the weights, and only where asked for: it is compiled on its own.
    first = gradient_on_batch(case.steps, x, y, model=model, optim_h=optim_h) if spec.precise else None

    def gradient():
        if first is None:
            raise SystemExit("the gradient is kept only where the spec says precise.")
        return {
            f"{i}.{part}": np.asarray(value).reshape(given[f"{i}.{part}"].shape)
            for i, pair in enumerate(first)
            for part, value in zip(("weight", "bias"), pair, strict=True)
        }

    def step():
        train_on_batch(case.steps, x, y, model=model, optim_w=optim_w, optim_h=optim_h)
        return [(layer.nn.weight.get(), layer.nn.bias.get()) for layer in model.layers]

    facts = {"library": "pcx", **versions("pcx", "jax", "jaxlib", "equinox", "optax", "numpy")}
    if not spec.precise:
        began = time.perf_counter()
        jax.block_until_ready(step())
        facts["compile_seconds"] = time.perf_counter() - began
        jax.block_until_ready(step())
    serve(step, gradient, facts, jax.block_until_ready)


if __name__ == "__main__":
    main()
