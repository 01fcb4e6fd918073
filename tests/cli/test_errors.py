"""Every wrong input of the command line: one message, no traceback, an exit code that is not zero."""

import errno
import os

import numpy as np
import pytest

from hookean import data
from hookean.data.dataset import AbstractDataset, Data, Split
from hookean.data.transform import Transform
from hookean.record import write_text

RUN = ("run", "classification")
SMALL = (
    *RUN, "--dataset=two_moons", "--algorithm=BP", "--epochs=1", "--set=network.hidden=[4]", "--set=batch_size=30",
    "--set=subset=150", "--set=validation=60", "--set=evidence=0", "--quiet", "--out=here",
)  # fmt: skip


class Broken(AbstractDataset):
    name = "Broken"
    summary = "a feature is not a number"
    reference = "none"
    task_kind = "classification"

    def load(self, *, root=None, download=False):
        features = np.zeros((20, 2), np.float32)
        features[3, 1] = np.nan
        split = Split(features, np.arange(20, dtype=np.int32) % 2)
        return Data("Broken", split, split, ("a", "b"), Transform())


def refused(ended, *fragments):
    assert ended.code == 2
    assert "Traceback" not in ended.err + ended.out
    assert ended.err.startswith("error: ")
    assert ended.err.count("error: ") == 1
    assert "HOOKEAN_DEBUG" not in ended.err  # that is for mistakes of the program
    for fragment in fragments:
        assert fragment in ended.err


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("run", "classificaton"), ["no task or preset called 'classificaton'", "Did you mean 'classification'?"]),
        (("run", "mlp-mnist-pc-s"), ["no task or preset called", "Did you mean 'mlp-mnist-pc-se'?"]),
        (("run", "absent.toml"), ["the preset absent.toml cannot be read: No such file"]),
        ((*RUN, "--dataset=digit"), ["no data set called 'digit'", "Did you mean 'Digits'?"]),
        ((*RUN, "--network=vgg6"), ["no network called 'vgg6'", "Did you mean 'vgg"]),
        ((*RUN, "--network=decoder"), ["decoder takes no inputs"]),
        ((*RUN, "--algorithm=ipcc"), ["no algorithm called 'ipcc'", "Did you mean 'IPC'?"]),
        ((*RUN, "--set=epoch=3"), ["'epoch' is not an option of classification", "Did you mean 'epochs'?"]),
        ((*RUN, "--set=algorithm.step=3"), ["algorithm PC has no option 'step'", "Did you mean 'steps'?"]),
        ((*RUN, "--set=algorithm.solver.rat=3"), ["solver Gradient has no option 'rat'", "Did you mean 'rate'?"]),
        ((*RUN, "--set=optimiser.rates=3"), ["'optimiser.rates' is not an option", "Did you mean 'optimiser.rate'?"]),
        ((*RUN, "--set=network.hiden=[3]"), ["network mlp has no option 'hiden'", "Did you mean 'hidden'?"]),
        ((*RUN, "--set=epochs=ten"), ["epochs: ", "got 'ten'"]),
        ((*RUN, "--set=seed=ten"), ["seed: ", "got 'ten'"]),
        ((*RUN, "--set=algorithm.steps=ten"), ["algorithm.steps ", "got 'ten'"]),
        ((*RUN, "--set=algorithm.steps=-1"), ["algorithm PC: steps must be at least 0, got -1"]),
        ((*RUN, "--set=algorithm.solver.rate=-1"), ["solver Gradient: rate must be a positive number, got -1.0"]),
        ((*RUN, "--set=algorithm.solver.momentum=1"), ["momentum must be in [0, 1), got 1.0"]),
        ((*RUN, "--set=network.hidden=[4,0]"), ["network mlp: every entry of hidden must be at least 1, got [4, 0]"]),
        ((*RUN, "--set=algorithm.solver=3"), ["algorithm.solver must be a name or a section of options, got 3"]),
        ((*RUN, "--set=network.hidden=ten"), ["network.hidden ", "got 'ten'"]),
        ((*RUN, "--set=algorithm.initial=Nil"), ["no initialiser called 'Nil'"]),
        ((*RUN, "--set=epochs"), ["--set takes key=value, got 'epochs'"]),
        ((*RUN, "--set==3"), ["--set takes key=value, got '=3'"]),
        (
            (*RUN, "--set=batch_size=5000"),
            ["batch_size must be at most the number of training samples, 1294, got 5000"],
        ),
        ((*RUN, "--set=validation=5000"), ["validation: "]),
        ((*RUN, "--network=vgg5"), ["network vgg5: images of (8, 8, 1) are too small"]),
        (("compare", "--algorithms=PC,XX"), ["no algorithm called 'XX'"]),
        (("list", "preset"), ["Did you mean 'presets'?"]),
        (("list", "algoritms"), ["no kind of thing to list called 'algoritms'", "Did you mean 'algorithms'?"]),
        (("report", "nowhere"), ["nowhere"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input(command, arguments, fragments):
    refused(command(*arguments), *fragments)


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "classification", "--sets=a"), ("nothing",), (*RUN, "--seeds=0")]
)
def test_wrong_usage(command, arguments):
    ended = command(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "Usage: " in ended.err


def test_a_preset_that_is_no_toml(command, tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = = 3\n")
    refused(command("run", "mine.toml"), "the preset mine.toml is not valid TOML", "line 1")
    (tmp_path / "mine.toml").write_text('task = "clasification"\n')
    refused(command("run", "mine.toml"), "no task called 'clasification'", "Did you mean 'classification'?")
    for seeds in ("0", "1.5", "true", '"three"'):
        (tmp_path / "mine.toml").write_text(f"seeds = {seeds}\n")
        refused(command("run", "mine.toml"), "the preset mine.toml must have a whole number of seeds from 1")


def test_data_that_are_not_there(command, monkeypatch, tmp_path):
    monkeypatch.setenv("HOOKEAN_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("HOOKEAN_CACHE", str(tmp_path / "cache"))
    refused(command(*RUN, "--dataset=mnist"), "no complete copy of mnist found", "HOOKEAN_DATA", "--download")


def test_data_that_are_not_numbers(command, monkeypatch):
    monkeypatch.setattr(data, "Broken", Broken, raising=False)
    refused(command(*RUN, "--dataset=broken"), "`inputs` must be finite; got nan first at index (3, 1)")


def test_a_folder_that_holds_a_run(command, tmp_path):
    assert command(*SMALL).code == 0
    refused(command(*SMALL), "holds a run already. Add --resume", "--out")
    assert command(*SMALL, "--resume").code == 0
    refused(command(*SMALL, "--resume", "--set=network.hidden=[5]"), "made with another configuration", "hidden")
    refused(command(*SMALL, "--resume", "--set=epochs=2"), "made with another configuration")
    place = tmp_path / "here/two_moons/mlp-of-2-layers/BP/seed-0"
    (place / "record.json").write_text("{")
    refused(command(*SMALL, "--resume"), "record.json is not valid JSON")
    (place / "record.json").unlink()
    (place / "checkpoint.safetensors").write_bytes(b"\xff" * 99)
    refused(command(*SMALL, "--resume"), "is not a readable checkpoint")


def test_a_folder_that_holds_a_run_of_a_later_seed(command, tmp_path):
    assert command(*SMALL, "--set=seed=1").code == 0
    refused(command(*SMALL, "--seeds=2"), "seed-1 holds a run already")
    assert not (tmp_path / "here/two_moons/mlp-of-2-layers/BP/seed-0").exists()


def test_an_interrupted_write_leaves_no_part(monkeypatch, tmp_path):
    def stop(descriptor):
        raise KeyboardInterrupt

    write_text(tmp_path / "record.json", "old")
    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "record.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_text() == "old"


def test_a_full_disk(command, monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(command(*SMALL), "could not be written: No space left on device", "--out")
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file()]


def test_a_mistake_of_the_program_says_how_to_see_more(command, monkeypatch):
    def broken(self, **options):
        raise IndexError("out of range")

    monkeypatch.setattr(data.TwoMoons, "load", broken)
    ended = command(*SMALL)
    assert ended.code == 2
    assert ended.err.startswith("error: IndexError: out of range\n")
    assert "HOOKEAN_DEBUG=1" in ended.err
    monkeypatch.setenv("HOOKEAN_DEBUG", "1")
    with pytest.raises(IndexError):
        command(*SMALL)
