"""A process that is killed or asked to stop loses nothing that was saved."""

import json
import signal
import time

import pytest
from safetensors import safe_open

SMALL = (
    "run", "classification", "--dataset=two_moons", "--algorithm=PC", "--set=network.hidden=[8,6]",
    "--set=algorithm.steps=3", "--set=batch_size=30", "--set=subset=150", "--set=validation=60", "--set=evidence=0",
    "--quiet",
)  # fmt: skip
PLACE = "two_moons/mlp-of-3-layers/PC/seed-0"
MOST = 200  # seconds to wait for a process on a busy machine


def record(folder):
    path = folder / PLACE / "record.json"
    return json.loads(path.read_text()) if path.exists() else {"history": []}


def wait_for_epoch(child, folder, number):
    """Wait until a running process has recorded an epoch."""
    began = time.monotonic()
    while time.monotonic() - began < MOST:
        if any(entry["epoch"] >= number for entry in record(folder)["history"]):
            return
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    pytest.fail("the run did not come so far in time")


def tensors(folder):
    with safe_open(folder / PLACE / "checkpoint.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 (not a mapping)


def timeless(found):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in found["history"]]


def test_a_killed_run_goes_on_to_the_same_result(process, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    epochs = "--epochs=40"
    killed = process(*SMALL, epochs, "--out", parts)
    wait_for_epoch(killed, parts, 2)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(MOST) == -signal.SIGKILL
    killed.communicate()
    stopped = record(parts)
    assert stopped["status"] == "running"
    assert 2 <= stopped["history"][-1]["epoch"] < 40
    for folder, more in ((whole, ()), (parts, ("--resume",))):
        child = process(*SMALL, epochs, "--out", folder, *more)
        out, err = child.communicate(timeout=MOST)
        assert child.returncode == 0, err
        assert "Report:" in out
    expected, found = record(whole), record(parts)
    assert found["status"] == "finished"
    assert [entry["epoch"] for entry in found["history"]] == list(range(41))
    assert timeless(found) == timeless(expected)
    assert found["test"] == expected["test"]
    assert tensors(parts) == tensors(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_says_how_to_go_on(process, tmp_path, number):
    child = process(*SMALL, "--epochs=100000", "--set=optimiser.schedule=constant", "--out", tmp_path)
    wait_for_epoch(child, tmp_path, 1)
    child.send_signal(number)
    _, err = child.communicate(timeout=MOST)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "--resume" in err
    stopped = record(tmp_path)
    assert stopped["status"] == "interrupted"
    assert "--resume" in stopped["message"]


def test_divergence_is_recorded_and_is_an_error(process, tmp_path):
    rates = ("--set=algorithm.steps=8", "--set=algorithm.solver.rate=1e4")
    child = process(*SMALL, "--epochs=3", *rates, "--out", tmp_path)
    out, err = child.communicate(timeout=MOST)
    assert child.returncode == 1
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "PC on TwoMoons, seed 0: training diverged in epoch 1" in line
    assert "Lower algorithm.solver.rate" in line
    assert "Traceback" not in err
    assert "Report:" in out
    found = record(tmp_path)
    assert found["status"] == "diverged"
    assert "Lower algorithm.solver.rate" in found["message"]
    assert (tmp_path / "report.html").exists()
