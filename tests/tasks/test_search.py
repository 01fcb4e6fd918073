"""Searches: the space, who counts the trials, what becomes of stopped and wrong ones, no look at the test split."""

import dataclasses
import json
import math
import threading
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="a search needs the extra `search`")
import filelock

from hookean.cli import _entry, _presets
from hookean.data import TwoMoons
from hookean.data.dataset import Data, DataError
from hookean.record import Record, read_record, write_record
from hookean.tasks import Classification, Depth, Search
from hookean.tasks.build import ConfigError
from hookean.tasks.config import configure
from hookean.tasks.grid import study
from hookean.tasks.space import read_space
from hookean.tasks.trials import ATTEMPTS, Trials

SPACE = {
    "algorithm": ["PC", "BP"],
    "algorithm.steps": {"low": 1, "high": 8, "when": {"algorithm": "PC"}},
    "optimiser": {"rate": {"low": 1e-4, "high": 1e-1, "log": True}},
    "network.hidden": [[8], [8, 8]],
}
SMALL = {
    "trial": {
        "dataset": "two_moons",
        "epochs": 2,
        "algorithm": "BP",
        "batch_size": 30,
        "subset": 150,
        "validation": 60,
    },
    "space": {"network.hidden": [[4], [8]], "optimiser.rate": {"low": 1e-3, "high": 1e-1, "log": True}},
    "trials": 3,
}


def search(changes=()):
    return configure(Search, {"space": SPACE} | dict(changes))


# The space


def test_a_space_holds_ranges_choices_and_conditions():
    space = {dimension.path: dimension for dimension in read_space(SPACE)}
    assert list(space) == ["algorithm", "algorithm.steps", "optimiser.rate", "network.hidden"]
    assert space["algorithm.steps"].whole
    assert not space["optimiser.rate"].whole
    assert space["algorithm.steps"].set({"algorithm": "PC"})
    assert not space["algorithm.steps"].set({"algorithm": "BP"})
    assert not space["algorithm.steps"].set({})
    assert space["network.hidden"].value("[8, 8]") == [8, 8]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space must name at least one option"),
        ({"algorithm.steps": {"low": 4, "high": 4}}, "space.algorithm.steps: low must be a number below high"),
        ({"algorithm": {"steps": {"low": 8, "high": 1}}}, "space.algorithm.steps: low must .* got low 8 and high 1"),
        ({"epochs": {"low": "a", "high": 4}}, "low must be a number"),
        ({"epochs": {"high": 4, "lows": 1}}, "no option 'lows'. Did you mean 'low'"),
        ({"optimiser.rate": {"low": 0.0, "high": 1.0, "log": True}}, "log .* needs a positive low"),
        ({"epochs": {"low": 1, "high": 4, "step": 9}}, r"step must lie in \(0, 3\]"),
        ({"epochs": {"low": 1, "high": 4, "step": 1, "log": True}}, "step must lie"),
        ({"epochs": {"low": 1, "high": 3, "step": 0.5}}, "space.epochs: .* whole step, got 0.5; write 1.0"),
        ({"epochs": []}, "must be a list with at least one value"),
        ({"epochs": {"choices": [1], "low": 3}}, "must be a list"),
        ({"epochs": 3}, "space.epochs must be a list of choices or a section"),
        ({"epochs": {"low": 1, "high": 2, "when": {"network": 1}}}, "when must name an option that stands above it"),
        ({"epoch": {"low": 1, "high": 2}}, "space.epoch: none .* 'epoch' is not an option .* Did you mean 'epochs'"),
        ({"algorithm.stepps": {"low": 1, "high": 2}}, "PC has no option 'stepps'. Did you mean 'steps'"),
        ({"optimiser.rate": [-1, "a"]}, "space.optimiser.rate: none of its values makes a config"),
        ({"algorithm": ["BP"], "algorithm.steps": {"low": 1, "high": 2}}, "BP has no option 'steps'"),
    ],
)
def test_wrong_spaces_are_named(space, message):
    with pytest.raises(ConfigError, match=message):
        search({"space": space}).check()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"objectives": ["acuracy"]}, ValueError, "no objective called 'acuracy'. Did you mean 'accuracy'"),
        ({"objectives": ["passes", "passes"]}, ConfigError, "objectives must differ"),
        ({"objectives": ["accuracy", "passes"], "pruner": "median"}, ConfigError, "pruner must be none"),
        ({"objectives": ["passes"], "pruner": "halving"}, ConfigError, "pruner must be none"),
        ({"trial": {"task": "sampling"}}, ValueError, "no task to search over called 'sampling'"),
        ({"trial": {"dataset": "digit"}}, ValueError, "no data set called 'digit'"),
    ],
)
def test_wrong_searches_are_named(changes, kind, message):
    with pytest.raises(kind, match=message):
        search(changes).check()


