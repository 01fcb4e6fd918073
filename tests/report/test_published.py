"""What the page of results may not hide: failed seeds, shortened runs, figures without a source."""

from collections import Counter
from pathlib import Path

import pytest

from hookean.record import write_record
from hookean.report.results import read_published, results_page

FIGURES = Path(__file__).parents[2] / "docs" / "published.toml"
ENTRY = """
[[figure]]
dataset = "Digits"
network = "mlp"
label = "PC"
epochs = 2
value = 0.92
verified = true
source = "somebody (2025)"
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "published.toml").write_text(ENTRY.replace("Digits", "MNIST"))

    def make(*records):
        for i, record in enumerate(records):
            write_record(tmp_path / "records" / f"{i}", record)
        return results_page(tmp_path / "records", tmp_path / "published.toml")

    return make


def _rows(text, start):
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith(start)]


def test_seeds_that_failed_are_counted(page, example):
    failed = example(2, dataset="MNIST", status="diverged", test=None, message="x", seconds={"total": 900.0})
    text = page(example(0, dataset="MNIST"), example(1, dataset="MNIST"), failed)
    row = _rows(text, "| MNIST | mlp | PC |")[0]
    assert row[7] == "2 of 3"
    assert row[4] == "90.50 ± 0.71"
    assert row[10] == "3"  # the time of the run that broke off is not the time of a run


def test_a_cell_in_which_every_seed_failed_has_a_row(page, example):
    text = page(*(example(s, dataset="MNIST", status="diverged", test=None, message="x") for s in range(2)))
    row = _rows(text, "| MNIST | mlp | PC |")[0]
    assert row[4:8] == ["-", "-", "-", "0 of 2"]
    assert row[3] == "92.00"
    assert row[10] == "-"


@pytest.mark.parametrize(("epochs", "stands_beside"), [(1, False), (2, True), (3, True)])
def test_fewer_epochs_than_published_are_a_reduced_run(page, example, epochs, stands_beside):
    config = example().config | {"epochs": epochs}
    text = page(*(example(s, dataset="MNIST", config=config) for s in range(2)))
    assert ("## Reduced runs" not in text) is stands_beside
    row = _rows(text, "| MNIST | mlp | PC |")[0]
    assert row[3] == ("92.00" if stands_beside else "-")
    assert f"{epochs} epochs" in row[8]


def test_every_published_figure_has_a_source_and_no_cell_has_two_of_a_kind():
    figures = read_published(FIGURES)
    assert all(figure.source and figure.epochs for figure in figures)
    assert all(0 < figure.value < 1 for figure in figures if figure.measure == "accuracy")
    kinds = Counter(
        (f.task, f.measure, f.dataset, f.network, f.label, f.verified, "tuning" in f.source) for f in figures
    )
    assert set(kinds.values()) == {1}


def test_what_was_not_checked_is_never_called_verified():
    figures = read_published(FIGURES)
    unchecked = [figure for figure in figures if "not checked" in figure.source]
    assert unchecked
    assert all("(unverified)" in figure.text() and not figure.verified for figure in unchecked)
    assert all("not checked" in figure.source for figure in figures if not figure.verified)
