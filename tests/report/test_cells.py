"""Cells of a table: one run per seed, and no number from a run that broke off."""

import dataclasses
import math

import pytest

from hookean.record import write_record
from hookean.report.results import results_page
from hookean.report.table import cells, summary_table


def test_two_different_runs_of_one_seed_are_refused_in_either_order(example):
    one, other = example(1), example(1, config=example().config | {"epochs": 9}, test={"accuracy": 0.5})
    for records in ([one, other], [other, one]):
        with pytest.raises(ValueError, match=r"two different runs are called 'PC' on Digits with mlp, seed 1"):
            summary_table(records)


def test_the_same_run_given_twice_counts_once(example):
    # float("nan") makes a new object each time: one and the same would be equal to itself inside a list.
    def run(seed):
        return example(seed, history=[{"epoch": 1, "valid": {"energy": float("nan")}}])

    twice = [run(1), run(0), run(1), run(0)]
    (group,) = cells(twice).values()
    assert [record.seed for record in group] == [0, 1]
    (row,) = summary_table(twice).rows
    assert row[5] == "2"


def test_time_and_evidence_come_from_runs_that_have_them(example):
    slow = example(1, status="diverged", test=None, seconds={"total": 900.0})
    lost = [{"epoch": 1, "residual": math.nan, "cosine": {"h1": math.nan, "y": 0.2}}]
    (row,) = summary_table([example(0), dataclasses.replace(slow, history=lost)]).rows
    assert row[6:] == ["1.0e-02", "0.500", "3.0"]
    (row,) = summary_table([dataclasses.replace(slow, history=lost)]).rows
    assert row[3:] == ["-", "-", "0 of 1", "-", "-", "-"]


def test_a_reduced_run_does_not_mix_with_the_full_run_of_the_same_name(example, tmp_path):
    (tmp_path / "published.toml").write_text("figure = []\n")
    evidence = [{"epoch": 2, "residual": 0.9, "cosine": {"h1": 0.1, "y": 0.2}}]
    small = example(0, dataset="MNIST", config=example().config | {"subset": 500}, history=evidence)
    write_record(tmp_path / "records" / "full", example(0, dataset="MNIST"))
    write_record(tmp_path / "records" / "small", small)
    text = results_page(tmp_path / "records", tmp_path / "published.toml")
    assert "| MNIST | mlp | PC | 0.01 | 0.500 / 0.900 |" in text
    assert "| MNIST | mlp | PC (reduced) | 0.9 | 0.100 / 0.200 |" in text
