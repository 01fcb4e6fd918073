"""The command line in this process, and as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import hookean
from hookean import cli


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs `hookean ...` in this process and returns its exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("HOOKEAN_DEBUG", raising=False)
    monkeypatch.setattr(cli, "_prepare", lambda: None)  # it would change the signals and caches of the test process

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hookean", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Ended(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def process(tmp_path, tmp_path_factory):
    """Return a function that starts `python -m hookean ...` in an empty folder."""
    cache = tmp_path_factory.getbasetemp() / "hookean-cache"
    root = str(Path(hookean.__file__).parents[1])
    environment = os.environ | {"HOOKEAN_CACHE": str(cache), "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    environment.pop("HOOKEAN_DEBUG", None)
    # A shell that starts the tests in the background makes them ignore the interrupt, which their children inherit.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    started = []

    def start(*arguments):
        child = subprocess.Popen(
            [sys.executable, "-m", "hookean", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    signal.signal(signal.SIGINT, before)
    for child in started:
        if child.poll() is None:
            child.kill()
            child.communicate()
