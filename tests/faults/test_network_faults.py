"""Static mistakes in a network raise before anything compiles, and the message names the remedy."""

import re

import examples
import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from hookean.algorithms import BP, CN, EP, EPC, IPC, NN, PC, PN, ZIL, SweptBP
from hookean.algorithms.nudging import Nudge
from hookean.core.builders import decoder, elman, vgg5
from hookean.core.clamp import Masked
from hookean.core.coordinates import ErrorCoordinates
from hookean.core.density import Gaussian
from hookean.core.initialise import Given, Normal, Sweeps
from hookean.core.layers import Dense, identity
from hookean.core.network import Network
from hookean.core.precision import DiagonalPrecision, FullPrecision, ScalarPrecision, ScaledPrecision
from hookean.core.term import AbstractTerm, Coupling, Prediction
from hookean.core.topology import SmallWorld
from hookean.inference import Flow, Gradient, Langevin
from hookean.inference.relax import relax
from hookean.inference.schedule import Constant
from hookean.inference.tracking import step_network, track
from hookean.registry import UnknownName, find


def raises(message, kind=ValueError):
    return pytest.raises(kind, match=re.escape(message))


@pytest.fixture
def layer(key):
    return Dense(2, 3, identity, key=key)


def test_unknown_node_in_a_term_names_the_nearest(layer):
    with raises("term 'y' names the node 'hidden', which is unknown. Did you mean 'hidden1'? Known: hidden1, y."):
        Network({"hidden1": 2, "y": 3}, [Prediction("y", "hidden", layer)])
    with raises("term 'penalty' names the node 'Y', which is unknown. Did you mean 'y'?"):
        Network({"y": 3}, {"penalty": Coupling("Y", jnp.sum)})


def test_unknown_input_and_output_name_the_nearest(layer):
    terms = [Prediction("label", "image", layer)]
    with raises("input must be a node, got 'imagee'. Did you mean 'image'?"):
        Network({"image": 2, "label": 3}, terms, input="imagee")
    with raises("output must be a node, got 'zzz'. Known: image, label."):
        Network({"image": 2, "label": 3}, terms, output="zzz")


def test_prediction_of_another_shape(layer):
    with raises("term 'y' predicts an array of shape (3,), but its target 'y' has shape (4,)."):
        Network({"x": 2, "y": 4}, [Prediction("y", "x", layer)])


def test_coupling_that_is_no_scalar():
    class Wide(AbstractTerm):
        nodes: tuple[str, ...] = ("x",)

        def __call__(self, states):
            return states["x"] ** 2

    with raises("term 'c' must return a scalar energy, got shape (2,)."):
        Network({"x": 2}, {"c": Wide()})


def test_two_terms_on_one_target_need_names(layer):
    terms = [Prediction("y", "x", layer), Prediction("y", "x", layer)]
    with raises("two terms predict 'y': give the terms as a mapping name -> term so that each has a name."):
        Network({"x": 2, "y": 3}, terms)
    named = Network({"x": 2, "y": 3}, {"one": terms[0], "two": terms[1]})
    assert named.term_names == ("one", "two")


