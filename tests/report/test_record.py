"""Records: round trip, atomic writing, and one clear message for everything that can be wrong with a file."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from hookean import record as room
from hookean.record import RecordError, find_records, read_arrays, read_record, write_arrays, write_record


def test_a_record_survives_the_round_trip(example, tmp_path):
    write_record(tmp_path, example(3, relaxation={"last": {"steps": [0, 1], "energies": {"y": [1.0, 0.5]}}}))
    assert read_record(tmp_path / "record.json") == example(
        3, relaxation={"last": {"steps": [0, 1], "energies": {"y": [1.0, 0.5]}}}
    )


def test_records_are_found_at_any_depth_in_order(example, tmp_path):
    for seed in (1, 0):
        write_record(tmp_path / "a" / f"seed-{seed}", example(seed))
    assert [record.seed for _, record in find_records(tmp_path)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a record of schema 1"),
        ('{"schema": 2}', "must be a record of schema 1"),
        ('{"schema": 1, "task": "x"}', "missing or unknown fields"),
    ],
)
def test_a_broken_record_is_named(tmp_path, text, message):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=message) as caught:
        read_record(tmp_path / "record.json")
    assert "record.json" in str(caught.value)


def test_a_missing_record_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"absent.*cannot be read"):
        read_record(tmp_path / "absent" / "record.json")


def test_a_full_disk_leaves_the_old_record(example, tmp_path, monkeypatch):
    write_record(tmp_path, example(0))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room.os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device"):
        write_record(tmp_path, example(1))
    assert read_record(tmp_path / "record.json") == example(0)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_written_files_can_be_read_by_others_as_far_as_the_umask_says(example, tmp_path):
    write_record(tmp_path, example())
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (tmp_path / "record.json").stat().st_mode == plain.stat().st_mode


def test_arrays_survive_the_round_trip_and_a_broken_file_is_named(tmp_path):
    assert read_arrays(tmp_path) == {}
    given = {"sample_images": np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1), "sample_error/h1": np.ones((1, 3))}
    write_arrays(tmp_path, given)
    found = read_arrays(tmp_path)
    assert found.keys() == given.keys()
    for name in given:
        np.testing.assert_array_equal(found[name], given[name])
    (tmp_path / "arrays.npz").write_bytes(b"no archive")
    with pytest.raises(RecordError, match="not a readable array file"):
        read_arrays(tmp_path)


def test_the_environment_names_what_a_figure_depends_on():
    found = room.environment()
    assert {"python", "jax", "equinox", "optax", "device", "cpu", "cores", "commit"} <= found.keys()
    assert json.loads(json.dumps(found)) == found
    assert Path(__file__).exists()