@pytest.mark.parametrize("changes", [{"sampler": "cmaes"}, {"objectives": []}, {"trials": 0}, {"minutes": 0}])
def test_wrong_options_are_named(changes):
    with pytest.raises(ConfigError, match=f"^{next(iter(changes))}: .* got"):
        search(changes)


def test_no_pruner_is_not_the_default_pruner():
    used = {given: search({"pruner": given} if given else {})._pruner() for given in (None, "halving", "none")}
    assert used == {None: "median", "halving": "halving", "none": "none"}


def test_a_choice_that_makes_no_config_is_left_to_its_trial():
    search({"space": {"optimiser.rate": [-1, 0.1]}}).check()


def test_a_trial_never_asks_for_the_test_split():
    config = search({"trial": {"test": True, "task": "depth"}}).config({"layers": 4, "optimiser.rate": 0.5})
    assert isinstance(config, Depth)
    assert (config.test, config.layers, config.optimiser.rate) == (False, 4, 0.5)


def test_the_search_of_the_page_is_a_search():
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    values = tomllib.loads(page.split("```toml")[1].split("```")[0])
    values.pop("task")
    config = configure(Search, values)
    config.check()
    point = {"algorithm": "BP", "network.output.precision": 2.0, "width": 32}
    assert config.config(point).network_options()["output"] == {"precision": 2.0}


@pytest.mark.parametrize("name", [name for name in _presets() if name.startswith("search-")])
def test_presets_are_searches(name):
    entry = _entry(name)
    assert entry.task is Search
    configure(Search, entry.values).check()


# The trials, of runs that are made up


@dataclasses.dataclass
class Run:
    """Stands for the config of a trial; its figures follow from its options."""

    point: dict
    fate: object
    epochs: int = 3

    def check(self):
        if self.fate == "invalid":
            raise ConfigError("width must be even.")

    def run(self, folder, *, resume, quiet, watch):
        assert resume
        assert quiet
        if isinstance(self.fate, BaseException):
            raise self.fate
        figure = math.nan if self.fate == "nan" else 1 - abs(self.point["x"] - 0.3)
        record = Record("t", "l", "a", "n", "d", 0, {}, {}, "now", seconds={"train": 1.0})
        record.passes, record.parameters, record.selected_epoch = 2 + self.point["k"], 7, self.epochs
        for epoch in range(self.epochs + 1):
            record.history.append({"epoch": epoch, "valid": {"accuracy": figure * (1 + epoch) / (1 + self.epochs)}})
            stop = watch(record) if watch is not None and epoch else None
            if stop:
                record.status, record.message = "interrupted", stop
                break
        else:
            record.status = "diverged" if self.fate == "diverged" else "finished"
            record.message = "lower the rate" if self.fate == "diverged" else None
        write_record(folder, record)
        return record


def trials(folder, fates=None, **changes):
    """Return trials over x in [0, 1] and k in 1..9; the n-th that runs has the n-th fate."""
    space = read_space({"x": {"low": 0.0, "high": 1.0}, "k": {"low": 1, "high": 9}})
    given = iter(fates or [])
    options = {"objectives": ["accuracy"], "sampler": "random", "pruner": "none", "seed": 0} | changes
    return Trials(folder, "made up", "same", lambda point: Run(point, next(given, "")), space, **options)


