"""A run on a table with several targets or labels, and commands that use it."""

import pytest

from mlpgpu import commands, train
from mlpgpu.data import reading

SETTINGS = {"dropout": 0, "input_dropout": 0, "quiet": True, "dtype": "float64"}


def trained(folder, table, flags):
    """Write ``rows.csv`` and ``run``, a small network trained on it, to `folder`, and return `folder`."""
    table.to_csv(folder / "rows.csv", index=False)
    line = f"train --dataset {folder / 'rows.csv'} {flags} --hidden 6 --quiet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpgpu.results.run_folder._draw", lambda *_: [])
        assert train.run_command(commands.app, [*line.split(), "--run-dir", str(folder / "run")]) == 0
    return folder


def command_in(folder, monkeypatch, capsys, rows):
    """Return ``command("predict ...")`` -> exit code, stdout, stderr; it reads `rows` rows at a time in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(reading, "ROWS", rows)

    def run(line):
        code = train.run_command(commands.app, line.split())
        return code, *capsys.readouterr()

    return run
