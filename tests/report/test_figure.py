"""What is drawn is what the records hold: as many lines, bands and panels as labels, and the same numbers."""

import itertools
import re

import builders
import numpy as np
import pytest
from matplotlib.figure import Figure

from hookean.report import drawing, figure, picture

SEEDS = (0, 1, 2)


@pytest.fixture
def groups():
    return {
        "PC-SE": [builders.record("PC-SE", seed) for seed in SEEDS],
        "BP-SE": [builders.record("BP-SE", seed, relaxed=False, lift=0.45) for seed in SEEDS],
    }


def lines(panel):
    return panel.drawing.axes[0].lines


def bands(panel):
    return panel.drawing.axes[0].collections


def test_learning_curves_draw_a_line_and_a_band_per_label(groups):
    plot = figure.learning_curves(groups)
    assert len(plot.panels) == 2
    for panel in plot.panels:
        assert len(lines(panel)) == len(bands(panel)) == len(groups)
    assert [key.text for key in plot.keys] == list(groups)


def test_learning_curve_is_the_mean_and_the_range_over_seeds(groups):
    panel = figure.learning_curves(groups).panels[0]
    values = np.asarray([[e["valid"]["accuracy"] for e in run.history[1:]] for run in groups["PC-SE"]])
    line = lines(panel)[0]
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, builders.EPOCHS + 1))
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
    edges = bands(panel)[0].get_paths()[0].vertices
    last = edges[edges[:, 0] == builders.EPOCHS][:, 1]
    assert last.min() == pytest.approx(values[:, -1].min())
    assert last.max() == pytest.approx(values[:, -1].max())


def test_one_seed_has_no_band(groups):
    plot = figure.learning_curves({"PC-SE": groups["PC-SE"][:1]})
    assert all(len(lines(panel)) == 1 and not bands(panel) for panel in plot.panels)


def test_relaxation_draws_first_dashed_and_last_solid_for_every_layer(groups):
    plot = figure.relaxation_energies(groups)
    assert [panel.title for panel in plot.panels] == ["PC-SE"]
    assert "BP-SE" in plot.note
    drawn = lines(plot.panels[0])
    assert len(drawn) == 2 * len(builders.TERMS)
    assert [line.get_linestyle() for line in drawn] == ["--", "-"] * len(builders.TERMS)
    output = drawn[-1]
    expected = np.mean([run.relaxation["last"]["energies"]["y"] for run in groups["PC-SE"]], axis=0)
    np.testing.assert_allclose(output.get_ydata(), expected)
    assert plot.panels[0].drawing.axes[0].get_yscale() == "log"


def test_zero_energy_is_absent_from_a_logarithmic_axis(groups):
    drawn = lines(figure.relaxation_energies(groups).panels[0])
    first = drawn[1]  # h1 in the last epoch has no energy at steps 0 and 1
    assert list(first.get_xdata()) == list(range(2, builders.STEPS))


def test_training_energies_leave_out_labels_with_energy_in_one_layer(groups):
    plot = figure.training_energies(groups)
    assert [panel.title for panel in plot.panels] == ["PC-SE"]
    assert len(lines(plot.panels[0])) == len(builders.TERMS)
    assert "BP-SE" in plot.note


def test_residual_has_a_line_per_label_that_relaxes(groups):
    plot = figure.residuals(groups)
    (line,) = lines(plot.panels[0])
    expected = np.mean([[e["residual"] for e in run.history] for run in groups["PC-SE"]], axis=0)
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_cosine_names_labels_that_equal_backpropagation(groups):
    plot = figure.cosines(groups)
    assert [panel.title for panel in plot.panels] == ["PC-SE"]
    assert "BP-SE" in plot.note
    np.testing.assert_allclose(lines(plot.panels[0])[2].get_ydata(), [1.0, 0.8, 0.6, 0.4, 0.2])


def test_diverged_seed_does_not_bend_the_mean_of_finished_ones(groups):
    broken = builders.record("PC-SE", 9, status="diverged")
    with_broken = figure.learning_curves({"PC-SE": [*groups["PC-SE"], broken]})
    without = figure.learning_curves({"PC-SE": groups["PC-SE"]})
    for one, other in zip(with_broken.panels, without.panels, strict=True):
        np.testing.assert_array_equal(lines(one)[0].get_ydata(), lines(other)[0].get_ydata())