def work(made, number, seconds=math.inf):
    told = []
    made.work(number, seconds, told.append)
    return told


def points(made):
    return [made.point(trial) for trial in made.counted()]


def states(made):
    return [trial.state.name for trial in made.study.trials]


def test_trials_are_counted_over_sessions_and_their_records_kept(tmp_path):
    assert len(work(trials(tmp_path), 3)) == 3
    again = trials(tmp_path)
    assert len(work(again, 5)) == 2
    assert work(trials(tmp_path), 5) == []
    for trial in again.counted():
        record = read_record(tmp_path / "trials" / f"{trial.number:04d}.json")
        assert trial.value == record.history[-1]["valid"]["accuracy"] == 1 - abs(trial.params["x"] - 0.3)
        assert trial.user_attrs["run"] == {"passes": 2 + trial.params["k"], "parameters": 7, "seconds": 1}
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsgaii"])
def test_a_search_that_goes_on_proposes_what_it_would_have_proposed(tmp_path, sampler):
    whole = trials(tmp_path / "whole", sampler=sampler)
    work(whole, 14)
    work(trials(tmp_path / "parts", [""] * 3 + [KeyboardInterrupt()], sampler=sampler), 3)
    with pytest.raises(KeyboardInterrupt):
        work(trials(tmp_path / "parts", [KeyboardInterrupt()], sampler=sampler), 14)
    parts = trials(tmp_path / "parts", sampler=sampler)
    assert states(parts) == ["COMPLETE"] * 3 + ["FAIL", "WAITING"]
    work(parts, 14)
    assert points(parts) == points(whole)
    assert len({point["x"] for point in points(whole)}) == 14
    other = trials(tmp_path / "other", sampler=sampler, seed=1)
    work(other, 2)
    assert points(other) != points(whole)[:2]


def test_a_wrong_trial_does_not_stop_the_others(tmp_path):
    fates = ["", "invalid", "diverged", RuntimeError("RESOURCE_EXHAUSTED: out of memory\nat"), "nan", ""]
    made = trials(tmp_path, fates)
    work(made, 6)
    assert states(made) == ["COMPLETE", "FAIL", "FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert [trial.user_attrs.get("reason") for trial in made.study.trials] == [
        None,
        "invalid: width must be even.",
        "lower the rate",
        "RESOURCE_EXHAUSTED: out of memory",
        "the run has no finite accuracy",
        None,
    ]


@pytest.mark.parametrize("error", [DataError("no such data"), KeyboardInterrupt()])
def test_what_stops_the_search_does_not_use_up_a_trial(tmp_path, error):
    work(trials(tmp_path), 1)
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(type(error)):
            work(trials(tmp_path, [error]), 4)
    made = trials(tmp_path)
    work(made, 4)
    assert len(made.counted()) == 4
    assert all(trial.state.name == "COMPLETE" for trial in made.counted())


def test_a_trial_whose_process_is_gone_is_begun_again_with_its_values(tmp_path):
    first = trials(tmp_path)
    work(first, 1)
    for number in range(ATTEMPTS):  # begun, and never ended
        trial, lock = first._begin(1)
        x = trial.suggest_float("x", 0, 1)
        assert trial.number == 1 + number
        lock.release()
        first._retry_killed()
    assert states(first) == ["COMPLETE"] + ["FAIL"] * ATTEMPTS
    assert len({trial.params["x"] for trial in first.study.trials[1:]}) == 1
    assert x == first.study.trials[1].params["x"]
    assert [trial.user_attrs.get("place") for trial in first.study.trials[2:]] == [1] * (ATTEMPTS - 1)
    assert [trial.number for trial in first.counted()] == [0, ATTEMPTS]
    assert len(work(first, 3)) == 1  # the one that was killed each time counts as failed


