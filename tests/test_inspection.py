"""The command ``mlpgpu inspect``."""

import json

import rooms

command, models = rooms.command, rooms.models


def test_what_a_model_is(command, models):
    code, out, err = command("inspect", "price.safetensors")
    assert (code, err) == (0, "")
    for words in ("Predicts  price, numbers", "Takes     5 features: rooms, town=A", "dense, relu"):
        assert words in out
    assert "missing values of 3 columns filled" in out
    assert "; the target is scaled, each column by its own" in out
    assert "Trained" not in out
    code, out, _ = command("inspect", "size.safetensors", "--json")
    found = json.loads(out)
    assert (code, found["classes"], found["metrics"]) == (0, ["large", "small"], None)
    assert found["n_parameters"] == 5 * 8 + 8 + 8 + 1
    assert found["config"]["target"] == "size"


def test_what_a_run_on_all_rows_gave(command, models):
    given = ("--dataset", "size.csv", "--target", "size", "--impute", "mean", "--epochs", "3", "--test-fraction", "0")
    assert command("train", *given, "--run-dir", "run")[0] == 0
    code, out, err = command("inspect", "run")
    assert (code, err) == (0, "")
    assert "Trained   81 rows, 3 epochs, on " in out
    assert "Test      no rows" in out


def test_what_a_run_gave(command, models):
    given = ("--dataset", "size.csv", "--target", "size", "--impute", "mean", "--epochs", "3", "--quiet")
    assert command("train", *given, "--run-dir", "run")[0] == 0
    code, out, _ = command("inspect", "run")
    assert code == 0
    n_train = json.loads((models / "run" / "metrics.json").read_text())["n_train"]
    assert f"Trained   {n_train} rows, 3 epochs, on " in out
    assert "Test      loss " in out
    for damaged in ("{", '{"test_loss": 1}', '{"test_loss": 1, "n_train": "many"}', "[" * 100_000):
        (models / "run" / "metrics.json").write_text(damaged)
        code, out, err = command("inspect", "run/model.safetensors")
        assert (code, err) == (0, "")
        assert "Trained" not in out
