"""Records and arrays that somebody cut off, edited or filled with what JSON and npz cannot hold."""

import errno
import json
import math

import numpy as np
import pytest

from hookean import record as room
from hookean.record import RecordError, read_arrays, read_record, write_arrays, write_record, write_text


def _strict(text):
    """Read JSON as other languages do, which know no NaN."""

    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_are_not_finite_survive_in_strict_json(example, tmp_path):
    history = [
        {"epoch": 1, "train": None, "valid": {"accuracy": 0.5, "energy": math.inf}, "energies": {"h1": math.nan}}
    ]
    relaxation = {"last": {"steps": [0, 1], "energies": {"y": [1.0, math.nan]}, "residual": [1.0, 0.5]}}
    write_record(tmp_path, example(history=history, relaxation=relaxation))
    _strict((tmp_path / "record.json").read_text())
    found = read_record(tmp_path / "record.json")
    (entry,) = found.history
    assert entry["train"] is None
    assert entry["valid"]["accuracy"] == 0.5
    assert math.isnan(entry["valid"]["energy"])
    assert math.isnan(entry["energies"]["h1"])
    assert found.relaxation["last"]["energies"]["y"][0] == 1.0
    assert math.isnan(found.relaxation["last"]["energies"]["y"][1])
    assert (found.message, found.confusion) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("status", "done", "`status` must be one of running, finished, diverged, interrupted, got 'done'"),
        ("status", 3, "`status` must be of type str, got 3"),
        ("seed", "0", "`seed` must be of type int, got '0'"),
        ("seed", True, "`seed` must be of type int, got True"),
        ("history", {"epoch": 1}, "`history` must be of type list"),
        ("config", [1], "`config` must be of type dict"),
        ("label", None, "`label` must be of type str, got None"),
    ],
)
def test_a_mistyped_field_is_named(example, tmp_path, name, value, message):
    write_record(tmp_path, example())
    path = tmp_path / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_record_that_is_not_text_is_named(tmp_path):
    (tmp_path / "record.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RecordError, match=r"record\.json is not valid JSON"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damaged_arrays_are_named(tmp_path, damage):
    write_arrays(tmp_path, {"a": np.arange(1000.0)})
    path = tmp_path / "arrays.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "flipped": bytes(flipped)}[damage])
    with pytest.raises(RecordError, match=r"arrays\.npz is not a readable array file"):
        read_arrays(tmp_path)


def test_pickles_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(RecordError, match="`sample_labels` must hold numbers"):
        write_arrays(tmp_path, {"sample_labels": objects})
    assert not (tmp_path / "arrays.npz").exists()
    np.savez(tmp_path / "arrays.npz", sample_labels=objects)
    with pytest.raises(RecordError, match="allow_pickle"):
        read_arrays(tmp_path)


@pytest.mark.parametrize("write", ["record", "arrays", "text"])
@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_at_any_stage_leaves_the_old_file_alone(example, tmp_path, monkeypatch, write, stage):
    writers = {
        "record": lambda seed: write_record(tmp_path, example(seed)),
        "arrays": lambda seed: write_arrays(tmp_path, {"a": np.full(3, seed)}),
        "text": lambda seed: write_text(tmp_path / "config.toml", f"seed = {seed}\n"),
    }
    writers[write](0)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    if stage == "fsync":
        monkeypatch.setattr(room.os, "fsync", full)
    else:
        monkeypatch.setattr(room.Path, "replace", full)
    with pytest.raises(RecordError, match="No space left on device") as caught:
        writers[write](1)
    assert str(path) in str(caught.value)
    assert "Free some space" in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_one_message(example, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(RecordError, match="could not be written"):
        write_record(tmp_path / "out", example())
