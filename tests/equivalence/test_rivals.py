"""Forward-forward, target propagation and soft winner-take-all against their formulas by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import build
from oracles import close, dense_gradients, flat

from hookean.algorithms import BP, DTP, FF, SoftHebb, UnsupervisedFF
from hookean.algorithms.ff_unsupervised import hybrids, mask
from hookean.core.builders import mlp
from hookean.core.density import Categorical
from hookean.core.layers import Dense, identity
from hookean.core.term import Prediction
from hookean.learning.goodness import contrast, respond, unit_length
from hookean.learning.targets import answers, difference_reconstruction, difference_targets, reconstruction


@pytest.fixture(scope="module")
def labelled():
    """A chain with categorical output, unequal widths and asymmetric labels."""
    key = jax.random.key(31)
    network = mlp(9, 3, hidden=(6, 5, 4), activation=jnp.tanh, output=Categorical(), key=key)
    x = jax.random.normal(jax.random.fold_in(key, 1), (5, 9))
    return network, {"x": x, "y": jax.nn.one_hot(jnp.array([0, 2, 2, 1, 0]), 3, dtype=float)}


def weights(network):
    return [(np.asarray(t.function.linear.weight), np.asarray(t.function.linear.bias)) for t in network.term_list]


def directed(state):
    return state / np.sqrt(np.mean(state**2))


def overlaid(x, label):
    """Return a sample with its label in the first entries, as high as the largest of the others."""
    shown = x - x.min()
    shown[: len(label)] = 0
    shown[: len(label)] = label * shown.max()
    return shown


def forward_forward_by_hand(network, batch, false, theta, tau):
    """Return [(dW, db)] of the hidden layers: the gradient of logistic losses on goodness, in NumPy."""
    total = [(np.zeros_like(w), np.zeros_like(b)) for w, b in weights(network)[:-1]]
    for x, y, wrong in zip(np.asarray(batch["x"]), np.asarray(batch["y"]), np.asarray(false), strict=True):
        for label, true in ((y, 1.0), (wrong, 0.0)):
            state = overlaid(x, label)
            for index, (w, b) in enumerate(weights(network)[:-1]):
                source = directed(state)
                state = np.tanh(w @ source + b)
                p = 1 / (1 + np.exp(-(np.sum(state**2) - theta * len(state)) / tau))
                delta = (p - true) / tau * 2 * state * (1 - state**2)
                dw, db = total[index]
                total[index] = (dw + np.outer(delta, source), db + delta)
    return [(dw / len(batch["x"]), db / len(batch["x"])) for dw, db in total]


def test_forward_forward_is_the_formula_by_hand(labelled):
    network, batch = labelled
    key = jax.random.key(3)
    found = FF(threshold=0.3, temperature=1.7, hard=False).signal(network, batch, epoch=0, key=key)
    false = jax.nn.one_hot(jax.random.categorical(key, jnp.where(batch["y"] > 0, -jnp.inf, 0.0)), 3)
    assert float(jnp.sum(false * batch["y"])) == 0.0
    expected = forward_forward_by_hand(network, batch, false, 0.3, 1.7)
    for (dw, db), (ew, eb) in zip(dense_gradients(network, found.gradient), expected, strict=False):
        np.testing.assert_allclose(dw, ew, atol=1e-8)  # the length of an input has a floor of 1e-8
        np.testing.assert_allclose(db, eb, atol=1e-8)


def test_false_labels_follow_the_belief_of_the_output_layer(labelled):
    """With a belief that is sure, the false label is the likelier one of the two others."""
    network, batch = labelled
    bias = jnp.array([0.0, 60.0, 30.0])
    network = eqx.tree_at(lambda n: n.term_list[-1].function.linear.bias, network, bias)
    key = jax.random.key(3)
    false = np.where(np.asarray(batch["y"]).argmax(1) == 1, 2, 1)
    found = FF(threshold=0.3).signal(network, batch, epoch=0, key=key)
    expected = forward_forward_by_hand(network, batch, np.eye(3)[false], 0.3, 1.0)
    np.testing.assert_allclose(dense_gradients(network, found.gradient)[0][0], expected[0][0], atol=1e-8)


@pytest.mark.parametrize("algorithm", [FF(hard=False), UnsupervisedFF(), SoftHebb()])
def test_later_weights_do_not_reach_earlier_layers(algorithm, labelled):
    network, batch = labelled
    later = eqx.tree_at(lambda n: n.term_list[2:], network, replace_fn=lambda leaf: leaf)
    later = eqx.tree_at(
        lambda n: [t.function.linear.weight for t in n.term_list[2:]], later, replace_fn=lambda w: 3 * w + 0.1
    )
    one, two = (algorithm.signal(n, batch, epoch=0, key=jax.random.key(0)).gradient for n in (network, later))
    assert eqx.tree_equal(one.term_list[:2], two.term_list[:2])
    assert np.abs(flat(one.term_list[2]) - flat(two.term_list[2])).max() > 1e-4


def test_every_label_is_tried_and_the_first_layer_left_out(labelled):
    network, batch = labelled
    found = FF(temperature=0.7).class_energies(network, batch["x"])
    expected = np.zeros((5, 3))
    for row, x in enumerate(np.asarray(batch["x"])):
        for label in range(3):
            state = overlaid(x, np.eye(3)[label])
            for index, (w, b) in enumerate(weights(network)[:-1]):
                state = np.tanh(w @ directed(state) + b)
                expected[row, label] -= (np.sum(state**2) if index else 0) / 0.7
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(FF(temperature=0.7).predict(network, batch).sum(axis=1), 1.0)


def test_layers_read_directions_and_the_scales_of_goodness_agree(key):
    layer = Dense(6, 4, jax.nn.relu, key=key)
    state, other = jax.random.normal(key, (2, 6))
    np.testing.assert_allclose(respond(layer, 7 * state), respond(layer, state), atol=1e-6)
    np.testing.assert_allclose(jnp.mean(unit_length(state) ** 2), 1.0, atol=1e-6)
    # Sum of squares with temperature n is the mean of squares with temperature 1; equal pairs at p = 1/2 cost 2 log 2.
    h, g = respond(layer, state), respond(layer, other)
    mean = jax.nn.softplus(0.3 - jnp.mean(h**2)) + jax.nn.softplus(jnp.mean(g**2) - 0.3)
    np.testing.assert_allclose(contrast(h, g, 0.3, 4.0), mean, atol=1e-12)
    here = float(jnp.mean(h**2))
    np.testing.assert_allclose(contrast(h, h, here, 1.0), 2 * np.log(2), atol=1e-12)
    slope = jax.grad(lambda s: contrast(s, s, here, 1.0))(h)
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)


def test_hybrids_are_made_of_two_samples_along_smooth_borders(key):
    inputs = jnp.arange(1.0, 4.0)[:, None, None, None] * jnp.ones((3, 12, 10, 2))
    mixed = np.asarray(hybrids(inputs, 4, key=key))
    for i in range(3):
        assert set(np.unique(mixed[i])) == {float(i + 1), float((i - 1) % 3 + 1)}
        np.testing.assert_array_equal(mixed[i, ..., 0], mixed[i, ..., 1])
    borders = [np.mean(np.diff(np.asarray(mask((40, 40), n, key=key)).astype(int), axis=0) != 0) for n in (0, 6)]
    assert borders[0] > 0.4 > 0.2 > borders[1]
    assert hybrids(jnp.ones((3, 5)), 2, key=key).shape == (3, 5)


def test_soft_winner_take_all_is_the_formula_by_hand(labelled):
    network, batch = labelled
    found = dense_gradients(network, signal_of(SoftHebb(sharpness=1.3), labelled).gradient)
    total = [(np.zeros_like(w), np.zeros_like(b)) for w, b in weights(network)[:-1]]
    for x in np.asarray(batch["x"]):
        state = x
        for index, (w, b) in enumerate(weights(network)[:-1]):
            source = directed(state - state.mean())
            u = w @ source
            y = np.exp(1.3 * (u + b)) / np.exp(1.3 * (u + b)).sum()
            sign = np.where(np.arange(len(y)) == y.argmax(), 1, -1)
            moved = (sign * y)[:, None] * (source - u[:, None] * w)
            total[index] = (total[index][0] - moved, total[index][1] - (1 / len(y) - y))
            state = np.tanh(u + b - (u + b).mean())
    for (dw, db), (ew, eb) in zip(found, total, strict=False):
        np.testing.assert_allclose(dw, ew / 5, atol=1e-7)
        np.testing.assert_allclose(db, eb / 5, atol=1e-7)


def signal_of(algorithm, labelled):
    return algorithm.signal(*labelled, epoch=0, key=jax.random.key(0))


def linear_chain(widths, key):
    """Return the terms of a linear chain with orthogonal-like square weights, and their exact inverses as feedback."""
    names = [f"h{i}" for i in range(1, len(widths))]
    terms, feedback, below = [], {}, "x"
    for i, (name, m, n) in enumerate(zip(names, widths[1:], widths[:-1], strict=True)):
        layer = Dense(n, m, identity, key=jax.random.fold_in(key, i))
        terms.append(Prediction(name, below, layer))
        if i:
            w, b = layer.linear.weight, layer.linear.bias
            inverse = jnp.linalg.inv(w)
            back = Dense(m, n, identity, key=key)
            feedback[below] = eqx.tree_at(lambda d: (d.linear.weight, d.linear.bias), back, (inverse, -inverse @ b))
        below = name
    return terms, feedback, names


def test_an_exact_inverse_makes_targets_exact(key):
    """Where g inverts f, the layer above reaches its target from the target below, and nothing is lost."""
    terms, feedback, names = linear_chain((6, 4, 4, 4, 4), key)
    states = answers(terms, jax.random.normal(key, (6,)))
    last = states[-1] + 0.3 * jax.random.normal(jax.random.key(5), (4,))
    targets = difference_targets(states, last, feedback, names)
    for term, low, high in zip(terms[1:], targets[:-1], targets[1:], strict=True):
        np.testing.assert_allclose(term.function(low), high, atol=1e-10)
    still = difference_targets(states, states[-1], feedback, names)
    close(still, states, atol=1e-12)
    noise = 0.1 * jax.random.normal(key, (4,))
    assert float(reconstruction(terms[1], feedback["h1"], states[0], noise)) < 1e-20
    wrong = eqx.tree_at(lambda d: d.linear.weight, feedback["h1"], replace_fn=lambda w: 2 * w)
    assert float(reconstruction(terms[1], wrong, states[0], noise)) > 1e-4


def test_transposed_feedback_makes_dtp_backpropagation_in_a_linear_network():
    example = build("chain")
    network = eqx.tree_at(
        lambda n: [t.density for t in n.term_list], example.network, [build("mlp").network.term_list[0].density] * 4
    )
    algorithm = DTP(beta=0.4)
    memory = algorithm.init(network, key=jax.random.key(0)).memory
    turned = {}
    for term in network.term_list[1:]:
        layer = memory[0][term.sources[0]]
        turned[term.sources[0]] = eqx.tree_at(lambda d: d.linear.weight, layer, term.function.linear.weight.T)
    args = {"epoch": 0, "key": jax.random.key(0)}
    found = algorithm.remembered_signal((turned, memory[1]), network, example.train, **args)
    close(found.gradient, BP().signal(network, example.train, **args).gradient, atol=1e-12)
    other = algorithm.remembered_signal(memory, network, example.train, **args)
    assert np.abs(flat(other.gradient) - flat(found.gradient)).max() > 1e-3


def test_the_loss_of_differences_rests_at_the_transposed_weights(key):
    """Over noise whose second moment is exactly that of white noise, its gradient is zero at V = W' and only there."""
    forward = Prediction("b", "a", Dense(5, 3, identity, key=key))
    back = Dense(3, 5, identity, key=jax.random.key(9))
    state = jax.random.normal(key, (5,))
    below, above = jnp.eye(5) * np.sqrt(5), jnp.eye(3) * np.sqrt(3)

    def loss(weight):
        layer = eqx.tree_at(lambda d: d.linear.weight, back, weight)
        each = jax.vmap(
            jax.vmap(lambda n, m: difference_reconstruction(forward, layer, state, n, m), (None, 0)), (0, None)
        )
        return jnp.mean(each(below, above))

    np.testing.assert_allclose(jax.grad(loss)(forward.function.linear.weight.T), 0.0, atol=1e-12)
    assert float(jnp.abs(jax.grad(loss)(back.linear.weight)).max()) > 0.1


