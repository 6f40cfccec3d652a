"""Models of a table of rooms and towns, and the commands that use them."""

import csv
import io

import numpy as np
import pytest

from mlpgpu import Config, commands, train, train_and_test
from mlpgpu.data import reading

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")


SETTINGS = {"hidden": (8,), "epochs": 5, "dropout": 0, "input_dropout": 0, "quiet": True}


def table_of(n=90, seed=0):
    """Return a table of rooms, towns and ages with gaps, a price as a number and a size as text."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"rooms": rng.integers(1, 7, n), "town": rng.choice(["A", "B", "C"], n)})
    frame["age"] = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0, 50, n))
    frame["price"] = frame["rooms"] * 30.0 + rng.normal(size=n)
    frame["size"] = np.where(frame["rooms"] > 3, "large", "small")
    return frame


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, unrendered):
    """``command("predict", ...)`` runs in an empty folder -> exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    # So that there is more than one chunk.
    monkeypatch.setattr(reading, "ROWS", 40)

    def run(*arguments):
        code = train.run_command(commands.app, [str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def models(tmp_path):
    """Folder with ``rows.csv`` and models of its columns: a regression of ``price``, a classification of ``size``."""
    frame = table_of()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for target, other in (("price", "size"), ("size", "price")):
        frame.drop(columns=other).to_csv(tmp_path / f"{target}.csv", index=False)
        config = Config(dataset=tmp_path / f"{target}.csv", target=target, impute="median", **SETTINGS)
        train_and_test(config).model.save(tmp_path / f"{target}.safetensors")
    return tmp_path


def filled(model, frame):
    """Return the note on the missing ages of a table of rooms."""
    (fill,) = (record["fill"] for record in model.columns if record["name"] == "age")
    n_gaps = frame["age"].isna().sum()
    return f"note: {n_gaps} missing values filled: {n_gaps} of 'age' with {fill:.4g}\n"


def read(text):
    names, *rows = csv.reader(io.StringIO(text))
    return names, rows