def test_sequence_of_terms_that_are_no_predictions(layer, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checked annotations would come first
    with raises(
        "a sequence of terms holds predictions, each named after its target, got a Coupling: "
        "give the terms as a mapping name -> term."
    ):
        Network({"x": 2, "y": 3}, [Prediction("y", "x", layer), Coupling("y", jnp.sum)])


def test_forward_on_a_cycle():
    network = examples.build("cycle").network
    with raises(
        "a forward pass needs a topological order, but these nodes lie on or behind a cycle: a, b, c, y. Clamp"
    ):
        network.forward({"x": jnp.zeros(3)})
    assert set(network.forward({"x": jnp.zeros(3), "c": jnp.zeros(2)})) == {"x", "a", "b", "c", "y"}


def test_error_coordinates_on_a_cycle():
    cycle = examples.build("cycle")
    with raises("error coordinates need a topological order, but these nodes lie on or behind a cycle: a, b, c"):
        relax(
            cycle.network,
            cycle.train,
            solver=Gradient(),
            steps=1,
            initial=cycle.initial,
            coordinates=ErrorCoordinates(),
        )


def test_error_coordinates_with_a_partly_held_prediction(mlp):
    clamps = {"x": mlp.train["x"], "y": examples.masked(mlp.train["y"], 9)}
    with raises("error coordinates cannot hold a part of a predicted node: y. Use StateCoordinates()."):
        relax(mlp.network, clamps, solver=Gradient(), steps=1, coordinates=ErrorCoordinates())


def test_backpropagation_on_a_cycle(key):
    with raises("BP needs a network without cycles, but a, b, c, y lie on or behind one. Use PC."):
        BP().init(examples.build("cycle").network, key=key)


@pytest.mark.parametrize("algorithm", [PN, NN, CN, ZIL])
def test_algorithms_that_need_an_output(algorithm, key):
    with raises("the network must name its output node: Network(..., output='name')."):
        algorithm().init(examples.build("cycle").network, key=key)


@pytest.mark.parametrize("algorithm", [EP, SweptBP])
def test_algorithms_that_need_an_input_refuse_a_decoder(algorithm, key):
    with pytest.raises(ValueError, match=rf"^{algorithm.__name__} needs a network .* predicts:? z\."):
        algorithm().init(decoder(2, 4, hidden=(3,), key=key), key=key)


def test_clamps_on_unknown_nodes_and_of_wrong_shapes(mlp):
    def run(**clamps):
        return relax(mlp.network, clamps, solver=Gradient(), steps=1)

    with raises("clamps name the node 'h9', which is unknown. Did you mean 'h"):
        run(x=mlp.train["x"], h9=mlp.train["y"])
    with raises("the clamp on 'y' must have shape (batch, 3), got (3, 4)."):
        run(x=mlp.train["x"], y=jnp.zeros((3, 4)))
    with raises("the clamp on 'x' must have shape (batch, 7), got (7,)."):
        run(x=mlp.train["x"][0])
    with raises("clamps must share one batch size, got {'x': 3, 'y': 2}."):
        run(x=mlp.train["x"], y=mlp.train["y"][:2])
    with raises("clamps must share one batch size, got no clamp."):
        run()


def test_mask_of_another_batch_size(mlp, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checked annotations would come first
    clamp = Masked(mlp.train["x"], jnp.ones((1, 7), bool))
    with raises("clamps must share one batch size, got {'x': 3, 'mask of x': 1}."):
        relax(mlp.network, {"x": clamp}, solver=Gradient(), steps=1)


def test_tracking_checks_what_relaxing_checks(keys):
    network = elman((3, 2), 4, hidden=(5,), key=keys(0))
    x, y = jnp.zeros((2, 3, 2)), jnp.zeros((2, 4))

    def run(solver=Gradient(), model=network, **clamps):
        return track(model, clamps, solver=solver, steps=1)

    with raises("clamps name the node 'yy', which is unknown. Did you mean 'y'?"):
        run(x=x, yy=y)
    with raises("the clamp on 'x' must have shape (batch, 3, 2), got (2, 4, 2)."):
        run(x=jnp.zeros((2, 4, 2)), y=y)
    with raises("clamps must share one batch size, got {'x': 2, 'y': 1}."):
        run(x=x, y=y[:1])
    with raises("key must be given: the solver or the initialiser draws random numbers."):
        run(Langevin(), x=x, y=y)


def test_tracking_refuses_terms_that_read_a_sequence_as_a_whole(keys):
    network = elman((3, 2), 4, hidden=(5,), key=keys(0))
    terms = network.terms | {"decay": Coupling("h1", lambda h: 0.1 * jnp.sum(h**2))}
    model = Network(network.shapes, terms)
    with raises("term 'decay' reads the sequence 'h1' as a whole, which has no steps to be relaxed one by one"):
        track(model, {"x": jnp.zeros((2, 3, 2)), "y": jnp.zeros((2, 4))}, solver=Gradient(), steps=1)
    at_the_end = Network(network.shapes, network.terms | {"end": Coupling("y", lambda y: 0.1 * jnp.sum(y**2))})
    assert "end" in step_network(at_the_end, last=True).terms
    assert "end" not in step_network(at_the_end, last=False).terms


def test_unknown_names_in_options(mlp):
    def run(solver=Gradient(), **options):
        return relax(mlp.network, mlp.train, solver=solver, steps=1, **options)

    with raises("Given names 'H1', which is unknown. Did you mean 'h1'? Known: h1, h2, h3, x, y."):
        run(initial=Given({"H1": jnp.zeros((3, 6))}))
    with raises("unseen names 'yy', which is unknown. Did you mean 'y'?"):
        run(initial=Sweeps(1, unseen=("yy",)))
    with raises("tau names 'h11', which is unknown. Did you mean 'h1'?"):
        run(Flow(tau={"h11": 2.0}))
    with raises("by_term names 'h22', which is unknown. Did you mean 'h2'?"):
        run(schedule=Constant({"h22": 2.0}))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_bad_time_constant(value):
    with raises(f"tau of 'h1' must be a positive number, got {value}."):
        Flow(tau={"h1": value})


def test_a_start_that_draws_needs_a_key(mlp):
    with raises("key must be given: the solver or the initialiser draws random numbers."):
        relax(mlp.network, mlp.train, solver=Gradient(), steps=1, initial=Normal())


@pytest.mark.parametrize("beta", [0.0, -0.5, 1.5, float("nan")])
def test_bad_beta(beta):
    with raises(f"beta must be in (0, 1], got {beta}; the algorithm chooses the sign."):
        Nudge(beta)


def test_bad_ramp():
    with raises("ramp must not be negative, got -0.1."):
        Nudge(0.5, -0.1)


def test_bad_signs():
    with raises("signs must be a string of '+' and '-', got '+-0'."):
        CN(signs="+-0")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_scalar_precision(value):
    with raises(f"precision must be a positive finite number, got {value}."):
        ScalarPrecision(value)


@pytest.mark.parametrize(("value", "said"), [([1.0, -2.0], "-2.0"), ([0.0, 1.0], "0.0"), ([float("nan"), 1.0], "nan")])
def test_bad_diagonal_precision(value, said):
    with raises(f"every entry of a diagonal precision must be positive, got {said}."):
        DiagonalPrecision(jnp.array(value))


def test_bad_full_precision():
    with raises("a full precision must be a symmetric square matrix, got shape (2, 2)."):
        FullPrecision(jnp.array([[1.0, 0.5], [0.0, 1.0]]))
    with raises("a full precision must be positive definite; its smallest eigenvalue is not positive."):
        FullPrecision(jnp.array([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("learned", [False, True])
def test_precision_that_does_not_fit_its_node(learned, layer):
    def network(precision):
        return Network({"x": 2, "y": 3}, [Prediction("y", "x", layer, Gaussian(precision))])

    for shape in ((3, 1), (2,), (1, 3)):
        with raises(
            f"term 'y' on the node 'y' needs a diagonal precision of shape (3,), or of one that broadcasts to it, "
            f"got {shape}."
        ):
            network(DiagonalPrecision(jnp.ones(shape), learned=learned))
    with raises("term 'y' on the node 'y' needs a full precision of shape (3, 3), got (4, 4)."):
        network(ScaledPrecision(FullPrecision(jnp.eye(4), learned=learned), 2.0))
    for fitting in (DiagonalPrecision(jnp.ones(3)), DiagonalPrecision(jnp.ones(1)), FullPrecision(jnp.eye(3))):
        network(fitting)


def test_precision_of_every_channel_of_an_image():
    def network(shape):
        precision = DiagonalPrecision(jnp.full(shape, 2.0))
        return Network({"x": (4, 2, 3), "y": (4, 2, 3)}, [Prediction("y", "x", jnp.tanh, Gaussian(precision))])

    states = {"x": jnp.zeros((4, 2, 3)), "y": jnp.ones((4, 2, 3))}
    for shape in ((3,), (1, 3), (4, 1, 1), (4, 2, 3)):
        assert float(network(shape).energy(states)) == 24.0
    with raises("got (4,)."):
        network((4,))


def test_array_as_the_precision_of_a_density(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checked annotations would come first
    with raises("precision must be a number or a precision, got an array of shape (2,). Use DiagonalPrecision(array)"):
        Gaussian(jnp.array([1.0, 2.0]))
    assert float(Gaussian(jnp.array(2.0)).precision.value) == 2.0


def test_incremental_coding_refuses_what_it_cannot_interleave():
    with raises("weights_from must be from 0 to steps - 1 = 3, got 4."):
        IPC(steps=4, weights_from=4)
    with raises("solver must take a fixed number of steps: weights move between them. Use Gradient()."):
        IPC(Flow())


def test_builders_refuse_sizes_that_do_not_fit(key):
    with raises("a latent of (2, 2, 3) doubled 2 times must have the height and width of the data, got (6, 6, 1)."):
        decoder((2, 2, 3), (6, 6, 1), hidden=(2,), key=key)
    with raises("images of (8, 8, 1) are too small: nothing is left after block 4."):
        vgg5((8, 8, 1), 4, width=1 / 64, key=key)
    with raises("inputs must be (height, width, channels), got (32, 32)."):
        vgg5((32, 32), 4, key=key)


def test_momentum_of_errors_is_below_one():
    with raises("momentum must be in [0, 1), got 1.5."):
        EPC(momentum=1.5)
    with raises("rate must be a positive number, got -0.1."):
        EPC(rate=-0.1)


def test_neighbours_on_a_ring_are_even():
    with raises("neighbours must be even, as many on each side of a unit, got 5."):
        SmallWorld(neighbours=5)


def test_the_forward_update_needs_more_than_the_output(key):
    images = {"x": jnp.zeros((2, 4))}
    network = decoder(2, 4, hidden=(3,), key=key)
    with raises("the forward update starts the sources from what is clamped besides the output, but only"):
        PC(forward_update=True).signal(network, images, epoch=0, key=key)


def test_unknown_name_is_one_sentence_with_the_nearest():
    with raises("There is no algorithm called 'ipcc'. Did you mean 'IPC'? Known: IPC, PC.", UnknownName):
        find("ipcc", {"IPC": IPC, "PC": PC}, "algorithm")


def test_shapes_are_enforced_at_run_time(layer):
    """The tests run with checked annotations: without them this call would broadcast."""
    with pytest.raises(Exception, match="energy"):
        Gaussian().energy(jnp.zeros(3), jnp.zeros((2, 3)))


def test_ranks_are_strict():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.zeros(3) + jnp.zeros((2, 3))
    assert jax.config.jax_enable_x64
