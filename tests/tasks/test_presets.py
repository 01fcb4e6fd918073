"""Every preset is read, is valid, and builds the network and the algorithm that its name says."""

import collections
import math

import equinox as eqx
import jax
import pytest

from hookean import algorithms
from hookean.algorithms.contract import AbstractAlgorithm
from hookean.cli import _entry, _presets
from hookean.core import builders
from hookean.registry import exported_classes, exported_functions
from hookean.tasks.build import construct, network_label
from hookean.tasks.classification import resolve_config
from hookean.tasks.config import configure, read_preset
from hookean.tasks.grid import study

#: Presets of other tasks are tried out by the tests of these tasks.
PRESETS = {name: path for name, path in _presets().items() if read_preset(path)["task"] in ("classification", "depth")}
STUDIES = [name for name in PRESETS if "variants" in read_preset(PRESETS[name])]
DEPTH = [name for name in PRESETS if name.startswith("depth-") and name not in STUDIES]
RIVALS = [name for name in PRESETS if name.startswith("rival-")]
BENCHMARK = [name for name in PRESETS if name not in (*DEPTH, *RIVALS, *STUDIES)]
#: Shape of a sample after the transform, and the number of classes.
SHAPES = {
    "MNIST": ((28, 28, 1), 10),
    "FashionMNIST": ((28, 28, 1), 10),
    "CIFAR10": ((32, 32, 3), 10),
    "CIFAR100": ((32, 32, 3), 100),
    "TinyImageNet": ((56, 56, 3), 200),
}
#: label of the benchmark's tables -> (algorithm, density of the output).
RULES = {
    "PC-SE": ("PC", "Gaussian"),
    "PC-CE": ("PC", "Categorical"),
    "PC-PN": ("PN", "Gaussian"),
    "PC-NN": ("NN", "Gaussian"),
    "PC-CN": ("CN", "Gaussian"),
    "iPC": ("IPC", "Gaussian"),
    "BP-SE": ("BP", "Gaussian"),
    "BP-CE": ("BP", "Categorical"),
}
#: Published numbers of parameters with ten classes.
PARAMETERS = {"mlp": 134_794, "vgg5": 3_859_210, "vgg7": 4_581_514}
TABLES = {
    "mlp": ("MNIST", "FashionMNIST"),
    "vgg5": ("CIFAR10", "CIFAR100", "TinyImageNet"),
    "vgg7": ("CIFAR100", "TinyImageNet"),
}


def resolved(name):
    entry = _entry(name)
    return resolve_config(configure(entry.task, entry.values))


def test_every_row_of_the_tables_has_a_preset():
    rows = {(network, data, label) for network, sets in TABLES.items() for data in sets for label in RULES}
    rows |= {("vgg7", "CIFAR10", "PC-SE"), ("vgg7", "CIFAR10", "BP-SE")}
    found = collections.Counter((c["network"]["name"], c["dataset"], c["label"]) for c in map(resolved, BENCHMARK))
    assert found == collections.Counter(rows)
    assert len(BENCHMARK) == 58


@pytest.mark.parametrize("name", DEPTH)
def test_preset_of_a_deep_network_builds(name):
    config = resolved(name)
    layers = {"mlp20": 20, "residual64": 64}[name.split("-")[1]]
    assert network_label(config["network"]) == f"{config['network']['name']} of {layers} layers"
    assert read_preset(PRESETS[name])["about"].strip()
    shape, classes = SHAPES[config["dataset"]]
    values = _entry(name).values
    network = eqx.filter_eval_shape(
        lambda: construct(
            values["network"],
            exported_functions(builders),
            "network",
            inputs=shape,
            outputs=classes,
            key=jax.random.key(0),
        )[0]
    )
    assert len(network.term_names) == layers
    rule, _ = construct(values["algorithm"], exported_classes(algorithms, AbstractAlgorithm), "algorithm")
    rule.check(network)
    twins = [resolved(other) for other in DEPTH if other.split("-")[1] == name.split("-")[1]]
    kept = ("dataset", "epochs", "batch_size", "validation", "selection")
    assert len({str([twin[key] for key in kept]) for twin in twins}) == 1, "one protocol for all rules of a network"


@pytest.mark.parametrize("name", STUDIES)
def test_study_names_what_exists(name):
    """Every run of a study resolves, has a folder of its own, and its rule accepts its network."""
    entry = _entry(name)
    configs = study(entry.task, entry.values, {"dataset": "digits"}, 1)
    assert len({config.cell() for config in configs}) == len(configs) > 1
    members = exported_classes(algorithms, AbstractAlgorithm)
    for config in configs:
        config.check()
    given = {"inputs": (32, 32, 3), "outputs": 10, "key": jax.random.key(0)}
    for config in {(c.cell()[1], c.algorithm["name"]): c for c in configs}.values():
        network = eqx.filter_eval_shape(
            lambda options=getattr(config, "network_options", lambda: config.network)(): construct(
                options, exported_functions(builders), "network", **given
            )[0]
        )
        construct(config.algorithm, members, "algorithm")[0].check(network)


@pytest.mark.parametrize("name", RIVALS)
def test_preset_of_a_rival_builds(name):
    values, config = _entry(name).values, resolved(name)
    shape, classes = SHAPES[config["dataset"]]
    key = jax.random.key(0)
    members = exported_functions(builders)
    network = eqx.filter_eval_shape(
        lambda: construct(values["network"], members, "network", inputs=shape, outputs=classes, key=key)[0]
    )
    rule, _ = construct(values["algorithm"], exported_classes(algorithms, AbstractAlgorithm), "algorithm")
    rule.check(network)
    assert config["epochs"] <= 25
    assert config["validation"] == 5000
    assert name.split("-")[2] == config["algorithm"]["name"].lower()


@pytest.mark.parametrize("name", BENCHMARK)
def test_preset_builds(name):
    config = resolved(name)
    algorithm, density = RULES[config["label"]]
    assert config["algorithm"]["name"] == algorithm
    assert config["network"]["output"]["name"] == density
    assert config["network"]["name"] in name.split("-")
    assert config["dataset"].lower() in name.replace("-", "")
    assert read_preset(PRESETS[name])["about"].strip()
    shape, classes = SHAPES[config["dataset"]]
    key = jax.random.key(0)
    values = _entry(name).values
    # Shapes alone: millions of random weights would take minutes over all presets.
    network = eqx.filter_eval_shape(
        lambda: construct(
            values["network"], exported_functions(builders), "network", inputs=shape, outputs=classes, key=key
        )[0]
    )
    if classes == 10:
        leaves = [leaf for leaf in jax.tree.leaves(network) if isinstance(leaf, jax.ShapeDtypeStruct)]
        assert sum(math.prod(leaf.shape) for leaf in leaves) == PARAMETERS[config["network"]["name"]]
    rule, _ = construct(values["algorithm"], exported_classes(algorithms, AbstractAlgorithm), "algorithm")
    rule.check(network)
    assert rule.updates_per_batch() == (config["algorithm"]["steps"] if algorithm == "IPC" else 1)
