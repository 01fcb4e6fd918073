"""Statistics and tables against numbers worked out by hand."""

import math

import pytest

from hookean.report.statistics import mean_interval, paired
from hookean.report.table import paired_table, summary_table


def test_the_interval_is_students():
    found = mean_interval([1.0, 2.0, 4.0])
    # mean 7/3, variance ((4/3)^2 + (1/3)^2 + (5/3)^2) / 2 = 7/3, t(0.975, 2) = 4.302653
    assert found.mean == pytest.approx(7 / 3)
    assert found.sd == pytest.approx(math.sqrt(7 / 3))
    half = 4.302652730 * math.sqrt(7 / 3) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half))


def test_one_value_has_no_spread_and_none_is_refused():
    found = mean_interval([0.5])
    assert (found.mean, found.n) == (0.5, 1)
    assert math.isnan(found.sd)
    assert math.isnan(found.low)
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])


def test_pairs_are_common_seeds_only():
    found = paired({0: 1.0, 1: 3.0, 2: 9.0}, {0: 0.5, 1: 2.0, 5: 7.0})
    assert found is not None
    assert found.interval.n == 2
    assert found.interval.mean == pytest.approx(0.75)
    # t = 0.75 / (sqrt(0.125) / sqrt(2)) = 3 with one degree of freedom: p = 2/pi * atan(1/3)
    assert found.p == pytest.approx(2 / math.pi * math.atan(1 / 3))
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert math.isnan(paired({0: 1.0, 1: 1.0}, {0: 0.0, 1: 0.0}).p)
    # Differences of 0.1 each, which rounding makes differ.
    assert math.isnan(paired({0: 0.9, 1: 0.7, 2: 0.4}, {0: 0.8, 1: 0.6, 2: 0.3}).p)


def test_the_summary_counts_finished_seeds_only(example):
    records = [example(0), example(1), example(2, status="diverged", test=None)]
    (row,) = summary_table(records).rows
    assert row[:3] == ["Digits", "mlp", "PC"]
    assert row[3] == "90.50 ± 0.71"
    assert row[5] == "2 of 3"
    assert row[6:] == ["1.0e-02", "0.500", "3.0"]


def test_a_mean_over_some_of_the_seeds_says_over_how_many(example):
    found = [example(seed, shown=["loss"], test={"loss": loss}) for seed, loss in enumerate((1.0, 3.0, math.nan))]
    (row,) = summary_table(found).rows
    assert row[3:5] == ["2 ± 1.4 (2 of 3)", "3"]


def test_the_table_as_text_and_as_markdown_holds_every_cell(example):
    table = summary_table([example(0), example(0, label="B|P")])
    text, markdown = table.text(), table.markdown()
    assert "90.00" in text
    assert text.splitlines()[2].split()[0] == "data"
    assert "B\\|P" in markdown
    assert markdown.count("\n|") == 4


def test_paired_differences_have_a_sign_and_need_a_pair(example):
    assert paired_table([example(0), example(1)]) is None
    better = [example(s, label="PC") for s in range(2)]
    worse = [example(s, label="BP", test={"accuracy": 0.8 + 0.02 * s}) for s in range(2)]
    (row,) = paired_table(better + worse).rows
    assert row[2:4] == ["PC - BP", "+9.50"]
    assert row[-1] == "2"


def test_cells_of_other_data_are_not_paired(example):
    assert paired_table([example(0), example(0, label="BP", dataset="Iris")]) is None
