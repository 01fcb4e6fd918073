"""The page parses, stands alone, says what went wrong, and is the same for the same records."""

import re
from html.parser import HTMLParser

import builders
import pytest

from hookean.report.page import write_report

VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "<script>alert(1)</script>"


class Tree(HTMLParser):
    """Checks that every element is closed in order; keeps elements, attributes and text outside styles."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def render(folder, *folders):
    return write_report([folder, *folders], folder / "report.html").read_text()


@pytest.fixture
def page(tmp_path):
    return render(builders.usual(tmp_path))


def test_parses_and_has_landmarks(page):
    tree = Tree(page)
    assert not tree.open
    assert tree.named("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer", "h1"):
        assert len(tree.named(landmark)) == 1
    ids = [attrs["id"] for _, attrs in tree.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for attrs in tree.named("a")]
    targets += [attrs["aria-labelledby"] for _, attrs in tree.elements if "aria-labelledby" in attrs]
    assert targets
    assert set(targets) <= set(ids)


def test_every_drawing_has_a_text_in_its_place(page):
    drawings = [attrs for attrs in Tree(page).named("svg") if attrs.get("aria-hidden") != "true"]
    assert len(drawings) > 10
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in drawings)


def test_stands_alone(page):
    tree = Tree(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in tree.elements}
    for _, attrs in tree.elements:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in page
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", page))


def test_says_the_result_and_the_tables(page):
    text = Tree(page).text
    assert "PC-SE reaches 91.0 % ± 1.0 on MNIST with mlp" in text
    assert "BP-SE 86.0 % ± 1.0" in text
    assert "3 seeds" in text
    assert "91.00 ± 1.00" in text
    assert "PC-SE − BP-SE" in text or "BP-SE − PC-SE" in text
    assert "did not finish" not in text


def test_holds_the_exact_config_of_every_run(page):
    tree = Tree(page)
    for label in ("PC-SE", "BP-SE"):
        for seed in range(3):
            assert f"{label}, seed {seed}" in tree.text
    assert '"hidden": [ 8, 8 ]' in tree.text
    assert "2025-01-02T03:05:05+00:00" in tree.text


def test_the_same_records_give_the_same_bytes(tmp_path):
    builders.usual(tmp_path / "one")
    builders.usual(tmp_path / "two")
    assert render(tmp_path / "one") == render(tmp_path / "two")


def test_hostile_names_are_escaped(tmp_path):
    values = {"label": HOSTILE, "network": HOSTILE, "dataset": HOSTILE, "config": {HOSTILE: HOSTILE}}
    history = [dict(entry, cosine={HOSTILE + "$x$": 0.5}) for entry in builders.record().history]
    runs = [builders.record(HOSTILE, seed, history=history) for seed in range(2)]
    for run in runs:
        for name, value in values.items():
            setattr(run, name, value)
    runs[1].status, runs[1].message = "diverged", HOSTILE
    stored = builders.arrays() | {f"sample_error/{HOSTILE}": builders.arrays()["sample_error/y"]}
    page = render(builders.write(tmp_path, *runs, stored=stored))
    tree = Tree(page)
    assert "<script" not in page
    assert not tree.open
    assert tree.text.count(HOSTILE) > 8


@pytest.mark.parametrize("status", ["diverged", "interrupted", "running"])
def test_runs_without_an_end_stand_at_the_top_with_their_message(tmp_path, status):
    message = "the energy is not finite at epoch 2: lower the rate"
    runs = [builders.record(seed=0), builders.record(seed=1, status=status, message=message, test=None, finished=None)]
    tree = Tree(render(builders.write(tmp_path, *runs)))
    assert "1 of 2 runs did not finish" in tree.text
    assert f"MNIST, mlp, PC-SE, seed 1: {status}" in tree.text
    assert tree.text.index(message) < tree.text.index("Learning curves")


def test_a_section_whose_runs_finished_without_a_figure_says_so(tmp_path):
    run = builders.record(shown=["loss"], test={"loss": float("nan")})
    text = Tree(render(builders.write(tmp_path, run))).text
    assert "No run on MNIST with mlp has a figure." in text
    assert "has finished" not in text


def test_a_section_without_a_finished_run_says_so(tmp_path):
    run = builders.record(status="diverged", message="too fast", test=None, history=[], relaxation=None)
    run.confusion = run.calibration = None
    tree = Tree(render(builders.write(tmp_path, run)))
    assert "No run on MNIST with mlp has finished." in tree.text
    assert "too fast" in tree.text
    missing = ["No run has a history", "No run recorded its relaxation", "no confusion matrix", "kept sample images"]
    missing += ["No run recorded a residual", "No run compared its gradient", "No two labels finished"]
    assert [sentence for sentence in missing if sentence not in tree.text] == []
    assert not [attrs for attrs in tree.named("svg") if "role" in attrs]


def test_samples_come_from_a_label_with_errors_where_there_is_one(tmp_path):
    builders.write(
        tmp_path / "bp", builders.record("BP-SE", relaxed=False, lift=0.59), stored=builders.arrays(errors=False)
    )
    assert "Held-out samples under BP-SE." in Tree(render(tmp_path)).text
    builders.write(tmp_path / "pc", builders.record("PC-SE"), stored=builders.arrays())
    assert "Held-out samples under PC-SE with the prediction errors" in Tree(render(tmp_path)).text


def test_each_data_set_and_network_has_its_section(tmp_path):
    runs = [builders.record(), builders.record(dataset="Digits"), builders.record(network="vgg5")]
    headings = Tree(render(builders.write(tmp_path, *runs)))
    assert len(headings.named("section")) == 3
    for title in ("MNIST, mlp", "Digits, mlp", "MNIST, vgg5"):
        assert title in headings.text


def test_runs_of_all_depths_share_a_section(tmp_path):
    runs = [builders.at_depth(n, label, seed) for n in (4, 16) for label in ("PC", "BP") for seed in (0, 1)]
    seen = Tree(render(builders.write(tmp_path, *runs, builders.record())))
    assert len(seen.named("section")) == 2
    for words in ("MNIST, mlp, against depth", "mlp of 16 layers", "BP reaches 75.0 % ± 1.4", "BP \N{MINUS SIGN} PC"):
        assert words in seen.text, words


def test_several_folders_make_one_page_without_their_absolute_places(tmp_path):
    builders.write(tmp_path / "one", builders.record(seed=0))
    builders.write(tmp_path / "two", builders.record(seed=1))
    page = render(tmp_path / "one", tmp_path / "two")
    assert "2 runs" in page
    assert str(tmp_path) not in page


def test_sixty_runs_stay_small(tmp_path):
    runs = [builders.record(f"rule {i}", seed) for i in range(12) for seed in range(5)]
    assert len(render(builders.write(tmp_path, *runs))) < 3_000_000


def test_no_record_is_an_error_that_names_the_folder(tmp_path):
    out = tmp_path / "report.html"
    with pytest.raises(ValueError, match=rf"no record\.json below {re.escape(str(tmp_path))}"):
        write_report([tmp_path], out)
    assert not out.exists()
