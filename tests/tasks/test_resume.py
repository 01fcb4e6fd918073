"""A run that is stopped goes on to the same result, to the last bit; files that do not fit are refused."""

import errno
import json
import os

import numpy as np
import pytest
from safetensors import safe_open

from hookean.record import RecordError, read_arrays, read_record
from hookean.tasks.build import ConfigError
from hookean.tasks.checkpoint import CheckpointError
from hookean.tasks.train import Trainer


def tensors(folder):
    with safe_open(folder / "checkpoint.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def timeless(record):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in record.history]


def interrupted(monkeypatch, config, folder, *, after):
    """Run until `after` epochs are done, and interrupt the next one."""
    original = Trainer.epoch

    def epoch(self, state, number, reporter):
        if number == after:
            raise KeyboardInterrupt
        return original(self, state, number, reporter)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            config.run(folder, quiet=True)


# Two of the rules keep something from epoch to epoch: the sign of centred nudging, the updates within a batch.
@pytest.mark.parametrize("algorithm", [{"name": "CN", "steps": 2, "nudge": {"ramp": 0.1}}, {"name": "IPC", "steps": 2}])
def test_resuming_changes_nothing(small, tmp_path, monkeypatch, algorithm):
    config = small({"algorithm": algorithm, "optimiser": {"rate": 0.02, "schedule": "warmup_cosine"}})
    whole = config.run(tmp_path / "whole", quiet=True)
    interrupted(monkeypatch, config, tmp_path / "parts", after=2)
    stopped = read_record(tmp_path / "parts" / "record.json")
    assert stopped.status == "interrupted"
    assert "--resume" in stopped.message
    assert [entry["epoch"] for entry in stopped.history] == [0, 1, 2]
    resumed = config.run(tmp_path / "parts", resume=True, quiet=True)
    assert (resumed.status, resumed.message) == ("finished", None)
    assert timeless(resumed) == timeless(whole)
    assert (resumed.test, resumed.selected_epoch) == (whole.test, whole.selected_epoch)
    expected, found = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert array.tobytes() == found[name].tobytes(), name
    expected, found = read_arrays(tmp_path / "whole"), read_arrays(tmp_path / "parts")
    assert any(name.startswith("sample_error/") for name in expected)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name])


def test_a_finished_run_is_returned_as_it_is(small, tmp_path, monkeypatch):
    record = small().run(tmp_path, quiet=True)
    monkeypatch.setattr(Trainer, "epoch", None)
    again = small({"download": True}).run(tmp_path, resume=True, quiet=True)
    assert again == record
    with pytest.raises(ConfigError, match=r"holds a run already. Add --resume"):
        small().run(tmp_path, quiet=True)


@pytest.mark.parametrize(
    "change",
    [{"epochs": 5}, {"subset": None}, {"network": {"activation": "tanh"}}, {"algorithm": {"scale": 2.0}}, {"seed": 1}],
)
def test_another_configuration_is_refused(small, tmp_path, change):
    options = {"algorithm": {"name": "BP", "scale": 3.0}, "epochs": 1}
    small(options).run(tmp_path, quiet=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="made with another configuration"):
        small(options | change).run(tmp_path, resume=True, quiet=True)
    # With the option left out, too: it then asks for the default.
    with pytest.raises(ConfigError, match="made with another configuration"):
        small({"epochs": 1}).run(tmp_path, resume=True, quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_finished_run_is_kept_without_its_checkpoint(small, tmp_path):
    """Records travel without checkpoints: another configuration must not overwrite them, an option that is new may."""
    first = small({"epochs": 1}).run(tmp_path, quiet=True)
    (tmp_path / "checkpoint.safetensors").unlink()
    text = (tmp_path / "record.json").read_text()
    with pytest.raises(ConfigError, match=r"another configuration.*epochs is 1 there and 2 here.*another --out"):
        small({"epochs": 2}).run(tmp_path, resume=True, quiet=True)
    assert (tmp_path / "record.json").read_text() == text
    old = json.loads(text)
    del old["config"]["test"], old["config"]["network"]["precision"]
    (tmp_path / "record.json").write_text(json.dumps(old))
    assert small({"epochs": 1}).run(tmp_path, resume=True, quiet=True).started == first.started
    old["config"]["subset"] = 40  # an option that stands there is not one that did not exist
    (tmp_path / "record.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"subset is 40 there and not set here"):
        small({"epochs": 1, "subset": None}).run(tmp_path, resume=True, quiet=True)
    old["config"]["subset"] = None
    (tmp_path / "record.json").write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r"another configuration.*network.precision is not set there and 2.0 here"):
        small({"epochs": 1, "network": {"precision": 2.0}}).run(tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"hidden": [8, 5]}}, "must have shape .* got .*belongs to another network"),
        ({"network": {"hidden": [8]}}, "lacks .* and has .* too much. It belongs to another network"),
        ({"optimiser": {"name": "sgd"}}, "lacks .*It belongs to another network, algorithm or optimiser"),
    ],
)
def test_the_checkpoint_of_another_network_is_refused(small, tmp_path, change, message):
    small({"epochs": 1}).run(tmp_path, quiet=True)
    (tmp_path / "record.json").unlink()
    with pytest.raises(CheckpointError, match=message):
        small({"epochs": 1} | change).run(tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "no header"])
def test_a_broken_checkpoint_is_refused(small, tmp_path, monkeypatch, damage):
    interrupted(monkeypatch, small(), tmp_path, after=1)
    path = tmp_path / "checkpoint.safetensors"
    if damage == "no header":
        from safetensors.numpy import save_file

        save_file({"a": np.zeros(3)}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"\xff" * 999, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"is not a readable checkpoint .* Delete it, or start again"):
        small().run(tmp_path, resume=True, quiet=True)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(small, tmp_path, monkeypatch, call):
    config = small()
    interrupted(monkeypatch, config, tmp_path, after=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    original = Trainer.epoch

    def epoch(self, state, number, reporter):
        done = original(self, state, number, reporter)
        patch.setattr(os, call, full)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch", epoch)
        with pytest.raises(RecordError, match=r"checkpoint.safetensors could not be written: No space left on device"):
            config.run(tmp_path, resume=True, quiet=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert config.run(tmp_path, resume=True, quiet=True).status == "finished"
