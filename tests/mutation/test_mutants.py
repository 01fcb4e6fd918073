"""The list of mutants fits the code: every old text stands exactly once in its file, and every test exists."""

from pathlib import Path

import pytest
from mutants import MUTANTS

import hookean

PACKAGE = Path(hookean.__file__).parent
TESTS = Path(__file__).resolve().parents[1]


def test_there_are_enough_and_names_are_unique():
    assert len(MUTANTS) >= 24
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert {m.file.split("/")[0] for m in MUTANTS} >= {"core", "inference", "learning", "algorithms"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_fits_the_code(mutant):
    text = (PACKAGE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    changed = text.replace(mutant.old, mutant.new)
    assert changed != text
    compile(changed, mutant.file, "exec")
    assert (TESTS / mutant.tests.split("::")[0]).is_file()
    assert mutant.reason
