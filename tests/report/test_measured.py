"""Experiments in the report, on the page of results and in the gallery: every measure, chart and image is there."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from builders import record

from hookean.record import Chart, Images, write_arrays, write_record
from hookean.report.gallery import MOST_INSIDE, write_gallery
from hookean.report.measured import charts, images
from hookean.report.page import write_report
from hookean.report.results import results_page
from hookean.report.table import measured_table


def run(label, seed, *, value, **changes):
    made = record(label=label, seed=seed)
    made.task = "toy"
    made.test, made.shown = {"mse": value, "steps": 10.0}, ["mse", "steps"]
    lines = {"a": {"x": [1.0, 10.0, 100.0], "y": [value, 2 * value, 3 * value]}, "b": {"x": [1.0, 10.0], "y": [1, 2]}}
    made.charts = [Chart("Error against size", "size", "error", lines, log="xy", reading="Lower is better.")]
    made.images = [Images("Digits", "digits", ["given", "found"], "Found below given.")]
    for name, change in changes.items():
        setattr(made, name, change)
    return made


@pytest.fixture
def folder(tmp_path):
    for label, base in (("one", 0.25), ("two", 0.5)):
        for seed in (0, 1):
            place = tmp_path / "results" / "toy" / "toy-small" / label / f"seed-{seed}"
            write_record(place, run(label, seed, value=base + seed / 16))
            write_arrays(place, {"digits": np.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)})
    return tmp_path / "results"


def test_the_table_has_a_column_for_every_measure():
    table = measured_table([run("one", 0, value=0.25), run("one", 1, value=0.75), run("two", 0, value=1.0)])
    assert table.header[3:5] == ["mse", "steps"]
    assert table.rows[0][3] == "0.5 ± 0.35"
    assert table.rows[1][3] == "1"


def test_a_diverged_run_stays_in_the_table():
    table = measured_table([run("one", 0, value=0.25), run("one", 1, value=9.0, status="diverged")])
    assert table.rows[0][3] == "0.25"
    assert table.rows[0][5] == "1 of 2"


def test_charts_of_one_title_are_means_over_seeds():
    ((chart, plot),) = charts({"one": [run("one", 0, value=0.25), run("one", 1, value=0.75)]})
    assert chart.title == "Error against size"
    (panel,) = plot.panels
    drawn = {tuple(line.get_ydata()) for line in panel.drawing.axes[0].lines}
    assert (0.5, 1.0, 1.5) in drawn
    assert panel.drawing.axes[0].get_xscale() == panel.drawing.axes[0].get_yscale() == "log"


def test_seeds_with_places_of_their_own_are_read_between_them():
    """Two parallel lines over the logarithm of x, at different places: the mean is the line between them everywhere."""
    runs = []
    for seed, (places, offset) in enumerate((([1.0, 10.0, 1000.0], -1.0), ([2.0, 50.0, 100.0, 5000.0], 1.0))):
        made = run("one", seed, value=1.0)
        lines = {"": {"x": places, "y": [float(np.log10(x)) + offset for x in places]}}
        made.charts = [Chart("Share", "energy", "share", lines, log="x")]
        runs.append(made)
    ((_, plot),) = charts({"one": runs})
    (line,) = (line for line in plot.panels[0].drawing.axes[0].lines if line.get_linestyle() == "-")
    np.testing.assert_array_equal(line.get_xdata(), [2, 10, 50, 100, 1000])
    np.testing.assert_allclose(line.get_ydata(), np.log10([2, 10, 50, 100, 1000]), atol=1e-12)


def test_images_without_their_array_are_left_out():
    shown = Images("Digits", "digits", ["given", "found"])
    assert images("one", shown, {}) is None
    assert images("one", shown, {"digits": np.zeros((3, 2, 4, 4))}) is None  # three rows, two names
    assert images("one", shown, {"digits": np.zeros((2, 2, 4, 4, 3), np.uint8)}) is not None


def test_the_report_and_the_page_of_results_show_an_experiment(folder, tmp_path):
    page = write_report([folder], tmp_path / "report.html").read_text()
    for part in ("Toy: ", "Error against size", "Lower is better.", "Found below given.", "0.2812 ± 0.044"):
        assert part in page
    published = tmp_path / "published.toml"
    published.write_text(
        "[[figure]]\ntask = 'toy'\nmeasure = 'mse'\ndataset = 'MNIST'\nnetwork = 'mlp'\nlabel = 'one'\nvalue = 0.2\n"
        "verified = true\nsource = 'somebody (2020)'\n"
        "[[figure]]\ntask = 'toy'\nmeasure = 'mse'\ndataset = 'Iris'\nnetwork = 'mlp'\nlabel = 'one'\nvalue = 0.3\n"
        "verified = true\nsource = 'somebody (2020)'\n"
    )
    text = results_page(folder, published, {"mnist-run": "no data"})
    assert "0.2812 ± 0.044 (published 0.2)" in text
    assert "- toy: one on Iris with mlp, mse 0.3" in text
    assert "- mnist-run: no data" in text


def test_the_gallery_has_a_file_for_every_picture(folder, tmp_path):
    out = tmp_path / "docs" / "gallery.md"
    page, *files = write_gallery(folder, out)
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert sorted(out.parent / name for name in named) == sorted(files)
    assert {path.suffix for path in files} == {".svg", ".png"}
    assert len(files) == 3  # one chart, images of two labels
    for path in files:
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_text())
    before = {path: path.read_bytes() for path in files}
    write_gallery(folder, out)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_long_legend_stands_beside_the_drawing(tmp_path):
    widths = []
    for number in (MOST_INSIDE, MOST_INSIDE + 1):
        lines = {f"line {i}": {"x": [1.0, 2.0], "y": [i, i + 1.0]} for i in range(number)}
        made = run("one", 0, value=1.0, charts=[Chart("Many", "epoch", "error", lines)], images=[])
        write_record(tmp_path / f"{number}" / "records" / "one", made)
        _, file = write_gallery(tmp_path / f"{number}" / "records", tmp_path / f"{number}" / "gallery.md")
        widths.append(float(ElementTree.fromstring(file.read_text()).attrib["width"].removesuffix("pt")))
    assert widths[1] > 1.15 * widths[0]


def test_a_gallery_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has a chart or an image"):
        write_gallery(tmp_path, tmp_path / "gallery.md")
