"""Residual and VGG networks: sizes by the published counts, shortcuts, normalisation that is frozen, all solvers."""

import math

import equinox as eqx
import examples
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import close, flat, relaxed, signal

from hookean.algorithms import BP, GN, PC, ZIL
from hookean.core import graph
from hookean.core.blocks import PlainBlock, PooledHead, PreActivation
from hookean.core.builders import resnet10, resnet18, vgg9, vgg13, vgg19
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.layers import Dense, identity
from hookean.core.network import Network
from hookean.core.normalise import BatchNorm, averaged, measured
from hookean.core.parameters import count_parameters, split
from hookean.core.term import Prediction
from hookean.inference import GaussNewton, Gradient
from hookean.learning.backprop import backprop_through_statistics

PIXELS = (8, 8, 2)


def small(build=resnet10, **options):
    """Return a narrow network with a smooth activation on a batch of three images."""
    network = build(PIXELS, 3, width=0.05, activation=jnp.tanh, key=jax.random.key(3), **options)
    return examples.Example(network, {"train": {"x": examples.values(40, *PIXELS), "y": examples.one_hot(3)}})


@pytest.mark.parametrize(
    ("build", "options", "expected", "terms"),
    [
        (resnet18, {}, 11_164_362, 26),
        (resnet18, {"delayed": False}, 11_164_362, 18),
        (resnet10, {}, 4_897_482, 14),
        (vgg9, {}, 7_028_746, 9),
        (vgg13, {}, 10_776_458, 13),
        (vgg19, {}, 22_166_602, 18),
        (vgg19, {"shortcuts": "output"}, 22_166_602 + 128 * 16 * 16 * 10 + 10, 18),
        # One 1x1 convolution around each of the five stages.
        (vgg19, {"shortcuts": "blocks"}, 22_166_602 + 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512, 18),
    ],
)
def test_number_of_parameters(build, options, expected, terms):
    network = eqx.filter_eval_shape(lambda: build((32, 32, 3), 10, key=jax.random.key(0), **options))
    leaves = [leaf for leaf in jax.tree.leaves(network) if isinstance(leaf, jax.ShapeDtypeStruct)]
    assert sum(math.prod(leaf.shape) for leaf in leaves) == expected
    assert len(network.term_names) == terms


def test_vgg19_by_hand():
    """Convolutions and biases of the standard list, then 512-4096-10."""
    sizes = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    convolutions = sum(9 * a * b + b for a, b in zip([3, *sizes[:-1]], sizes, strict=True))
    assert convolutions + 512 * 4096 + 4096 + 4096 * 10 + 10 == 22_166_602


def test_a_delayed_shortcut_changes_no_forward_pass():
    states = [small(delayed=delayed) for delayed in (True, False)]
    outputs = [jax.vmap(lambda x, n=e.network: n.forward({"x": x})["y"])(e.train["x"]) for e in states]
    close(outputs[0], outputs[1], atol=1e-14)


def test_delayed_shortcuts_make_all_paths_equally_long():
    assert graph.levels(small().network.terms, "y") is not None
    assert graph.levels(small(delayed=False).network.terms, "y") is None
    example = small()
    close(signal(ZIL(), example).gradient, signal(BP(), example).gradient, atol=1e-12)


@pytest.mark.parametrize("build", [resnet10, vgg9])
def test_stiff_hidden_nodes_learn_by_backpropagation(build):
    if build is vgg9:
        network = vgg9((16, 16, 2), 3, width=0.05, activation=jnp.tanh, precision=1e7, key=jax.random.key(3))
        example = examples.Example(network, {"train": {"x": examples.values(41, 16, 16, 2), "y": examples.one_hot(3)}})
    else:
        example = small(precision=1e7, delayed=False)
    found = signal(GN(GaussNewton(1), steps=1), example)
    close(found.gradient, signal(BP(), example).gradient, atol=2e-6)


def test_gauss_newton_settles_a_residual_network():
    """Where it settles is where gradient descent on the errors settles, which at this precision is well conditioned."""
    example = small(precision=1000.0, delay_precision=1000.0)
    given = {"coordinates": ErrorCoordinates(), "unroll": False}
    end = relaxed(example.network, example.train, solver=GaussNewton(3), steps=4, **given)
    assert float(end.residual.max()) < 1e-6
    slow = relaxed(example.network, example.train, solver=Gradient(0.0007), steps=200, **given)
    assert float(slow.residual.max()) < 1e-6
    close(end.states, slow.states, atol=1e-8)


def test_batch_norm_by_hand():
    layer = eqx.tree_at(lambda n: (n.scale, n.shift), BatchNorm(2), (jnp.array([2.0, 1.0]), jnp.array([0.5, 0.0])))
    drives = jnp.array([[[1.0, 2.0], [3.0, 2.0]], [[5.0, 4.0], [7.0, 8.0]]])  # two samples of two pixels
    held = layer.measured(drives)
    mean, variance = np.array([4.0, 4.0]), np.array([5.0, 6.0])
    np.testing.assert_allclose(held.mean.value, mean)
    np.testing.assert_allclose(held.variance.value, variance)
    expected = np.array([2.0, 1.0]) * (np.asarray(drives) - mean) / np.sqrt(variance + 1e-5) + np.array([0.5, 0.0])
    np.testing.assert_allclose(held(drives), expected, rtol=1e-12)
    np.testing.assert_allclose(held.running_mean.value, 0.1 * mean)
    np.testing.assert_allclose(held.running_variance.value, 0.9 + 0.1 * variance * 4 / 3)
    np.testing.assert_allclose(
        held.averaged()(drives), layer_with(layer, 0.1 * mean, 0.9 + 0.1 * variance * 4 / 3)(drives)
    )


