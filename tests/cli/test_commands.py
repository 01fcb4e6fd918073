"""What the commands do when all is well: `list` names what is registered, `run` reaches every option."""

import importlib
import inspect
import pkgutil
import sys
import textwrap

import pytest

from hookean import algorithms, cli, data, tasks
from hookean.algorithms.contract import AbstractAlgorithm
from hookean.core import builders
from hookean.data.dataset import AbstractDataset
from hookean.record import find_records
from hookean.tasks.contract import AbstractTask

#: Reads a batch like backpropagation and steps against the sign of a factor of its own.
ALGORITHM = '''
"""An algorithm of one file."""

from typing import ClassVar

import jax
import optax

from hookean.algorithms.contract import AbstractAlgorithm, Needs, Signal, learn_once
from hookean.learning.backprop import backprop


class Signed(AbstractAlgorithm):
    """Descend the sign of the gradient."""

    factor: float = 1.0
    optimiser: optax.GradientTransformation = optax.sgd(0.1)

    label: ClassVar[str] = "signs only"
    reference: ClassVar[str] = "none"
    cost: ClassVar[str] = "one pass"
    needs: ClassVar[Needs] = Needs(weight_transport=True)

    def check(self, network):
        pass

    def updates_per_batch(self):
        return 1

    def signal(self, network, batch, *, epoch, key, record=False):
        gradient, energies = backprop(network, batch)
        return Signal(jax.tree.map(lambda leaf: self.factor * jax.numpy.sign(leaf), gradient), energies, None)

    def step(self, state, batch, *, key):
        return learn_once(self, state, batch, key=key)
'''


def rows(text):
    """Return the first word of every line of a list."""
    return {line.split()[0] for line in text.splitlines() if line.strip()}


def defined(room, base):
    """Return the final classes that the files of a room define, exported or not."""
    found = set()
    for info in pkgutil.iter_modules(room.__path__):
        module = importlib.import_module(f"{room.__name__}.{info.name}")
        for member in vars(module).values():
            own = inspect.isclass(member) and member.__module__ == module.__name__
            if own and issubclass(member, base) and not inspect.isabstract(member):
                found.add(member)
    return found


@pytest.mark.parametrize(
    ("kind", "room", "base"),
    [
        ("algorithms", algorithms, AbstractAlgorithm),
        ("datasets", data, AbstractDataset),
        ("tasks", tasks, AbstractTask),
    ],
)
def test_list_names_every_class(command, kind, room, base):
    ended = command("list", kind)
    found = defined(room, base)
    assert ended.code == 0
    assert found
    assert {cls.name if kind == "tasks" else cls.__name__ for cls in found} | {kind} == rows(ended.out)
    for cls in found:
        assert inspect.getdoc(cls).split("\n")[0] in ended.out


def test_list_names_networks_presets_and_everything_at_once(command):
    files = {path.stem for path in cli._presets().values()}
    networks = {"mlp", "residual_mlp", "decoder", "vgg5", "vgg7", "vgg9", "vgg13", "vgg19", "resnet10", "resnet18"}
    networks |= {"hopfield_mlp", "elman", "jordan", "autoencoder", "graph"}
    assert networks <= {name for name in vars(builders) if not name.startswith("_")}
    assert rows(command("list", "networks").out) == networks | {"networks"}
    assert rows(command("list", "presets").out) == files | {"presets"}
    every = command("list")
    assert every.code == 0
    assert files | networks | {"PC", "BP", "MNIST", "classification"} <= rows(every.out)


def test_run_reaches_nested_options_and_seeds(command, tmp_path):
    ended = command(
        "run", "mlp-mnist-pc-se", "--dataset=two_moons", "--epochs=1", "--seeds=2", "--out=here", "--quiet",
        "--set=network.hidden=[5,4]", "--set=algorithm.solver.rate=0.3", "--set=algorithm.steps=2",
        "--set=optimiser.rate=0.01", "--set=subset=150", "--set=validation=60", "--set=batch_size=30",
        "--set=seed=3", "--set=evidence=0",
    )  # fmt: skip
    assert ended.code == 0
    found = find_records(tmp_path / "here")
    assert [path.parent.relative_to(tmp_path / "here").as_posix() for path, _ in found] == [
        "two_moons/mlp-of-3-layers/PC-SE/seed-3",
        "two_moons/mlp-of-3-layers/PC-SE/seed-4",
    ]
    for _, record in found:
        assert record.status == "finished"
        assert record.config["network"]["hidden"] == [5, 4]
        assert record.config["algorithm"]["solver"]["rate"] == 0.3
        # What is not set stays as the preset has it.
        assert record.config["algorithm"]["solver"]["momentum"] > 0
        assert record.config["optimiser"]["weight_decay"] > 0
        assert record.config["algorithm"]["steps"] == 2
    assert "PC-SE" in ended.out
    assert "2" in ended.out
    assert (tmp_path / "here" / "report.html").exists()


