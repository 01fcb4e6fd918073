"""Every page: its Python runs as printed, its commands are commands, its links and names lead somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import typer
from blocks import Block, blocks, prose, write_files

from hookean import algorithms
from hookean.algorithms.contract import AbstractAlgorithm
from hookean.cli import _presets, app
from hookean.registry import exported_classes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Warnings are errors, as in the tests; deprecations inside libraries are not ours.
PYTHON = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning"]
PYTHON += [
    "-W",
    "ignore:Error reading persistent compilation cache",
    "-W",
    "ignore:Error writing persistent compilation",
]
#: Compiled programs are shared with the tests.
SHARED = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
#: Words in commands that stand for what the reader has.
SHELL = ("python3", ".venv/bin/pip", ".venv/bin/pytest", "pip", "source")


def identity(page: Path) -> str:
    return page.name


def environment(source: Path, cache: Path) -> dict[str, str]:
    """Return the surroundings of a reader's process: this source tree, single precision, and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_") or name in SHARED}
    return kept | {"PYTHONPATH": str(source), "HOOKEAN_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def execute(command: list[str], source: Path, cache: Path) -> str:
    done = subprocess.run(
        command, cwd=source, env=environment(source, cache), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout


def commands(page: Path) -> list[list[str]]:
    """Return the words of every command of a page, one list per command."""
    found = []
    for block in blocks(page):
        if block.language in ("console", "sh"):
            for line in block.text.splitlines():
                found += [shlex.split(part) for part in line.split("&&") if part.strip()]
    return found


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


RUNNABLE = [page for page in PAGES if python_blocks(page) and page.name not in ("README.md", "extend.md")]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=identity)
def test_python_runs_as_printed(page, tmp_path):
    execute([*PYTHON, str(Path(__file__).with_name("blocks.py")), str(page)], ROOT, tmp_path)


def test_pages_have_examples():
    assert {page.name for page in RUNNABLE} >= {"start.md", "choose.md", "theory.md", "design.md"}
    assert len(python_blocks(ROOT / "docs" / "extend.md")) >= 12


@pytest.mark.slow
def test_readme_reaches_what_it_says(tmp_path):
    """The README's Python runs, and the test accuracy that it prints last is the one in the comment beside it."""
    page = ROOT / "README.md"
    said = float(re.search(r"# about (0\.\d+)", page.read_text(encoding="utf-8"))[1])
    printed = execute([*PYTHON, str(Path(__file__).with_name("blocks.py")), str(page)], ROOT, tmp_path)
    assert abs(float(printed.strip().splitlines()[-1]) - said) < 0.02, printed


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Return a copy of the source tree with the files of docs/extend.md in their places."""
    copy = tmp_path_factory.mktemp("extended")
    for folder in ("hookean", "presets", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "docs")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    written = write_files(ROOT / "docs" / "extend.md", copy)
    new = [path for path in written if path.name != "__init__.py"]
    assert len(new) == 4
    assert not any((ROOT / path.relative_to(copy)).exists() for path in new)
    return copy


@pytest.mark.slow
def test_extensions_run_as_printed(extended, tmp_path):
    page = ROOT / "docs" / "extend.md"
    execute([*PYTHON, str(Path(__file__).with_name("blocks.py")), str(page)], extended, tmp_path)


@pytest.mark.slow
def test_extensions_are_listed(extended, tmp_path):
    listed = execute([sys.executable, "-m", "hookean", "list"], extended, tmp_path)
    for name in ("SignPC", "shortcut", "Rings", "settling"):
        assert re.search(rf"^\s*{name}\b", listed, re.MULTILINE), listed


@pytest.mark.slow
def test_commands_of_extensions_run(extended, tmp_path):
    """The commands of docs/extend.md, as printed but for shorter training."""
    found = [words for words in commands(ROOT / "docs" / "extend.md") if words[0] == "hookean"]
    assert len(found) == 3
    for number, words in enumerate(found):
        short = ["--epochs", "1"] if "classification" in words else []
        out = ["--quiet", "--out", str(tmp_path / str(number))]
        said = execute([sys.executable, "-m", *words, *short, *out], extended, tmp_path)
        assert "Report:" in said
        assert list((tmp_path / str(number)).rglob("record.json"))


@pytest.mark.slow
def test_extension_meets_the_contract(extended, tmp_path):
    """The contract tests of the project discover the new algorithm and it passes."""
    command = [sys.executable, "-m", "pytest", "tests/contracts", "-k", "SignPC", "-p", "no:cacheprovider"]
    said = execute(command, extended, tmp_path)
    assert int(re.search(r"(\d+) passed", said)[1]) >= 1


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_commands_are_commands(page):
    """Every command parses against the command line, without being run."""
    group = typer.main.get_command(app)
    for words in commands(page):
        name = words[0].removeprefix(".venv/bin/")
        if name != "hookean":
            assert words[0] in SHELL, f"{page.name}: unknown command {words[0]}"
            continue
        assert words[1] in group.commands, f"{page.name}: hookean has no command '{words[1]}'"
        command = group.commands[words[1]]
        if "--help" not in words:
            command.make_context(words[1], list(words[2:])).close()


def configs(monkeypatch, words):
    """Return the configs that a command would run."""
    from hookean import cli
    from hookean.tasks import grid

    found = []
    monkeypatch.setattr(grid, "run_all", lambda configs, out, **_: found.extend(configs) or [])
    monkeypatch.setattr(cli, "_close", lambda records, out: None)
    app(words[1:], standalone_mode=False)
    return found


RUNS = [
    pytest.param(words, id=" ".join(words[1:]))
    for page in PAGES
    if page.name != "extend.md"
    for words in commands(page)
    if words[0].endswith("hookean") and words[1] in ("demo", "run", "compare") and "--help" not in words
]


@pytest.mark.parametrize("words", RUNS)
def test_runs_name_what_exists(monkeypatch, words):
    """Tasks, presets, data sets, networks, algorithms and their options are known."""
    from hookean import data
    from hookean.core import builders
    from hookean.data.dataset import AbstractDataset
    from hookean.registry import exported_functions, find
    from hookean.tasks import Classification
    from hookean.tasks.build import construct, options

    found = configs(monkeypatch, words)
    assert found
    for config in found:
        config.check()
        if hasattr(config, "dataset"):  # experiments on generated data have none
            find(config.dataset, exported_classes(data, AbstractDataset), "data set")
        if not isinstance(config, Classification):  # other experiments have checked their own networks and rules
            continue
        builder = find(config.network["name"], exported_functions(builders), "network")
        assert set(config.network) - {"name"} <= set(options(builder))
        construct(config.algorithm, exported_classes(algorithms, AbstractAlgorithm), "algorithm")


def slug(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_links_lead_somewhere(page):
    text = prose(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.is_relative_to(ROOT)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_files_that_are_named_exist(page):
    """A path in back quotes that begins with a folder of the source tree is there (files of a tutorial aside)."""
    tutorial = {block.title for block in blocks(page) if block.title}
    places = (ROOT, ROOT / "hookean")
    folders = {p.name for place in places for p in place.iterdir() if p.is_dir()} - {"runs", "build", "dist"}
    for name in re.findall(r"`([\w./-]+/[\w./-]*)`", prose(page)):
        if name.split("/")[0] in folders and name not in tutorial:
            assert any((place / name).exists() for place in places), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_names_in_the_package_exist(page):
    """A dotted name in back quotes that begins with `hookean.` can be imported."""
    import importlib

    for dotted in re.findall(r"`(hookean(?:\.\w+)+)", prose(page)):
        parts = dotted.split(".")
        member = importlib.import_module(parts[0])
        for i, part in enumerate(parts[1:], start=2):
            member = getattr(member, part) if hasattr(member, part) else importlib.import_module(".".join(parts[:i]))


def test_every_algorithm_is_in_the_table_of_choices():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "choose.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(exported_classes(algorithms, AbstractAlgorithm))


def test_presets_are_named_in_pages():
    """The pages name at least one preset, and only ones that exist (the command test reads the names)."""
    named = {word for page in PAGES for words in commands(page) for word in words if word in _presets()}
    assert named


def test_api_page_is_up_to_date(tmp_path):
    execute([sys.executable, str(ROOT / "docs" / "api.py"), str(tmp_path / "api.md")], ROOT, tmp_path)
    fresh = (tmp_path / "api.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == fresh, "run `python docs/api.py`"


def test_picture_is_what_the_script_draws(tmp_path):
    """The script runs, and what it draws has the parts of the picture in the repository."""
    execute([sys.executable, str(ROOT / "docs" / "figures" / "draw.py"), str(tmp_path / "new.svg")], ROOT, tmp_path)
    drawn, kept = (
        ElementTree.parse(file).getroot()
        for file in (tmp_path / "new.svg", ROOT / "docs" / "figures" / "relaxation.svg")
    )
    assert drawn.attrib == kept.attrib
    assert [e.get("id") for e in drawn.iter() if e.get("id")][:40] == [e.get("id") for e in kept.iter() if e.get("id")][
        :40
    ]


def test_picture_shows_a_relaxation():
    """All energy is at the output at first, then every spring is stretched, and the sum has fallen."""
    script = ROOT / "docs" / "figures" / "draw.py"
    namespace: dict = {"__name__": "draw", "__file__": str(script)}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), namespace)
    states, predictions, energies = namespace["settle"](namespace["STEPS"])
    first = {name: float(e[0]) for name, e in energies.items()}
    last = {name: float(e[-1]) for name, e in energies.items()}
    assert first["y"] > 1
    assert all(first[name] == 0 for name in ("h1", "h2", "h3"))
    assert all(abs(states[name] - predictions[name]) > 0.1 for name in predictions)
    assert sum(last.values()) < 0.5 * sum(first.values())


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"version: {project['version']}\n" in citation
    assert f"license: {project['license']}\n" in citation
    assert f"version = {{{project['version']}}}" in readme
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
