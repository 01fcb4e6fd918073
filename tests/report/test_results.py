"""The page of results: what stands beside what."""

import pytest

from hookean.record import write_record
from hookean.report.results import read_published, results_page

PUBLISHED = """
[[figure]]
dataset = "CIFAR-10"
network = "mlp"
label = "PC"
value = 0.92
spread = 0.01
verified = true
source = "somebody (2025)"

[[figure]]
dataset = "CIFAR-10"
network = "mlp"
label = "PC"
value = 0.93
verified = false
source = "best single tuning trial"

[[figure]]
dataset = "MNIST"
network = "vgg5"
label = "BP"
value = 0.99
verified = true
source = "somebody (2025)"
"""


@pytest.fixture
def page(example, tmp_path):
    (tmp_path / "published.toml").write_text(PUBLISHED)
    for seed in range(2):
        write_record(tmp_path / "records" / f"{seed}", example(seed, dataset="CIFAR-10 (JPEG)"))
        small = {"config": example().config | {"subset": 500}, "label": "PC small"}
        write_record(tmp_path / "records" / f"small-{seed}", example(seed, **small))

    def make() -> str:
        return results_page(tmp_path / "records", tmp_path / "published.toml")

    return make


def test_our_figure_stands_beside_the_published_ones(page):
    row = next(line for line in page().splitlines() if line.startswith("| CIFAR-10 (JPEG) | mlp | PC |"))
    assert "92.00 ± 1.00; 93.00 (unverified) (tuning)" in row
    assert "90.50 ± 0.71" in row
    assert "-1.50; -2.50" in row
    assert "2 epochs, batch 32, held out 0.1" in row


def test_reduced_runs_stand_apart_and_say_so(page):
    text = page()
    row = next(line for line in text.splitlines() if line.startswith("| Digits | mlp | PC small |"))
    assert "500 samples" in row
    assert text.index("## Reduced runs") < text.index(row)


def test_a_published_cell_without_a_run_is_named_with_the_reason(page):
    assert "- vgg5 on MNIST (BP): needs a GPU" in page()


def test_the_page_is_a_function_of_the_files(page):
    assert page() == page()


def test_a_broken_file_of_published_figures_is_named(tmp_path):
    path = tmp_path / "published.toml"
    path.write_text("[[figure]]\nname = 1\n")
    with pytest.raises(ValueError, match=r"published\.toml must hold published figures"):
        read_published(path)
    with pytest.raises(ValueError, match="absent"):
        read_published(tmp_path / "absent.toml")


def test_studies_have_a_table_each_with_held_out_and_test(page, example, tmp_path):
    history = [
        {"epoch": 1, "valid": {"accuracy": 0.7}},
        {"epoch": 2, "valid": {"accuracy": 0.6}, "state_residual": 0.02, "cosine": {"h1": 0.25, "y": 1.0}},
    ]
    for layers in (16, 4):
        config = example().config | {"layers": layers}
        for seed in range(2):
            given = {"task": "depth", "config": config, "network": f"mlp of {layers} layers", "passes": 18}
            record = example(seed, history=history, label="deep", **given)
            write_record(tmp_path / "records" / "depth" / "my-study" / f"{layers}-{seed}", record)
    text = page()
    rows = [line for line in text[text.index("### my-study") :].splitlines() if "| deep |" in line]
    cells = [cell.strip() for cell in rows[1].strip("|").split("|")]
    assert cells == ["mlp of 16 layers", "deep", "70.00 ± 0.00", "90.50 ± 0.71", "2", "0.02", "0.250", "18", "3"]
    assert rows[0].startswith("| mlp of 4 layers")
    assert "| deep |" not in text[: text.index("## Studies")]


def test_reduced_runs_of_two_presets_may_have_the_same_names(page, example, tmp_path):
    for name, samples in (("short", 500), ("long", 900)):
        record = example(0, config=example().config | {"subset": samples}, label="PC small")
        place = tmp_path / "records" / "classification" / name / "digits" / "mlp" / "PC small" / "seed-0"
        write_record(place, record)
    text = page()
    for name in ("short", "long"):
        assert text[text.index(f"### {name}") :].count("| PC small |") >= 1
    assert text[: text.index("## Studies")].count("| Digits | mlp | PC small |") == 1  # that of the fixture
    assert text.index("### long") < text.index("### short")


def test_the_folder_of_one_run_is_refused_in_words(page, tmp_path):
    page()
    with pytest.raises(ValueError, match=r"0 is the folder of one run"):
        results_page(tmp_path / "records" / "0", tmp_path / "published.toml")


def test_a_page_without_published_figures(page, tmp_path):
    page()
    text = results_page(tmp_path / "records", None)
    assert "90.50 ± 0.71" in text
    assert "no published figures" in text
