"""The command ``mlpgpu find-learning-rate``."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.utils import shuffle
from textbook import FACTOR, NUMPY, SHIFT, plan_of, rows_of

from mlpgpu import MLPClassifier, MLPRegressor, commands, find_learning_rate, plots, train
from mlpgpu.maths.parameters import split
from mlpgpu.settings.config import Config, settings
from mlpgpu.settings.search import FLAGS, UNUSED
from mlpgpu.training import initial
from mlpgpu.training.feed import Scaled
from mlpgpu.training.learning_rates import range_test


@pytest.fixture
def command(command_of):
    return command_of(find_learning_rate.app)


SMALL = "--dataset iris --hidden 8 --dropout 0 --input-dropout 0 --batch-size 16"


@pytest.mark.parametrize(
    ("read", "estimator", "n_outputs"),
    [(load_iris, MLPClassifier, 3), (load_breast_cancer, MLPClassifier, 1), (load_diabetes, MLPRegressor, 1)],
)
@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_the_command_finds_what_the_estimator_finds(command, read, estimator, n_outputs, optimizer):
    # Neither shuffles, since the two would shuffle differently.
    x, y = shuffle(*read(return_X_y=True), random_state=0)
    x, y = StandardScaler().fit_transform(x), y if estimator is MLPClassifier else (y - y.mean()) / y.std()
    np.savez("data.npz", x=x, y=y)
    code, out, err = command(
        "--dataset data.npz --target y --scale none --target-scale none --test-fraction 0 --validation-fraction 0 "
        f"--hidden 8 --dropout 0 --input-dropout 0 --batch-size 16 --no-shuffle --optimizer {optimizer} --l2 0.01 "
        "--dtype float64 --backend numpy --seed 3 --low 1e-5 --high 1 --steps 60 --quiet --json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)

    sizes = (x.shape[1], 8, n_outputs)
    start = split(np, initial.draw(sizes, ["he_uniform", "glorot_uniform"], 3), sizes)
    same = estimator(
        hidden_layer_sizes=(8,),
        optimizer=optimizer,
        alpha=0.01,
        batch_size=16,
        shuffle=False,
        init=start,
        backend="numpy",
    )
    expected = same.find_learning_rate(x, y, low=1e-5, high=1, steps=60)
    np.testing.assert_allclose(found["losses"], expected.losses, rtol=1e-12)
    np.testing.assert_array_equal(found["rates"], expected.rates)
    assert found["suggested"] == expected.suggested


def test_what_it_prints_is_the_command_to_train_with(command, tmp_path):
    more = "--optimizer momentum --activation tanh --no-shuffle --seed 2"
    code, out, err = command(f"{SMALL} {more} --steps 200 --out rates.png")
    assert (code, err) == (0, "")
    for words in ("Data      iris: 108 training", "Device    ", "from 1e-07 to 10: loss cross_entropy, momentum", "67"):
        assert words in out
    *_, suggested, saved = out.splitlines()
    assert saved == "Saved     rates.png"
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG"

    rate, line = suggested.removeprefix("Suggested ").split("; mlpgpu ")
    assert 0.01 < float(rate) < 1
    function, bound, *_ = commands.app.parse_args(line, exit_on_error=False, print_error=False)
    assert function is train.train
    expected = Config(
        dataset="iris", hidden=8, dropout=0, input_dropout=0, batch_size=16, optimizer="momentum", activation="tanh",
        shuffle=False, seed=2, learning_rate=float(rate),
    )  # fmt: skip
    assert Config(**bound.kwargs) == expected


def test_settings_of_a_search_in_a_file_are_not_in_the_command_to_train_with(command, tmp_path, monkeypatch):
    file = tmp_path / "own.toml"
    file.write_text('dataset = "iris"\nhidden = [8]\nlearning_rate = 9.0\nepochs = 3\nlow = 1e-6\n')

    def meanwhile(*given, **more):
        # A search may take minutes, and then needs its file no more.
        file.unlink()
        return range_test(*given, **more)

    monkeypatch.setattr("mlpgpu.training.learning_rates.range_test", meanwhile)
    code, out, _ = command("--config own.toml --batch-size 16 --quiet")
    rate, line = out.splitlines()[-1].removeprefix("Suggested ").split("; mlpgpu train ")
    assert code == 0
    assert line == f"--dataset iris --hidden 8 --epochs 3 --batch-size 16 --learning-rate {rate}"


def test_the_steps_done_are_told():
    told = []
    given = NUMPY, plan_of(), rows_of("cross_entropy"), Scaled(NUMPY, SHIFT, FACTOR, "float64")
    range_test(*given, low=1e-5, high=1e-4, steps=10, tell=told.append)
    assert told == sorted(told)
    assert told[-1] == 10


def test_it_says_where_the_loss_diverges(command):
    out = command(f"{SMALL} --optimizer sgd --high 1e6 --quiet")[1]
    found = json.loads(command(f"{SMALL} --optimizer sgd --high 1e6 --quiet --json")[1])
    assert found["diverged"]
    assert out.startswith(
        f"Diverged  at a learning rate of {found['rates'][-1]:.2g}, after {len(found['rates'])} steps\n"
    )


def test_json_is_the_last_line(command):
    code, out, _ = command(f"{SMALL} --steps 100 --json")
    assert code == 0
    assert out.startswith("Data ")
    found = json.loads(out.splitlines()[-1])
    suggested = command(f"{SMALL} --steps 100 --quiet")[1].splitlines()[-1]
    assert suggested.startswith(f"Suggested {found['suggested']:.2g}; mlpgpu train --dataset iris --hidden 8 ")
    assert len(found["rates"]) == len(found["losses"]) <= 100
    assert found["diverged"] == (len(found["rates"]) < 100)
    assert (found["dataset"], found["n_train"], found["out"]) == ("iris", 108, None)


def test_a_config_file_of_a_run_sets_what_applies_here(command, tmp_path):
    mine = [
        "dataset = 'iris'", "hidden = [8]", "dropout = [0.0]", "input_dropout = 0.0", "batch_size = 16",
        "learning_rate = 3.0", "schedule = 'step'", "warmup = 2", "decay_rate = 0.5", "decay_epochs = 1",
        "power_t = 0.5", "epochs = 2", "early_stopping = true", "monitor = 'score'", "patience = 1", "min_delta = 1",
        "on_divergence = 'stop'", "run_dir = 'x'", "checkpoint_every = '1'", "log_to = []", "log_every = '1'",
    ]  # fmt: skip
    (tmp_path / "my run.toml").write_text("\n".join(mine))
    code, out, err = command("--config 'my run.toml' --seed 4 --quiet")
    assert (code, err) == (0, "")
    rate = command(f"{SMALL} --seed 4 --quiet")[1].split("; ")[0].split()[-1]
    assert out.endswith(f"; mlpgpu train --config 'my run.toml' --seed 4 --learning-rate {rate}\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "my run.toml"]
    assert command(out.strip().split("; mlpgpu ")[1], commands.app)[::2] == (0, "")
    assert {line.split()[0] for line in mine} >= set(UNUSED)


def test_what_the_run_would_refuse_is_refused_at_once(command, tmp_path):
    (tmp_path / "own.toml").write_text("early_stopping = true\npatience = 2\n")
    line = f"{SMALL} --config own.toml --validation-fraction"
    code, out, err = command(f"{line} 0")
    assert (code, out) == (2, "")
    assert err.startswith("error: early_stopping is true, and validation_fraction is 0; ")
    assert err == command(f"train {line} 0", commands.app)[2]
    suggested = command(f"{line} 0.1 --quiet")[1].split("; mlpgpu ")[1]
    assert command(f"{suggested.strip()} --epochs 1 --quiet", commands.app)[::2] == (0, "")


def test_every_setting_is_a_flag_or_of_no_use():
    assert set(FLAGS) == set(settings()) - set(UNUSED) | {"low", "high", "steps", "out"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--low 1e-12 --high 1e-11", "Suggested none: the loss falls by no more than its noise; raise --high"),
        ("--optimizer sgd --low 1e4 --high 1e8", "Suggested none: the loss diverges before it falls; lower --low"),
    ],
)
def test_where_nothing_is_found(command, more, said):
    code, out, err = command(f"{SMALL} {more} --quiet")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith(said)
    assert json.loads(command(f"{SMALL} {more} --quiet --json")[1])["suggested"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--low 1 --high 1", "low=1 is not below high=1; give a range"),
        ("--low 0", "low is '0'; allowed: a number from 1e-20 to 1e10"),
        ("--steps 9", "steps is '9'; allowed: a whole number from 10 up"),
        ("--out rates", "out is rates, which has no ending; allowed: .png"),
        ("--out rates.svg", "out is rates.svg, which ends in '.svg'; allowed: .png"),
        ("--out nowhere/rates.png", "there is no folder nowhere"),
        ("--learning-rate 0.1", "--learning-rate is a flag of mlpgpu train, and not of this command; leave it out"),
        ("--epochs=3", "--epochs is a flag of mlpgpu train"),
        ("--early-stopping", "--early-stopping is a flag of mlpgpu train"),
        ("--stpes 3", "did you mean --steps?"),
        ("--optimizer adma", "did you mean adam"),
        ("--optimizer lion --momentum 0.5", "momentum is not a setting of the optimizer 'lion'"),
        ("--config absent.toml", "cannot read the config file absent.toml"),
        ("iris", "'iris' belongs to no flag; give --dataset iris"),
        ("--dataset few.csv --target y", "rows"),
        ("--dataset iris --hidden 1000000,1000000", "lower --hidden"),
    ],
)
def test_bad_input_is_one_line(command, tmp_path, line, words):
    (tmp_path / "few.csv").write_text("x,y\n1,2\n3,4\n")
    code, out, err = command(line)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_a_first_loss_that_is_not_finite(command):
    np.savez("far.npz", x=np.linspace(-1e300, 1e300, 60)[:, None], y=np.arange(60) % 2)
    code, _, err = command("--dataset far.npz --target y --scale none --quiet")
    assert code == 1
    assert err.startswith("error: the loss is ")
    assert "before the first step; scale the inputs, such as by --scale standard" in err
    assert err.count("\n") == 1


def test_no_picture_without_matplotlib(command, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    code, _, err = command(f"{SMALL} --out rates.png")
    assert code == 2
    assert err == "error: no pictures without matplotlib: pip install 'mlpgpu[plots]', or leave out --out\n"
    assert command(f"{SMALL} --quiet")[0] == 0


def test_ctrl_c(command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlpgpu.training.epoch.Training.epoch", interrupted)
    assert command(f"{SMALL} --quiet") == (130, "", "error: interrupted\n")


def test_help_names_every_flag_and_imports_no_array_library(tmp_path):
    code = (
        "import sys, mlpgpu.find_learning_rate as f\n"
        "f.run_command(f.app, ['--help'])\n"
        "print([m for m in ('numpy', 'cupy', 'torch', 'jax', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}
    )
    for name in FLAGS:
        assert f"--{name.replace('_', '-')}" in done.stdout
    for name in UNUSED:
        assert f"--{name.replace('_', '-')} " not in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_it_is_one_of_the_commands(command):
    code, out, _ = command(f"find-learning-rate {SMALL} --quiet", commands.app)
    assert (code, "Suggested " in out) == (0, True)
    assert "find-learning-rate" in command("--help", commands.app)[1]
