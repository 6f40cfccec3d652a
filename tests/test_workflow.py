import io
import re
from pathlib import Path

import numpy as np
import pytest

from mlpgpu import Config, Model, train_and_test
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.callbacks import EpochLines, ProgressBar
from mlpgpu.workflow import prepare

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1), {})
    accuracy, predicted = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.95
    # The first digits of scikit-learn's set are 0, 1, 2, 3, 4; they may be among those trained on.
    assert predicted == "[0 1 2 3 4]"


def test_the_readme_names_what_there_is():
    from mlpgpu.maths.activations import ACTIVATIONS
    from mlpgpu.maths.losses import LOSSES
    from mlpgpu.maths.optimizers import OPTIMIZERS
    from mlpgpu.maths.schedules import SCHEDULES

    for heading, table in (
        ("activations", {name for name, known in ACTIVATIONS.items() if known.derivative}),
        ("losses", LOSSES),
        ("optimizers", OPTIMIZERS),
        ("schedules", SCHEDULES),
    ):
        row = re.search(rf"^\| {heading} \| ([^;|]*)", README, re.MULTILINE).group(1)
        assert {name.strip() for name in row.split(",")} == set(table)


def test_a_config_and_what_was_prepared_of_it_are_the_same_run():
    config = Config(dataset="iris", hidden=(8,), epochs=3)
    one, two = train_and_test(config), train_and_test(prepare(config))
    np.testing.assert_array_equal(one.model.params, two.model.params)


def test_without_validation_rows(tmp_path):
    outcome = train_and_test(Config(dataset="iris", hidden=(8,), epochs=3, validation_fraction=0))
    assert (outcome.metrics["n_train"], outcome.metrics["n_validation"], outcome.metrics["n_test"]) == (120, 0, 30)
    assert outcome.metrics["best_epoch"] is None
    assert not any(key.startswith("validation") for key in outcome.run.history[0])
    outcome.model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").classes == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize("progress", ["lines", "bar"])
def test_a_set_that_does_not_fit_is_streamed_and_the_user_told(monkeypatch, progress):
    config = Config(dataset="iris", hidden=(8,), epochs=3)
    resident = train_and_test(config)
    monkeypatch.setattr(NumpyBackend, "free_memory", lambda self: 100)
    said = io.StringIO()
    streamed = train_and_test(
        config, [EpochLines(write=lambda line: said.write(line + "\n")) if progress == "lines" else ProgressBar(said)]
    )
    assert "does not fit on the device" in said.getvalue()
    np.testing.assert_array_equal(streamed.model.params, resident.model.params)
