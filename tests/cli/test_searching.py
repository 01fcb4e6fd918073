"""`hookean search`: its table, its errors, and that a process that is killed costs no trial."""

import json
import re
import signal
import time
import tomllib

import pytest

pytest.importorskip("optuna", reason="a search needs the extra `search`")
from hookean.tasks import Search
from hookean.tasks.config import configure

SEARCH = """
task = "search"
trials = 3
sampler = "random"

[trial]
dataset = "two_moons"
algorithm = "BP"
epochs = 40
batch_size = 30
subset = 150
validation = 60
network = { name = "mlp", hidden = [4] }

[space]
optimiser.rate = { low = 0.001, high = 0.1, log = true }
"""
MOST = 200  # seconds to wait for a process on a busy machine


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SEARCH)
    return path


def test_a_killed_process_costs_no_trial(process, preset, tmp_path):
    """Two processes go on: what had ended is kept, and the trial that was killed goes on from its checkpoint."""
    folder = tmp_path / "out" / "TwoMoons" / "mlp of 2 layers" / "accuracy by random" / "seed-0"
    words = ("search", preset, "--out", tmp_path / "out", "--pruner=none", "--quiet")
    killed = process(*words)
    began, running = time.monotonic(), folder / "trials" / "0001" / "record.json"
    while not (running.exists() and len(json.loads(running.read_text())["history"]) > 2):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() - began < MOST
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    ended, stopped = (folder / "trials" / "0000.json").read_bytes(), json.loads(running.read_text())
    assert 2 <= stopped["history"][-1]["epoch"] < 40
    child = process(*words, "--jobs=2")
    out, err = child.communicate(timeout=MOST)
    assert child.returncode == 0, err
    assert "3 of 3 trials came to an end" in out
    assert f"hookean run '{folder / 'best.toml'}'" in out
    assert (folder / "trials" / "0000.json").read_bytes() == ended
    again = json.loads((folder / "trials" / "0001.json").read_text())
    assert (again["started"], again["status"], again["test"]) == (stopped["started"], "finished", None)
    trials = configured(preset).open(folder).study.trials
    states = [trial.state.name for trial in trials]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[2].params == trials[1].params
    assert trials[2].user_attrs["again"] == 1
    assert sorted(trials[2].intermediate_values) == list(range(1, 41))
    assert json.loads((folder / "trials.json").read_text())["best"] != []


def configured(preset):
    values = tomllib.loads(preset.read_text())
    values.pop("task")
    return configure(Search, values | {"pruner": "none"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp-mnist-pc-se"], "is no search: it must say task = 'search'"),
        (["mine.toml", "--sampler", "cmaes"], "sampler: .*'tpe', 'random' or 'nsgaii', got 'cmaes'"),
        (["mine.toml", "--set", "space.epoch=[1,2]"], "'epoch' is not an option of classification"),
        (["mine.toml", "--set", "objectives=['speed']"], "There is no objective called 'speed'"),
        (["mine.tom"], "no task or preset called 'mine.tom'"),
    ],
)
def test_wrong_commands_are_named(command, preset, arguments, message):
    ended = command("search", *arguments)
    assert ended.code == 2
    assert re.search(message, ended.err), ended.err
