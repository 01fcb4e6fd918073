"""Values from presets and the command line: merging, overriding, naming what is wrong; and the rate schedule."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from hookean import tasks
from hookean.registry import UnknownName, exported_classes
from hookean.tasks import Classification, Depth
from hookean.tasks.build import ConfigError
from hookean.tasks.classification import resolve_config
from hookean.tasks.config import configure, parse_overrides
from hookean.tasks.contract import AbstractTask, require_same, without_none
from hookean.tasks.grid import grid, run_all, seeds, study
from hookean.tasks.optimiser import Optimiser, from_zero, warmup_cosine, weight_norm
from hookean.tasks.sections import merge

SECTIONS = [
    pytest.param(task, name, id=f"{task.name}-{name}")
    for task in exported_classes(tasks, AbstractTask).values()
    for name, field in task.model_fields.items()
    if isinstance(field.default, dict) and "name" in field.default
]


@pytest.mark.parametrize(("task", "section"), SECTIONS)
def test_options_without_a_name_change_the_default_of_a_section(task, section):
    default = task.model_fields[section].default
    assert getattr(task(**{section: {"anything": 3}}), section) == default | {"anything": 3}
    assert getattr(task(**{section: "another"}), section) == {"name": "another"}


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ({"epochs": 3}, {"epochs": 5}, {"epochs": 5}),
        ({"a": {"name": "x", "k": 1}}, {"a": {"j": 2}}, {"a": {"name": "x", "k": 1, "j": 2}}),
        ({"a": {"name": "x", "k": 1}}, {"a": "y"}, {"a": {"name": "y"}}),
        ({"a": {"name": "x", "k": 1}}, {"a": "X"}, {"a": {"name": "X", "k": 1}}),
        ({"a": {"name": "x", "k": 1}}, {"a": {"name": "y", "j": 2}}, {"a": {"name": "y", "j": 2}}),
        ({"a": "x"}, {"a": {"k": 1}}, {"a": {"name": "x", "k": 1}}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 3}}}, {"a": {"b": {"c": 1, "d": 3}}}),
    ],
)
def test_merge(base, changes, expected):
    before = repr(base)
    assert merge(base, changes) == expected
    assert repr(base) == before


def test_overrides():
    pairs = ["algorithm.solver.rate=0.3", "network.hidden=[4, 3]", "label=my run", "download=true", "dataset=mnist"]
    assert parse_overrides(pairs) == {
        "algorithm": {"solver": {"rate": 0.3}},
        "network": {"hidden": [4, 3]},
        "label": "my run",
        "download": True,
        "dataset": "mnist",
    }
    assert parse_overrides(["algorithm=BP", "algorithm.scale=2"]) == {"algorithm": {"name": "BP", "scale": 2}}
    assert parse_overrides(["label=a=b"]) == {"label": "a=b"}


@pytest.mark.parametrize("pair", ["epochs", "=3", " =3"])
def test_malformed_overrides(pair):
    with pytest.raises(ConfigError, match="--set takes key=value, got"):
        parse_overrides([pair])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "'epoch' is not an option of classification. Did you mean 'epochs'"),
        ({"optimiser": {"rates": 3}}, "'optimiser.rates' is not an option .* Did you mean 'optimiser.rate'"),
        ({"epochs": "many"}, "^epochs: .* got 'many'"),
        ({"epochs": -1}, "^epochs: .*greater than or equal to 0, got -1"),
        ({"batch_size": 0}, "^batch_size: .* got 0"),
        ({"seed": "abc"}, "^seed: .* got 'abc'"),
        ({"selection": "worst"}, "^selection: .*'best' or 'last', got 'worst'"),
        ({"algorithm": 5}, "^algorithm: .* got 5"),
        ({"optimiser": {"name": "sgd", "weight_decay": 0.1}}, "weight_decay belongs to adamw"),
        ({"optimiser": {"momentum": 0.9}}, "momentum belongs to sgd"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        configure(Classification, values)
    with pytest.raises(ConfigError, match=message):
        seeds(Classification, values, 2)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"dataset": "digit"}, UnknownName, "no data set called 'digit'. Did you mean 'Digits'"),
        ({"network": "mpl"}, UnknownName, "no network called 'mpl'. Did you mean 'mlp'"),
        ({"network": "decoder"}, ConfigError, "decoder takes no inputs"),
        ({"algorithm": "PCC"}, UnknownName, "no algorithm called 'PCC'. Did you mean 'PC'"),
        ({"algorithm": {"stepps": 3}}, ConfigError, "PC has no option 'stepps'. Did you mean 'steps'"),
        ({"algorithm": {"optimiser": 3}}, ConfigError, "PC has no option 'optimiser'"),
        ({"algorithm": {"steps": 2.5}}, ConfigError, "algorithm.steps .*got 2.5"),
        ({"algorithm": {"solver": 5}}, ConfigError, "algorithm.solver must be a name or a section .*got 5"),
        (
            {"algorithm": {"solver": {"rat": 0.1}}},
            ConfigError,
            "solver Gradient has no option 'rat'. Did you mean 'rate'",
        ),
        ({"algorithm": {"solver": "Grad"}}, UnknownName, "no solver called 'Grad'"),
        ({"network": {"activation": "gellu"}}, UnknownName, "no activation called 'gellu'. Did you mean 'gelu'"),
        ({"network": {"output": "gausian"}}, UnknownName, "no density called 'gausian'. Did you mean 'gaussian'"),
        ({"network": {"hidden": "wide"}}, ConfigError, "network.hidden .*got 'wide'"),
    ],
)
def test_names_and_options_are_checked_without_data(values, kind, message):
    with pytest.raises(kind, match=message):
        resolve_config(configure(Classification, values))


def test_every_default_is_written_out_and_names_are_plain():
    resolved = resolve_config(
        configure(Classification, {"dataset": "two-moons", "network": {"activation": "GELU"}, "algorithm": "ipc"})
    )
    assert resolved["dataset"] == "TwoMoons"
    assert resolved["label"] == "iPC"
    assert resolved["network"]["activation"] == "gelu"
    assert resolved["algorithm"]["name"] == "IPC"
    assert resolved["algorithm"]["steps"] == 8
    assert resolved["algorithm"]["solver"]["rate"] == 0.05
    assert resolve_config(configure(Classification, {"algorithm": "ipc", "network": {"hidden": [4]}})) != resolved


def test_grid_is_every_combination_with_every_seed():
    axes = {"dataset": ["iris", "digits"], "algorithm": ["PC", "BP"]}
    configs = grid(Classification, {"epochs": 1, "seed": 4}, axes, 3)
    seen = [(c.dataset, c.algorithm["name"], c.seed) for c in configs]
    assert len(set(seen)) == 12
    assert {seed for _, _, seed in seen} == {4, 5, 6}
    assert len({c.cell() for c in configs}) == 12


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"algorithm": "pc"}, "PC"),
        ({"algorithm": "PC"}, "PC"),
        ({"algorithm": "ipc"}, "iPC"),
        ({"label": "mine, rate 0.1"}, "mine, rate 0.1"),
        ({"label": "../../escape"}, "..-..-escape"),
        ({"label": "a\\b"}, "a-b"),
        ({"label": ".."}, "--"),
    ],
)
def test_a_folder_is_called_as_the_run_is_and_stays_inside(given, folder):
    assert configure(Classification, given).cell() == ("digits", "mlp", folder, "seed-0")


def test_none_is_said_in_words_and_written_back():
    config = configure(Classification, {"dataset": "iris", "algorithm": {"name": "PC", "steps": "none"}})
    resolved = resolve_config(config)
    assert resolved["algorithm"]["steps"] is None
    written = without_none(resolved)
    assert written["algorithm"]["steps"] == "none"
    assert "subset" not in written
    again = {key: value for key, value in written.items() if key != "task"}
    assert resolve_config(configure(Classification, again)) == resolved
    assert configure(Classification, {"subset": "none", "patience": "none"}).patience is None
    with pytest.raises(ConfigError, match=r"epochs: .*got 'none'"):
        configure(Classification, {"epochs": "none"})
    with pytest.raises(ConfigError, match=r"algorithm.steps .*got 'none'"):
        resolve_config(configure(Classification, {"dataset": "iris", "algorithm": {"name": "IPC", "steps": "none"}}))


@pytest.mark.parametrize(
    ("network", "expected"),
    [({"name": "mlp"}, {"hidden": [6] * 4}), ({"name": "residual_mlp", "mup": True}, {"depth": 4, "width": 6})],
)
def test_depth_sizes_the_network(network, expected):
    config = configure(Depth, {"dataset": "iris", "network": network, "layers": 5, "width": 6})
    resolved = resolve_config(config)
    assert resolved["task"] == "depth"
    assert {key: resolved["network"][key] for key in expected} == expected
    assert config.cell()[1] == f"{network['name']}-of-5-layers"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": "vgg5"}, "vgg5 has layers of its own; use mlp or residual_mlp"),
        ({"network": {"name": "mlp", "hidden": [3]}}, "network.hidden follows from layers and width"),
        ({"layers": 1}, "^layers: .* got 1"),
    ],
)
def test_depth_refuses_networks_that_it_cannot_size(wrong, message):
    with pytest.raises(ConfigError, match=message):
        configure(Depth, {"dataset": "iris"} | wrong).check()


def test_a_precision_is_a_number_or_a_learned_one():
    def output(precision):
        values = {"dataset": "iris", "network": {"output": {"name": "gaussian", "precision": precision}}}
        return resolve_config(configure(Classification, values))["network"]["output"]["precision"]

    assert output(2) == 2.0
    assert output({"name": "ScalarPrecision", "value": 2.0}) == {
        "name": "ScalarPrecision",
        "value": 2.0,
        "learned": False,
    }
    assert output({"name": "ScalarPrecision", "learned": True})["learned"] is True
    assert resolve_config(configure(Classification, {"dataset": "iris"}))["network"]["output"]["precision"] == 1.0
    with pytest.raises(ConfigError, match="precision must be a positive finite number, got -1"):
        output({"name": "ScalarPrecision", "value": -1})


STUDY = {
    "dataset": "iris",
    "optimiser": {"rate": 0.1},
    "axes": {"network": {"hidden": [[4], [4, 4]]}, "batch_size": [8, 16]},
    "variants": [{"label": "a", "algorithm": "BP"}, {"label": "b", "algorithm": {"name": "PC", "steps": 3}}],
}


def test_study_is_every_variant_at_every_point_of_the_axes():
    configs = study(Classification, STUDY, {"epochs": 2}, 2)
    seen = [(tuple(c.network["hidden"]), c.batch_size, c.label, c.seed) for c in configs]
    assert seen == [
        (hidden, size, f"{label}, hidden {list(hidden)}, batch_size {size}", seed)
        for hidden in ((4,), (4, 4))
        for size in (8, 16)
        for label in "ab"
        for seed in (0, 1)
    ]
    assert len({c.cell() for c in configs}) == 16
    assert {c.algorithm["name"] for c in configs if c.label[0] == "b"} == {"PC"}
    assert all(c.epochs == 2 and c.optimiser.rate == 0.1 and c.network["name"] == "mlp" for c in configs)
    assert "axes" in STUDY


def test_changes_stand_on_top_of_a_study():
    changes = {"axes": {"batch_size": [32]}, "algorithm": "IPC", "optimiser": {"rate": 0.2}}
    configs = study(Classification, STUDY, changes, 1)
    assert [c.batch_size for c in configs] == [32] * 4
    assert all(c.algorithm["name"] == "IPC" and c.optimiser.rate == 0.2 for c in configs)


def test_options_of_one_name_are_told_apart_in_labels():
    axes = {"optimiser": {"rate": [0.1]}, "algorithm": {"solver": {"rate": [0.2, 0.3]}}}
    values = {"dataset": "iris", "algorithm": "PC", "axes": axes}
    labels = [config.label for config in study(Classification, values, {}, 1)]
    assert labels == [f"PC, optimiser.rate 0.1, algorithm.solver.rate {rate}" for rate in (0.2, 0.3)]


def test_an_option_given_on_top_is_an_axis_no_more():
    """No run is made twice, under labels that name a value which it does not have."""
    axes = {"batch_size": [8, 16], "network": {"hidden": [[4], [4, 4]]}}
    values = {"dataset": "iris", "algorithm": "PC", "axes": axes}
    assert [c.batch_size for c in study(Classification, values, {"batch_size": 32}, 1)] == [32, 32]
    configs = study(Classification, values, {"network": {"hidden": [5]}}, 1)
    assert [(c.batch_size, c.label) for c in configs] == [(size, f"PC, batch_size {size}") for size in (8, 16)]
    (one,) = study(tasks.Recall, {"axes": {"width": [512, 1024]}}, {"width": 32}, 1)
    assert (one.width, one.label) == (32, None)


def test_runs_of_a_section_without_a_name_are_told_apart_by_its_default():
    values = {"axes": {"epochs": [[3], [4]]}, "algorithm": {"steps": 2}}
    labels = [config.label for config in study(tasks.Recall, values, {}, 1)]
    assert labels == ["PC, epochs [3]", "PC, epochs [4]"]


def test_labels_stay_where_the_axes_are_told_apart_without_them():
    axes = {"network": {"hidden": [[4], [4, 4]]}}
    assert {c.label for c in study(Classification, STUDY | {"axes": axes}, {}, 1)} == {"a", "b"}


def test_runs_that_would_share_a_folder_are_refused(tmp_path):
    configs = study(Classification, STUDY | {"axes": {}, "variants": [{"epochs": 1}, {"epochs": 2}]}, {}, 1)
    with pytest.raises(ConfigError, match=r"several runs would write into .* label of its own"):
        run_all(configs, tmp_path, resume=False, quiet=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"axes": 3}, "axes must be a list of values, or a table"),
        ({"axes": {"epochs": 3}}, "axes.epochs must be a list"),
        ({"axes": {"network": {"hidden": []}}}, "axes.network.hidden must be a list"),
        ({"axes": {"epoch": [1]}}, "'epoch' is not an option .* Did you mean 'epochs'"),
        ({"variants": [1]}, "variants must be a list of tables"),
        ({"variants": []}, "variants must be a list of tables"),
        ({"variants": {"label": "a"}}, "variants must be a list of tables"),
    ],
)
def test_wrong_studies_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        study(Classification, {"dataset": "iris"} | wrong, {}, 1)


def test_weight_norm_by_hand():
    weights = {
        "w": jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]),
        "k": jnp.arange(12.0).reshape(1, 2, 3, 2),
        "b": jnp.ones(3),
    }
    moved = {"w": jnp.array([[2.0, 2.0, 3.0], [4.0, 6.0, 7.0]]), "k": weights["k"] + 1, "b": jnp.full(3, 3.0)}
    rule = weight_norm()
    given = {name: moved[name] - weights[name] for name in weights}
    updates, _ = rule.update(given, rule.init(weights), weights)
    found = optax.apply_updates(weights, updates)
    spread = math.sqrt(sum((x - 4) ** 2 for x in (2, 2, 3, 4, 6, 7)) / 6)
    for place, value in (((0, 0), 2), ((1, 2), 7)):
        assert float(found["w"][place]) == pytest.approx(value / ((math.sqrt(2) + math.sqrt(3)) * spread), rel=1e-5)
    kernel = (math.sqrt(2) + math.sqrt(6)) * math.sqrt(143 / 12)  # two outputs, six inputs each
    assert float(found["k"][0, 0, 0, 1]) == pytest.approx(2 / kernel, rel=1e-5)
    assert found["b"].tolist() == [3.0] * 3


def test_every_rule_can_be_normalised():
    weights = jnp.array([[1.0, -2.0], [0.5, 0.25]])
    for name in ("adamw", "adam", "muon", "sgd"):
        rule = Optimiser(name=name, weight_norm=True, schedule="constant").build(10)
        updates, _ = rule.update(jnp.ones_like(weights), rule.init(weights), weights)
        assert float(jnp.std(weights + updates)) == pytest.approx(1 / (2 * math.sqrt(2)), rel=1e-5)


def test_muon_moves_a_matrix_in_all_directions_alike_and_the_rest_as_adam_does():
    """A gradient with singular values from 1 to 1,000, in singular vectors that are known."""
    left, right = (jnp.linalg.qr(jax.random.normal(jax.random.key(n), (s, 4)))[0] for n, s in ((0, 6), (1, 4)))
    weights = {"w": jnp.ones((6, 4)), "b": jnp.ones(3), "k": jnp.ones((2, 2, 3, 2))}
    gradient = {"w": left @ jnp.diag(jnp.array([1.0, 10, 100, 1000])) @ right.T, "b": jnp.array([1.0, -2.0, 3.0])}
    gradient["k"] = jnp.full((2, 2, 3, 2), -5.0)
    rule = Optimiser(name="muon", rate=0.5, schedule="constant").build(10)
    updates, _ = rule.update(gradient, rule.init(weights), weights)
    moved = left.T @ updates["w"] @ right
    sizes = jnp.diag(moved)
    assert float(jnp.abs(moved - jnp.diag(sizes)).max()) < 1e-6
    # 0.7 to 1.2 of the rate by the library's five steps; the smallest of them has not got there.
    assert ((sizes[1:] > -0.75) & (sizes[1:] < -0.3)).all(), sizes
    adam = optax.nadam(0.005)
    rest = {name: gradient[name] for name in ("b", "k")}
    expected, _ = adam.update(rest, adam.init(rest))
    for name, update in expected.items():
        assert jnp.allclose(updates[name], update, rtol=1e-5, atol=0)


def test_warmup_cosine_by_hand():
    rate, updates = 0.02, 200
    schedule = warmup_cosine(rate, updates)
    assert float(schedule(0)) == pytest.approx(rate)
    assert float(schedule(10)) == pytest.approx(1.05 * rate)
    assert float(schedule(20)) == pytest.approx(1.1 * rate)
    # From update 20 a half cosine over 180 updates down to a tenth of the rate.
    for update in (65, 110, 170, 200):
        share = 0.5 * (1 + math.cos(math.pi * (update - 20) / 180))
        assert float(schedule(update)) == pytest.approx(0.1 * rate + share * rate, rel=1e-5)
    assert float(schedule(200)) == pytest.approx(0.1 * rate)


def test_a_schedule_from_zero_by_hand():
    schedule = from_zero(0.02, 200)
    for update, expected in ((0, 0.0), (5, 0.005), (20, 0.02), (110, 0.011), (200, 0.002)):
        assert float(schedule(update)) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    rule = Optimiser(name="sgd", rate=0.02, schedule="from_zero").build(200)
    memory = rule.init({"w": jnp.ones(1)})
    step, memory = rule.update({"w": jnp.ones(1)}, memory)
    assert float(step["w"][0]) == 0
    assert float(rule.update({"w": jnp.ones(1)}, memory)[0]["w"][0]) == pytest.approx(-0.001, rel=1e-5)


@pytest.mark.parametrize(("clip", "factor"), [(1.3, 0.1), (26.0, 1.0)])
def test_a_gradient_is_clipped_as_a_whole(clip, factor):
    gradient = {"one": jnp.array([3.0, -4.0]), "two": jnp.array([[12.0]])}  # of norm 13
    rule = Optimiser(name="sgd", rate=0.5, schedule="constant", clip=clip).build(10)
    updates = rule.update(gradient, rule.init(gradient))[0]
    for name, value in gradient.items():
        assert jnp.allclose(updates[name], -0.5 * factor * value, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "warmup_cosine", "from_zero"])
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"name": "adamw", "weight_decay": 0.2}, lambda rate: optax.adamw(rate, weight_decay=0.2)),
        ({"name": "sgd", "momentum": 0.7}, lambda rate: optax.sgd(rate, 0.7)),
    ],
)
def test_a_rule_is_that_of_optax_and_holds_its_rate_in_memory(options, rule, schedule):
    rates = {"constant": 0.03, "warmup_cosine": warmup_cosine(0.03, 6), "from_zero": from_zero(0.03, 6)}
    ours, theirs = Optimiser(rate=0.03, schedule=schedule, **options).build(6), rule(rates[schedule])
    weights = {"w": jnp.array([[1.0, -2.0], [0.3, 0.1]])}
    memory, expected_memory = ours.init(weights), theirs.init(weights)
    jaxprs = set()
    for rate in (0.03, 0.1):
        other = Optimiser(rate=rate, schedule=schedule, **options).build(6)
        jaxprs.add(str(jax.make_jaxpr(other.update)(weights, other.init(weights), weights)))
    assert len(jaxprs) == 1, "runs that differ in the rate alone have one program"
    for step in range(5):
        gradient = {"w": jnp.sin(weights["w"] + step)}
        updates, memory = ours.update(gradient, memory, weights)
        expected, expected_memory = theirs.update(gradient, expected_memory, weights)
        assert jnp.allclose(updates["w"], expected["w"], rtol=1e-6, atol=1e-12)
        weights = optax.apply_updates(weights, updates)


def test_a_config_from_before_an_option_existed_is_the_same():
    new = {"optimiser": {"name": "sgd", "rate": 0.1, "clip": None}, "epochs": 3}
    old = {"optimiser": {"name": "sgd", "rate": 0.1}, "epochs": 3}
    require_same(Path("checkpoint"), old, new)
    for other in ({"optimiser": new["optimiser"] | {"clip": 1.0}, "epochs": 3}, new | {"epochs": None}):
        with pytest.raises(ConfigError, match="made with another configuration"):
            require_same(Path("checkpoint"), old, other)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_a_rule_uses_its_rate(name):
    weights = {"w": jnp.array([1.0, -2.0])}
    gradient = {"w": jnp.array([0.5, 0.25])}
    rule = Optimiser(name=name, rate=0.01, schedule="constant").build(updates=10)
    step = rule.update(gradient, rule.init(weights), weights)[0]["w"]
    # The first step of Adam is the rate in every direction, that of gradient descent the rate times the gradient.
    expected = -0.01 * (gradient["w"] if name == "sgd" else jnp.ones(2))
    assert jnp.allclose(step, expected, rtol=1e-4)
