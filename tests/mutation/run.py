"""Apply every mutant to a copy of the package and run the tests that must catch it.

python tests/mutation/run.py [--jobs 2] [--only NAME ...]

Exit status 1 if a mutant survives, if its old text no longer stands exactly once in its file, or if its tests fail
without it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
#: The oracles; data, tasks and the report have tests of their own, which no mutant here concerns.
FOLDERS = ("closed_form", "finite_difference", "equivalence", "invariance", "contracts", "faults")


def copy_to(folder: Path) -> None:
    """Copy the package and the tests of the oracles."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "hookean", folder / "hookean", ignore=leave)
    (folder / "tests").mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / "tests" / name, folder / "tests" / name, ignore=leave)
    for name in ("conftest.py", "examples.py", "oracles.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")


def fails(folder: Path, tests: list[str]) -> tuple[bool, str]:
    """Run the tests in `folder` up to the first failure; return (whether one failed, the last lines)."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=line"]
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode not in (0, 1, 2):  # 2: a mistake while importing or collecting is a failure too
        raise RuntimeError(f"pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode != 0, done.stdout[-300:]


def try_out(mutant: Mutant) -> str:
    """Return 'caught', 'survived' or 'no longer matches'."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        file = folder / "hookean" / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            return "no longer matches"
        file.write_text(text.replace(mutant.old, mutant.new))
        return "caught" if fails(folder, [mutant.tests])[0] else "survived"


def sound(tests: list[str]) -> bool:
    """Say whether the tests pass without a mutant: otherwise everything would count as caught."""
    with tempfile.TemporaryDirectory() as name:
        copy_to(Path(name))
        failed, tail = fails(Path(name), tests)
        if failed:
            print(tail)
        return not failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="mutants tried at the same time")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="names, or beginnings of names")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests without a mutant first")
    given = parser.parse_args()
    chosen = [m for m in MUTANTS if m.name.startswith(tuple(given.only))]
    if not chosen:
        print(f"no mutant is called {' or '.join(given.only)}; known: {', '.join(m.name for m in MUTANTS)}")
        return 1
    if not given.unchecked and not sound(sorted({m.tests for m in chosen})):
        print("the tests fail without a mutant: mend them first")
        return 1
    began, bad = time.monotonic(), 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for mutant, outcome in zip(chosen, pool.map(try_out, chosen), strict=True):
            bad += outcome != "caught"
            print(f"{outcome:18} {mutant.name:28} {mutant.file:28} {mutant.reason}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} caught in {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