def test_an_algorithm_is_one_file_and_one_export(command, monkeypatch, tmp_path):
    (tmp_path / "signed.py").write_text(textwrap.dedent(ALGORITHM))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("signed")
    monkeypatch.delitem(sys.modules, "signed")
    monkeypatch.setattr(algorithms, "Signed", module.Signed, raising=False)
    listed = command("list", "algorithms")
    assert "Signed" in rows(listed.out)
    assert "Descend the sign of the gradient." in listed.out
    base = (
        "run", "classification", "--dataset=two_moons", "--algorithm=signed", "--epochs=2", "--quiet", "--out=here",
        "--set=network.hidden=[5]", "--set=subset=150", "--set=validation=60", "--set=batch_size=30",
    )  # fmt: skip
    wrong = command(*base, "--set=algorithm.factr=2")
    assert wrong.code == 2
    assert "algorithm Signed has no option 'factr'. Did you mean 'factor'?" in wrong.err
    assert command(*base, "--set=algorithm.factor=0.5").code == 0
    ((_, record),) = find_records(tmp_path / "here")
    assert (record.algorithm, record.label, record.status) == ("Signed", "signs only", "finished")
    assert record.config["algorithm"] == {"name": "Signed", "factor": 0.5}
    assert record.needs == ["weight transport"]
    assert 0 < record.history[-1]["cosine"]["y"] < 1


@pytest.mark.parametrize(
    ("name", "task", "preset"),
    [
        ("sampling_cost", tasks.SamplingCost, False),
        ("sampling-cost", tasks.SamplingCost, True),
        ("Sampling_Cost", tasks.SamplingCost, True),
        ("Mlp_mnist_pc_se", tasks.Classification, True),
        ("Classification", tasks.Classification, False),
    ],
)
def test_a_task_by_its_own_name_stands_before_presets_and_these_are_found_however_spelled(name, task, preset):
    entry = cli._entry(name)
    assert entry.task is task
    assert bool(entry.values) == preset


def test_a_preset_runs_with_its_own_number_of_seeds_unless_one_is_given(command, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'dataset = "two_moons"\nepochs = 1\nsubset = 150\nvalidation = 60\nbatch_size = 30\nseeds = 3\n'
        "[network]\nname = 'mlp'\nhidden = [5]\n[algorithm]\nname = 'BP'\n"
    )
    assert command("run", "mine.toml", "--out=own", "--quiet").code == 0
    assert command("run", "mine.toml", "--seeds=1", "--out=given", "--quiet").code == 0
    assert [record.seed for _, record in find_records(tmp_path / "own")] == [0, 1, 2]
    assert [record.seed for _, record in find_records(tmp_path / "given")] == [0]
    assert cli._entry("classification").seeds == 1


def test_a_suite_needs_no_published_figures(command, tmp_path):
    ended = command("benchmark", "smoke", "--only=hopfield", "--out=here", "--quiet")
    assert ended.code == 0, ended.err
    page = (tmp_path / "here" / "smoke" / "results.md").read_text()
    assert "### Hopfield" in page
    assert "There are no published figures to run against." in page
    assert (tmp_path / "here" / "smoke" / "report.html").exists()


def test_published_figures_that_are_asked_for_are_read_before_the_first_run(command, tmp_path):
    ended = command("benchmark", "smoke", "--only=hopfield", "--out=here", "--published=mine.toml", "--quiet")
    assert ended.code == 2
    assert "mine.toml must hold published figures" in ended.err
    assert not (tmp_path / "here").exists()