def layer_with(layer, mean, variance):
    return eqx.tree_at(lambda n: (n.mean.value, n.variance.value), layer, (jnp.asarray(mean), jnp.asarray(variance)))


@pytest.fixture(scope="module")
def normalised():
    """A network of three layers: the statistics of one are those of signals that others have normalised."""
    shapes = {"x": PIXELS, "s": (8, 8, 3), "a": (4, 4, 4), "y": 3}
    k = jax.random.split(jax.random.key(4), 3)
    terms = [
        Prediction("s", "x", PlainBlock(2, 3, jnp.tanh, pool=False, norm=True, key=k[0])),
        Prediction("a", "s", PreActivation(3, 4, jnp.tanh, stride=2, norm=True, key=k[1])),
        Prediction("y", "a", PooledHead(Dense(4, 3, identity, key=k[2]), BatchNorm(4), jnp.tanh)),
    ]
    train = {"x": examples.values(42, *PIXELS), "y": examples.one_hot(3)}
    return examples.Example(Network(shapes, terms, input="x", output="y"), {"train": train})


def test_a_residual_network_normalises_every_drive_but_the_stem():
    assert len(norms(small(batch_norm=True).network)) == 9


def norms(network):
    found = jax.tree.leaves(network, is_leaf=lambda n: isinstance(n, BatchNorm))
    return [norm for norm in found if isinstance(norm, BatchNorm)]


def test_every_normalised_drive_has_mean_zero_and_variance_one(normalised):
    """At the forward states of the batch that was measured, for the second and the last layer."""
    network = measured(normalised.network, normalised.train)
    states = jax.vmap(lambda x: network.forward({"x": x}))(normalised.train["x"])
    for norm, node in ((norms(network)[1], "s"), (norms(network)[2], "a")):
        drive = np.asarray(norm(states[node]))
        np.testing.assert_allclose(drive.mean((0, 1, 2)), 0, atol=1e-12)
        spread = states[node].var((0, 1, 2))
        np.testing.assert_allclose(drive.var((0, 1, 2)), spread / (spread + 1e-5), rtol=1e-9)


def test_a_network_without_normalisation_is_the_same_object():
    example = small()
    network = example.network
    assert measured(network, example.train) is network
    assert averaged(network) is network


def test_statistics_are_no_parameters(normalised):
    weights = 9 * 2 * 3 + 9 * 3 * 4 + 4 * 3 + 3
    assert count_parameters(normalised.network) == weights + 2 * (3 + 3 + 4)  # scale and shift of each drive


def test_statistics_stay_while_states_relax_and_weights_learn(normalised):
    network = measured(normalised.network, normalised.train)
    algorithm = PC(Gradient(0.05), steps=2, optimiser=optax.sgd(0.1))
    state, _ = eqx.filter_jit(algorithm.step)(
        algorithm.init(network, key=jax.random.key(0)), normalised.train, key=jax.random.key(1)
    )
    before, after = norms(network), norms(state.network)
    assert any(float(jnp.abs(a.scale - b.scale).max()) > 0 for a, b in zip(before, after, strict=True))
    for a, b in zip(before, after, strict=True):
        for name in ("mean", "variance", "running_mean", "running_variance"):
            np.testing.assert_array_equal(getattr(a, name).value, getattr(b, name).value)


def test_the_usual_gradient_goes_through_the_statistics(normalised):
    """Against finite differences of the loss of the whole batch, along one direction; the frozen gradient differs."""
    network, batch = normalised.network, normalised.train
    trained, rest = split(network)
    leaves, tree = jax.tree.flatten(trained)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    direction = jax.tree.unflatten(
        tree, [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )

    @eqx.filter_jit
    def loss(t):
        moved = eqx.combine(jax.tree.map(lambda leaf, d: leaf + t * d, trained, direction), rest)
        model = measured(moved, batch)
        return jnp.mean(jax.vmap(lambda sample: model.energy(model.forward(sample)))(batch))

    slope = (float(loss(1e-5)) - float(loss(-1e-5))) / 2e-5
    through, _ = eqx.filter_jit(backprop_through_statistics)(network, batch)
    frozen = signal(BP(), examples.Example(measured(network, batch), {"train": batch})).gradient
    assert flat(through) @ flat(direction) == pytest.approx(slope, rel=1e-6)
    assert abs(flat(frozen) @ flat(direction) - slope) > 1e-3 * abs(slope)
    chosen = signal(BP(through_statistics=True), normalised).gradient
    close(chosen, through, atol=1e-12)


def test_gauss_newton_takes_a_normalised_network(normalised):
    held = examples.Example(measured(normalised.network, normalised.train), {"train": normalised.train})
    reference = flat(signal(BP(), held).gradient)
    found = flat(signal(GN(GaussNewton(1), steps=1, saturation=1e-4), held).gradient)
    assert found @ reference / np.linalg.norm(found) / np.linalg.norm(reference) > 0.9999


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (resnet18, {"inputs": (4, 4, 3)}, "at least 8 pixels"),
        (vgg19, {"inputs": (16, 16, 3)}, "at least 32 pixels"),
        (vgg9, {"precision": (1.0, 2.0)}, "precision must be a number or 8 numbers"),
    ],
)
def test_wrong_options_are_refused(build, options, message):
    given = {"inputs": (32, 32, 3)} | options
    with pytest.raises(ValueError, match=message):
        build(given.pop("inputs"), 10, key=jax.random.key(0), **given)


def test_identity_shortcuts_have_no_weights():
    functions = {name: term.function for name, term in small().network.terms.items()}
    assert functions["d1"] is identity
    assert functions["d2"] is not identity