def test_a_trial_of_a_living_process_is_left_alone(tmp_path):
    first, second = trials(tmp_path), trials(tmp_path)
    _, lock = first._begin(0)
    assert len(work(second, 2, seconds=1.0)) == 1  # waits for the other one until its time is up
    assert states(second) == ["RUNNING", "COMPLETE"]
    assert isinstance(lock, filelock.BaseFileLock)
    lock.release()
    assert [trial.number for trial in work(second, 2)] == [2]
    assert states(second) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_that_ends_while_another_process_looks_is_not_begun_again(tmp_path, monkeypatch):
    made = trials(tmp_path)
    trial = made.study.ask()
    look, first = made.study.get_trials, iter([True])

    def ends_after_the_look(**options):
        found = look(**options)
        if next(first, False):
            made.study.tell(trial.number, 0.5)
        return found

    monkeypatch.setattr(made.study, "get_trials", ends_after_the_look)
    made._retry_killed()
    assert states(made) == ["COMPLETE"]


def test_several_workers_share_one_count(tmp_path):
    shares = {name: [] for name in "abc"}
    workers = [
        threading.Thread(target=trials(tmp_path).work, args=(20, math.inf, share.append)) for share in shares.values()
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ended = sorted(trial.number for share in shares.values() for trial in share)
    assert ended == list(range(20))
    assert len({point["x"] for point in points(trials(tmp_path))}) == 20


def test_trials_that_lie_behind_are_given_up(tmp_path):
    made = trials(tmp_path, pruner="median", sampler="random")
    work(made, 25)
    pruned = [trial for trial in made.study.trials if trial.state.name == "PRUNED"]
    complete = [trial for trial in made.study.trials if trial.state.name == "COMPLETE"]
    assert pruned
    assert len(complete) > 5
    assert max(1 - abs(trial.params["x"] - 0.3) for trial in pruned) < max(trial.value for trial in complete)
    for trial in pruned:
        assert max(trial.intermediate_values) < 3
        assert f"pruned after epoch {max(trial.intermediate_values)}" in trial.user_attrs["reason"]
    assert all(set(trial.intermediate_values) == {1, 2, 3} for trial in complete)


def test_a_folder_of_another_search_is_refused(tmp_path):
    trials(tmp_path)
    with pytest.raises(ConfigError, match=r"holds a search with other options. Choose another --out"):
        dataclasses.replace(trials(tmp_path), config="other")


# Searches


class Blind(Data):
    """Data whose test split nobody may look at once they are loaded."""

    def __getattribute__(self, name):
        if name == "test" and "loaded" in object.__getattribute__(self, "__dict__"):
            raise AssertionError("the test split was looked at")
        return object.__getattribute__(self, name)


@pytest.fixture
def blind(monkeypatch):
    load = TwoMoons.load

    def blinded(self, **named):
        data = load(self, **named)
        data = Blind(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
        object.__setattr__(data, "loaded", True)
        return data

    monkeypatch.setattr(TwoMoons, "load", blinded)


def test_a_search_leaves_the_front_and_never_looks_at_the_test_split(tmp_path, blind):
    values = SMALL | {"objectives": ["accuracy", "parameters"], "label": "s"}
    record = configure(Search, values).run(tmp_path, quiet=True)
    found = json.loads((tmp_path / "trials.json").read_text())
    figures = {row["number"]: tuple(row["values"].values()) for row in found["trials"]}
    beaten = {
        n for n, (a, p) in figures.items() if any(b >= a and q <= p and (b, q) != (a, p) for b, q in figures.values())
    }
    assert set(found["best"]) == set(figures) - beaten
    best = max(accuracy for accuracy, _ in figures.values())
    assert (record.status, record.test["held-out accuracy"], record.test["trials"]) == ("finished", best, 3)
    assert record.shown[:2] == ["held-out accuracy", "parameters"]
    titles = [chart.title for chart in record.charts]
    assert titles[:3] == [
        "Search: held-out accuracy over the trials",
        "Search: parameters over the trials",
        "Search: Pareto front",
    ]
    (line,) = record.charts[2].lines.values()
    assert set(zip(line["y"], line["x"], strict=True)) == {figures[number] for number in found["best"]}
    preset = tomllib.loads((tmp_path / "best.toml").read_text())
    configs = study(Classification, {k: v for k, v in preset.items() if k not in ("task", "about")}, {}, 1)
    rows = [row for row in found["trials"] if row["number"] in found["best"]]
    assert all(config.test for config in configs)
    assert {(str(config.network["hidden"]), config.optimiser.rate) for config in configs} == {
        (str(row["options"]["network.hidden"]), row["options"]["optimiser.rate"]) for row in rows
    }
    stored = read_record(tmp_path / "trials" / "0000.json")
    assert (stored.test, stored.config["test"], stored.status) == (None, False, "finished")
    assert configure(Search, values).run(tmp_path, resume=True, quiet=True).started == record.started
    more = configure(Search, values | {"trials": 4}).run(tmp_path, resume=True, quiet=True)
    assert (more.status, more.test["trials"]) == ("finished", 4)
    with pytest.raises(AssertionError, match="looked at"):  # the guard does see a look
        configs[0].run(tmp_path / "best", quiet=True)


def test_of_trials_with_the_same_figure_one_is_the_best(tmp_path):
    space = {"label": ["a", "b", "c"]}
    configure(Search, SMALL | {"space": space, "sampler": "random"}).run(tmp_path, quiet=True)
    found = json.loads((tmp_path / "trials.json").read_text())
    assert len({row["values"]["accuracy"] for row in found["trials"]}) == 1
    assert found["best"] == [0]
    assert "variants" not in tomllib.loads((tmp_path / "best.toml").read_text())


def test_a_search_whose_time_is_up_or_that_is_asked_for_more_goes_on(tmp_path, monkeypatch, capsys):
    space = {"label": ["a", "b", "c", "d"]}
    values = SMALL | {"space": space, "sampler": "random", "trials": 2}
    record = configure(Search, values | {"minutes": 1e-9}).run(tmp_path, quiet=True)
    stored = read_record(tmp_path / "record.json")
    assert (record.status, record.test["trials"]) == (stored.status, stored.test["trials"]) == ("interrupted", 0)
    assert "after 0 of 2 trials. Run the same command again to go on" in stored.message
    record = configure(Search, values | {"minutes": 5}).run(tmp_path, resume=True, quiet=True)
    assert (record.status, record.message, record.test["trials"]) == ("finished", None, 2)
    again = configure(Search, values | {"minutes": 5}).run(tmp_path, resume=True, quiet=True)
    assert again.started == record.started

    own = Trials.work

    def unseen(self, number, seconds, tell):  # as if other processes had done it all
        own(self, number, seconds, lambda trial: None)

    monkeypatch.setattr(Trials, "work", unseen)
    record = configure(Search, values | {"trials": 3}).run(tmp_path, resume=True)
    assert (record.status, record.test["trials"]) == ("finished", 3)
    assert "trials: 3/3" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="another configuration"):
        configure(Search, values | {"trials": 4, "sampler": "tpe"}).run(tmp_path, resume=True)


def test_a_search_without_a_single_figure_says_why(tmp_path):
    space = {"batch_size": [151, 1000]}
    record = configure(Search, SMALL | {"space": space, "trials": 2}).run(tmp_path, quiet=True)
    assert record.status == "diverged"
    assert "batch_size must be at most the number of training samples, 90" in record.message
    assert not (tmp_path / "best.toml").exists()


def test_a_run_can_be_watched_and_ended_and_leave_the_test_split_alone(small, tmp_path, blind):
    seen = []

    def watch(record):
        seen.append(record.history[-1]["epoch"])
        return "enough" if seen[-1] == 2 else None

    config = small({"test": False, "epochs": 3})
    record = config.run(tmp_path, quiet=True, watch=watch)
    assert seen == [1, 2]
    assert (record.status, record.message, record.test) == ("interrupted", "enough", None)
    again = config.run(tmp_path, resume=True, quiet=True)
    assert (again.status, again.message, again.test, again.confusion) == ("finished", None, None, None)
    accuracies = [entry["valid"]["accuracy"] for entry in again.history]
    assert len(accuracies) == 4
    assert again.selected_epoch == accuracies.index(max(accuracies))
