"""Bad input at the command line: one message, a non-zero exit, no traceback."""

import os
import subprocess
import sys

import pytest

RUN = ["run", "classification"]
CASES = {
    "task": (["run", "clasification"], "Did you mean 'classification'"),
    "preset": (["run", "absent.toml"], "cannot be read"),
    "data set": ([*RUN, "--dataset", "mnits"], "Did you mean 'MNIST'"),
    "network": ([*RUN, "--network", "mpl"], "Did you mean 'mlp'"),
    "algorithm": ([*RUN, "--algorithm", "PCC"], "Did you mean 'PC'"),
    "key": ([*RUN, "--set", "epoch=3"], "Did you mean 'epochs'"),
    "nested key": ([*RUN, "--set", "algorithm.stps=3"], "Did you mean 'steps'"),
    "type": ([*RUN, "--set", "epochs=many"], "valid integer"),
    "rate": ([*RUN, "--set", "algorithm.solver.rate=fast"], "valid number"),
    "pair": ([*RUN, "--set", "epochs"], "key=value"),
    "batch": ([*RUN, "--dataset", "iris", "--set", "batch_size=500"], "batch_size must be at most"),
    "list": (["list", "preset"], "Did you mean 'presets'"),
    "report": (["report", "absent"], "record.json"),
}


def call(arguments, folder):
    environment = dict(os.environ, COLUMNS="200", HOOKEAN_CACHE=str(folder / "cache"))
    return subprocess.run(
        [sys.executable, "-m", "hookean", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_message(tmp_path, monkeypatch, case, capsys):
    arguments, message = CASES[case]
    from hookean import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hookean", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr().err
    assert ended.value.code not in (0, None)
    assert message in shown
    assert shown.startswith("error: ")
    assert "Traceback" not in shown


def test_a_broken_preset_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.toml").write_text("epochs = \n")
    from hookean import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hookean", "run", "broken.toml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "not valid TOML" in capsys.readouterr().err


def test_a_diverged_run_ends_with_one_and_its_remedy(tmp_path):
    arguments = [*RUN, "--dataset", "two_moons", "--epochs", "1", "--set", "algorithm.solver.rate=1e6", "--quiet"]
    arguments += ["--set", "algorithm.steps=100", "--set", "batch_size=64", "--out", "out"]
    ended = call(arguments, tmp_path)
    assert ended.returncode == 1
    assert "algorithm.solver.rate" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_a_run_writes_its_record_its_config_and_the_report(tmp_path):
    arguments = [*RUN, "--dataset", "two_moons", "--algorithm", "ipc", "--epochs", "1", "--seeds", "2", "--quiet"]
    ended = call([*arguments, "--set", "batch_size=64", "--out", "out"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    folders = sorted((tmp_path / "out").glob("*/*/*/seed-*"))
    assert [folder.name for folder in folders] == ["seed-0", "seed-1"]
    for folder in folders:
        assert {"record.json", "config.toml", "checkpoint.safetensors"} <= {p.name for p in folder.iterdir()}
    again = call([*arguments, "--set", "batch_size=64", "--out", "out"], tmp_path)
    assert again.returncode == 2
    assert "--resume" in again.stderr