def test_feedback_learns_and_leaves_the_forward_weights_alone(labelled):
    network, batch = labelled
    algorithm = DTP(feedback_loss="reconstruction", noise=0.05, feedback_rate=0.02)
    memory = algorithm.init(network, key=jax.random.key(0)).memory
    improve = eqx.filter_jit(algorithm.improved)

    def error(memory):
        states = [answers(network.term_list, x) for x in batch["x"]]
        return sum(
            float(reconstruction(above, memory[0][above.sources[0]], s[i], jnp.zeros(s[i].shape)))
            for s in states
            for i, above in enumerate(network.term_list[1:])
        )

    before = error(memory)
    for i in range(150):
        memory = improve(memory, network, batch, key=jax.random.key(i))
    assert error(memory) < 0.1 * before


def test_quiet_units_are_pulled_by_their_peers(labelled):
    """The pull reaches the drive past the activation, for the true pair alone, and has no value."""
    network, batch = labelled
    key = jax.random.key(3)
    means = {
        n: jax.random.uniform(jax.random.fold_in(key, i), network.shapes[n]) for i, n in enumerate(("h1", "h2", "h3"))
    }
    pulled, free = (FF(peer=p).remembered_signal(means, network, batch, epoch=0, key=key) for p in (0.7, 0.0))
    close(pulled.energies, free.energies, atol=1e-14)
    expected = [np.zeros_like(w) for w, _ in weights(network)[:-1]]
    for x, y in zip(np.asarray(batch["x"]), np.asarray(batch["y"]), strict=True):
        state = overlaid(x, y)
        for index, (w, b) in enumerate(weights(network)[:-1]):
            mean = np.asarray(means[f"h{index + 1}"])
            expected[index] -= 0.7 * np.outer(mean.mean() - mean, directed(state)) / len(batch["x"])
            state = np.tanh(w @ directed(state) + b)
    pairs = zip(*(dense_gradients(network, found.gradient) for found in (pulled, free)), strict=True)
    for ((with_pull, _), (without, _)), difference in zip(pairs, expected, strict=False):
        np.testing.assert_allclose(with_pull - without, difference, atol=1e-8)


def test_running_means_are_those_of_the_true_pairs(labelled):
    network, batch = labelled
    rule = FF()
    state, _ = eqx.filter_jit(rule.step)(rule.init(network, key=jax.random.key(0)), batch, key=jax.random.key(1))
    (w, b), first = weights(network)[0], []
    for x, y in zip(np.asarray(batch["x"]), np.asarray(batch["y"]), strict=True):
        first.append(np.tanh(w @ directed(overlaid(x, y)) + b))
    np.testing.assert_allclose(state.memory["h1"], 0.1 * np.mean(first, axis=0), atol=1e-8)