def test_not_a_number_is_left_to_the_other_seeds():
    line = drawing.curve([{0: 1.0, 1: np.nan}, {0: 3.0, 1: 5.0}])
    np.testing.assert_array_equal(line.mean, [2.0, 5.0])
    assert drawing.curve([{0: np.inf}]) is None


def test_confusion_is_the_mean_over_seeds_in_percent_of_the_true_class(groups):
    plot = picture.confusion("PC-SE", groups["PC-SE"])
    ax = plot.panels[0].drawing.axes[0]
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts[(0, 0)] == "70.0"  # 8, 7 and 6 of 10
    assert texts[(1, 0)] == "30.0"
    assert (2, 0) not in texts
    shown = ax.images[0].get_array()
    assert shown[0, 1] == pytest.approx(30)
    assert "class 2 taken for 1, 40.0 %" in plot.panels[0].text


def test_reliability_leaves_out_empty_bins_and_weighs_by_count(groups):
    groups["PC-SE"][0].calibration = {"confidence": [0.0, 0.6, 0.9], "accuracy": [0, 0.8, 0.8], "count": [0, 20, 30]}
    plot = picture.reliability({"PC-SE": groups["PC-SE"][:2]})
    _, line = lines(plot.panels[0])
    np.testing.assert_allclose(line.get_xdata(), [(0.6 * 20 + 0.4 * 10) / 30, 0.9])
    np.testing.assert_allclose(line.get_ydata(), [(0.8 * 20 + 0.5 * 10) / 30, 0.8])


@pytest.mark.parametrize("images", [True, False])
def test_samples_show_image_and_errors_of_every_layer(images):
    plot = picture.samples("PC-SE", builders.arrays(images=images))
    assert len(plot.panels) == picture.SHOWN
    assert plot.panels[0].title == "0, recognised"
    assert plot.panels[1].title == "1, taken for 2"
    assert len(plot.panels[0].drawing.axes) == 1 + len(builders.TERMS)
    shapes = [ax.images[0].get_array().shape for ax in plot.panels[0].drawing.axes[1:]]
    assert shapes == [(5, 5), (1, picture.WIDEST), (1, builders.CLASSES)]


def test_sample_errors_keep_their_sign_and_order():
    stored = builders.arrays()
    drawn = picture.samples("PC-SE", stored).panels[0].drawing.axes[-1].images[0].get_array()[0]
    truth = stored["sample_error/y"][0]
    np.testing.assert_allclose(drawn / drawn[0], truth / truth[0], rtol=1e-5)
    assert drawn[0] * truth[0] > 0


def test_absent_parts_give_no_plot():
    empty = builders.record(history=[], relaxation=None, confusion=None, calibration=None)
    groups = {"PC-SE": [empty]}
    drawn = [figure.learning_curves, figure.relaxation_energies, figure.training_energies, figure.residuals]
    assert [draw(groups) for draw in [*drawn, figure.cosines, picture.reliability]] == [None] * 6
    assert picture.confusion("PC-SE", [empty]) is None
    assert picture.samples("PC-SE", {}) is None


def test_labels_stay_apart_beyond_the_palette():
    keys = drawing.label_keys(f"label {i}" for i in range(20))
    assert len({(key.colour, str(key.dash)) for key in keys.values()}) == 20


def test_axis_numbers_read_as_written():
    values = [1e-8, 2e-5, 0.01, 0.5, 1.0, 2000.0, 1e4, 0.0]
    assert [drawing.scientific(v) for v in values] == ["10⁻⁸", "2·10⁻⁵", "0.01", "0.5", "1", "2000", "10⁴", "0"]


def test_svg_is_the_same_each_time_and_refers_to_itself_alone(groups):
    panel = figure.learning_curves(groups).panels[0]
    first, second = (drawing.svg(panel, itertools.count(7)) for _ in range(2))
    assert first == second
    defined = re.findall(r' id="([^"]*)"', first)
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', first)
    assert set(used) == set(defined)
    assert len(defined) == len(set(defined))
    assert all(name.startswith("d7-") for name in defined)
    assert "<style" not in first
    assert "<metadata" not in first
    assert 'role="img" aria-label="Held-out accuracy over epochs.' in first


