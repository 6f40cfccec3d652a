"""What ``mlpgpu train`` says in one line where a run cannot begin or go on."""

import errno
import importlib.util
import os
import re
import sys

import numpy as np
import pytest
from run_files import history_in, metrics_in

from mlpgpu import Model


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed(command, tmp_path, monkeypatch, name, package):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == package else found(name, *more))
    code, out, err = command(f"--dataset iris --log-to {name} --run-dir run")
    assert (code, out) == (2, "")
    assert err == f"error: {name} needs {package}, which is not installed; pip install 'mlpgpu[{name}]'\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")])
def test_a_tracker_that_is_broken(command, tmp_path, monkeypatch, name, package):
    # As protobuf raises it for generated code that is too old.
    (tmp_path / f"{package}.py").write_text("raise TypeError('Descriptors cannot be\\n created directly.')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package, raising=False)
    code, out, err = command(f"--dataset iris --log-to {name} --run-dir run")
    assert (code, out) == (2, "")
    assert err == (
        f"error: {name} needs {package}, which cannot be imported (Descriptors cannot be created directly.); leave "
        f"{name} out, or pip install --force-reinstall 'mlpgpu[{name}]'\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error")
def test_rows_too_large_for_single_precision_end_the_run_in_one_line(command, tmp_path):
    np.savez(tmp_path / "large.npz", x=np.linspace(-1e300, 1e300, 60)[:, None], y=np.arange(60) % 2)
    code, _, err = command("--dataset large.npz --target y --scale none --epochs 2 --quiet")
    assert code == 1
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--dropout 1.5", "dropout is '1.5'; allowed: a number from 0 to below 1"),
        ("--optimizer adma", "did you mean adam"),
        ("--bach-size 3", "--bach-size is not a flag of this command; did you mean --batch-size?"),
        ("--no-early-stoping", "did you mean --no-early-stopping?"),
        ("--lr 0.1", "did you mean --learning-rate?"),
        ("--gpu", "did you mean --device?"),
        ("--cpu", "did you mean --device?"),
        ("--loss-function mse", "did you mean --loss?"),
        ("--initializer normal", "did you mean --init?"),
        ("--units 10", "did you mean --hidden?"),
        ("--target-column y", "did you mean --target?"),
        ("--grad-clip 1", "did you mean --clip-norm?"),
        ("--amp", "did you mean --precision?"),
        ("--save here", "did you mean --run-dir?"),
        ("--silent", "did you mean --quiet?"),
        ("--hidden-layer-sizes 10", "did you mean --hidden?"),
        ("--max-iter 10", "did you mean --epochs?"),
        ("--n-iter-no-change 3", "did you mean --patience?"),
        ("--out here", "did you mean --run-dir?"),
        ("--init xavier", "did you mean glorot_uniform?"),
        ("--wd 0.1", "--wd is not a flag of this command; --help lists them"),
        ("--epochs 2.5", "epochs is '2.5'"),
        ("--epochs nan", "epochs is 'nan'"),
        ("--hidden 5,x", "hidden is '5,x'"),
        ("--activation step", "activation is 'step'; allowed: identity"),
        ("--activation relu tanh --hidden 3", "2 functions for 1 hidden layer;"),
        ("--dataset nowhere.csv --target y", "nowhere.csv"),
        ("--dataset mnits", "did you mean mnist"),
        ("iris --epochs 3", "'iris' belongs to no flag; give --dataset iris"),
        ("--dataset iris --quiet yes", "'yes' belongs to no flag; leave it out"),
        ("--dataset diabetes --loss cross_entropy", "poisson, or give task classification if its numbers are labels\n"),
        (
            "--dataset iris --loss poisson",
            "choose cross_entropy, or give task regression if the target is a quantity\n",
        ),
        ("--dataset iris --task classification --loss poisson", "choose cross_entropy\n"),
        ("--dataset iris --loss logistic", "choose cross_entropy"),
        ("--dataset diabetes --label-smoothing 0.1", "label_smoothing is for classification"),
        ("--dataset iris --momentum 0.5", "choose momentum, nesterov"),
        ("--config absent.toml", "cannot read the config file absent.toml"),
        ("--device gpu", "allowed: auto, cpu, cuda, or cuda:N"),
        ("--backend numpy --device cuda", "has no device 'cuda'"),
        ("--dataset iris --run-dir taken", "holds a run already"),
        ("--dataset iris --run-dir a-file/run", "cannot write the folder"),
        ("--log-to tensorbord", "did you mean tensorboard"),
        ("--hidden 1e9", "from 1 to 1e6"),
        ("--dataset iris --hidden 1000000,1000000", "lower --hidden"),
        ("surplus", "surplus"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(command, tmp_path, line, words):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.toml").touch()
    (tmp_path / "a-file").touch()
    code, _, err = command(line)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_targets_that_a_loss_cannot_take(command, tmp_path):
    rows = "x,y\n" + "".join(f"{i},{i - 20.5}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(rows)
    code, _, err = command("--dataset t.csv --target y --loss poisson")
    assert code == 2
    assert "takes targets from 0 up, and the smallest here is -20.5" in err


def test_a_loss_that_is_not_finite_stops_the_run(command, tmp_path):
    with np.errstate(all="ignore"):
        code, _, err = command(
            "--dataset diabetes --optimizer sgd --schedule constant --learning-rate 1e6 --epochs 50 --run-dir run"
        )
    assert code == 1
    assert err.count("\n") == 1
    assert "epoch 1, step " in err
    assert "lower learning rate" in err
    assert (tmp_path / "run" / "config.toml").exists()


def test_what_was_learned_before_it_diverged_is_kept(command, tmp_path):
    # Gradient descent on a linear model, with a slightly unstable learning rate: each step is worse than the last.
    code, out, err = command(
        "--dataset diabetes --hidden none --input-dropout 0 --optimizer sgd --schedule constant --learning-rate 1 "
        "--epochs 900 --on-divergence stop --run-dir run"
    )
    assert code == 1
    assert err.count("\n") == 1
    losses = [float(row["validation_loss"]) for row in history_in(tmp_path / "run")]
    best = int(np.argmin(losses)) + 1
    assert f"the weights of epoch {best} are in run" in err
    assert f"in epoch {len(losses) + 1}, step " in err
    found = metrics_in(tmp_path / "run")
    assert (found["stopped"], found["weights_of_epoch"]) == ("diverged", best)
    assert np.isfinite(Model.load(tmp_path / "run" / "model.safetensors").params).all()
    assert f"diverged in epoch {len(losses) + 1}; weights of epoch {best}" in out


def test_a_loss_that_explodes_stops_the_run_while_it_is_finite(command, tmp_path):
    code, _, err = command(
        "--dataset diabetes --hidden none --optimizer sgd --schedule constant --learning-rate 2 --epochs 8 "
        "--on-divergence stop --run-dir run"
    )
    assert code == 1
    assert 100 < float(re.search(r"the loss is (\S+) in epoch", err)[1]) < np.inf
    # The loss of the initial weights is about 0.5: half the squared error of a target with variance 1.
    assert all(float(row["loss"]) < 1000 for row in history_in(tmp_path / "run"))


def test_a_full_disk_is_said_in_one_line(command, tmp_path, monkeypatch):
    def full(model, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Model, "save", full)
    code, _, err = command("--dataset iris --epochs 1 --run-dir run")
    assert code == 2
    assert err.count("\n") == 1
    assert "model.safetensors: No space left on device" in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock", "config.toml", "history.csv", "history.jsonl"
    }  # fmt: skip


@pytest.mark.parametrize(("said", "shown"), [("", ""), ("Unable to\nallocate 3 GiB", ": Unable to allocate 3 GiB")])
def test_too_little_memory_is_said_in_one_line(command, monkeypatch, said, shown):
    def fail(*_):
        raise MemoryError(said)

    monkeypatch.setattr("mlpgpu.prepared.load", fail)
    code, out, err = command("--dataset iris")
    assert (code, out) == (2, "")
    assert err == f"error: out of memory{shown}; lower --hidden, --batch-size or --samples\n"


def test_ctrl_c_before_the_first_step(command, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlpgpu.prepared.prepare", interrupted)
    assert command("--dataset iris") == (130, "", "error: interrupted\n")


def test_an_exit_of_another_kind_stays_one(command, monkeypatch):
    def leave(config):
        raise SystemExit(3)

    monkeypatch.setattr("mlpgpu.prepared.prepare", leave)
    with pytest.raises(SystemExit, match="3"):
        command("--dataset iris")
