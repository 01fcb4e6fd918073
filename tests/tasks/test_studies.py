"""The mechanism studies as grids: what a cell records, and that a diverged one does not stop the others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hookean import ZIL, Categorical, mlp
from hookean.tasks import EnergyFlow, Initialisation, Stability
from hookean.tasks.config import configure
from hookean.tasks.grid import run_all, study

SMALL = {"dataset": "digits", "width": 12, "epochs": 1, "validation": 200, "batch_size": 100, "label": "PC"}


def test_a_diverged_cell_is_named_and_does_not_stop_the_grid(tmp_path):
    rates = {"axes": {"algorithm": {"solver": {"rate": [1e8, 0.1]}}}}
    values = SMALL | {"algorithm": {"name": "PC", "steps": 40, "solver": "Gradient"}, "network": {"activation": "relu"}}
    first, second = run_all(study(EnergyFlow, values | rates, {}, 1), tmp_path, resume=False, quiet=True)
    assert (first.status, second.status) == ("diverged", "finished")
    assert "algorithm.solver.rate" in first.message
    traces = second.relaxation["last"]["energies"]
    assert list(traces) == ["h1", "h2", "y"]
    assert traces["h1"][1] == 0 < traces["h1"][-1]  # the error needs two steps to the first layer


@pytest.mark.parametrize("task", [EnergyFlow, Initialisation, Stability])
def test_a_study_has_two_hidden_layers_of_its_width(task):
    config = configure(task, SMALL)
    assert config.network_options()["hidden"] == [12, 12]
    config.check()


def test_stability_tests_the_last_network(tmp_path):
    values = SMALL | {"optimiser": {"rate": 0.05, "schedule": "constant"}, "algorithm": "BP", "epochs": 3}
    record = configure(Stability, values).run(tmp_path, quiet=True)
    assert record.selected_epoch == 3


def test_the_energies_of_zil_are_half_the_squared_deltas(keys):
    net = mlp(5, 3, hidden=(7, 6, 4), activation=jnp.tanh, output=Categorical(), key=keys(0))
    x, y = jax.random.normal(keys(1), (6, 5)), jax.nn.one_hot(jnp.arange(6) % 3, 3)

    def loss(shifts, x, y):
        state = x
        for name, term in net.terms.items():
            state = term.function(state) + shifts.get(name, 0.0)
        return -jnp.sum(y * jax.nn.log_softmax(state))

    zero = {name: jnp.zeros(net.shapes[name]) for name in ("h1", "h2", "h3")}
    deltas = jax.vmap(lambda x, y: jax.grad(loss)(zero, x, y))(x, y)
    found = ZIL().signal(net, {"x": x, "y": y}, epoch=0, key=keys(2)).energies
    for name, delta in deltas.items():
        np.testing.assert_allclose(found[name], 0.5 * jnp.mean(jnp.sum(delta**2, axis=1)), rtol=1e-10)