def test_energy_below_zero_keeps_a_linear_axis(groups):
    for run in groups["PC-SE"]:
        run.history[1]["train"]["energy"] = -1.0
    panel = figure.learning_curves({"PC-SE": groups["PC-SE"]}).panels[1]
    assert panel.drawing.axes[0].get_yscale() == "linear"


def deepened(run, layers):
    """Give the last epoch of a run the evidence of a deep network, its names in alphabetical order."""
    names = sorted([*(f"h{i}" for i in range(1, layers)), "y"])
    place = {name: layers if name == "y" else int(name[1:]) for name in names}
    run.history[-1] |= {
        "cosine": {name: 1 - 0.01 * place[name] - 0.1 * run.seed for name in names},
        "norm_ratio": {name: 10.0 ** -place[name] for name in names},
        "energies": {name: float(place[name]) for name in names},
    }
    return run


def test_deep_networks_are_drawn_against_depth_in_the_order_of_their_layers(groups):
    assert figure.against_depth(groups) is None
    deep = {label: [deepened(run, 12) for run in runs] for label, runs in groups.items()}
    plot = figure.against_depth(deep)
    assert [panel.title.split()[0] for panel in plot.panels] == ["Cosine", "Gradient", "Energy,"]
    assert [key.text for key in plot.keys] == list(deep)
    line = lines(plot.panels[0])[0]
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 13))
    np.testing.assert_allclose(line.get_ydata(), 1 - 0.01 * np.arange(1, 13) - 0.1 * np.mean(SEEDS))
    np.testing.assert_allclose(lines(plot.panels[2])[1].get_ydata(), np.arange(1, 13))
    cosines = figure.cosines(deep)
    assert [key.text for key in cosines.keys][:3] == ["h1", "h2", "h3"]
    assert [key.text for key in cosines.keys][-2:] == ["h11", "y"]


def test_over_depth_draws_every_measure_over_the_number_of_layers():
    depths = {4: [builders.at_depth(4, seed=seed) for seed in SEEDS], 16: [builders.at_depth(16)]}
    reference = {4: [builders.at_depth(4, "BP", passes=2)]}
    plot = figure.over_depth({"PC": depths, "BP": reference})
    shown = {panel.title: lines(panel) for panel in plot.panels}
    accuracy, residual = shown["Test accuracy, %"], shown["Relative residual in the states"]
    np.testing.assert_allclose(accuracy[0].get_xdata(), [4, 16])
    np.testing.assert_allclose(accuracy[0].get_ydata(), [100 * (0.9 - 0.04 + 0.02), 100 * (0.9 - 0.16)])
    np.testing.assert_allclose(residual[0].get_ydata(), [0.004, 0.016])
    np.testing.assert_allclose(shown["Least cosine with backpropagation's gradient"][0].get_ydata(), [0.25, 1 / 16])
    np.testing.assert_allclose(shown["Passes a batch"][0].get_ydata(), [8, 32])
    assert len(accuracy) == 4  # a line and its points for each label
    assert [key.text for key in plot.keys] == ["PC", "BP"]


def test_energy_over_depth_is_that_of_the_first_layer_over_the_last():
    run = builders.at_depth(4)
    energies = run.history[-1]["energies"]
    plot = figure.over_depth({"PC": {4: [run]}})
    panel = next(panel for panel in plot.panels if panel.title.startswith("Energy"))
    assert lines(panel)[0].get_ydata()[0] == pytest.approx(energies["h1"] / energies["y"])


def test_over_depth_of_runs_that_broke_off_is_nothing():
    run = builders.at_depth(4, status="diverged", test=None, history=[], passes=None, seconds={})
    assert figure.over_depth({"PC": {4: [run]}}) is None


@pytest.mark.parametrize(("values", "scale"), [([0.0, 0.0], "linear"), ([-1.0, 2.0], "linear"), ([0.0, 2.0], "log")])
def test_values_that_a_logarithm_cannot_show_keep_the_linear_scale(values, scale):
    ax = Figure().subplots()
    ax.plot([1, 2], values)
    drawing.log_scale(ax)
    assert ax.get_yscale() == scale
