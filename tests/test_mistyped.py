"""What every command says in one line about words that do not fit its flags."""

import shlex

import pytest

from mlpgpu import commands, train


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """``said("train --epochs")`` runs a command that is refused -> its message."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        code = train.run_command(commands.app, shlex.split(line))
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert list(tmp_path.iterdir()) == []
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").rstrip()

    return run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "train --dataset t.csv --target price area --epochs 3",
            "'area' belongs to no flag; leave it out, or write --target 'price area' for one name, or --target "
            "price,area for several",
        ),
        (
            "evaluate model t.csv --target=price area",
            "'area' belongs to no flag; leave it out, or write --target 'price area' for one name, or --target "
            "price,area for several",
        ),
        (
            "train --dataset my file.csv",
            "'file.csv' belongs to no flag; leave it out, or write --dataset 'my file.csv' for one name",
        ),
        ("train --target price t.csv", "'t.csv' belongs to no flag; give --dataset t.csv"),
        ("train help", "'help' belongs to no flag; leave it out"),
        ("train --epochs 3 4", "'4' belongs to no flag; leave it out"),
        (
            "train --shuffle false",
            "'false' belongs to no flag; leave it out: --shuffle takes no value, and its opposite is --no-shuffle",
        ),
        ("train --quiet yes", "'yes' belongs to no flag; leave it out: --quiet takes no value"),
        ("train \u2014epochs 3", "'\u2014epochs' begins with a dash in place of hyphens; write --epochs"),
        ("train --epochs", "--epochs has no value; give one, which --help describes, or leave it out"),
        ("train --hidden --epochs 3", "--hidden has no value; give one, which --help describes, or leave it out"),
        ("train --seed --epochs 3", "--seed has no value; give one, which --help describes, or leave it out"),
        ("train --seed 1 --seed 2", "--seed is given more than once; keep one of them"),
        ("train -epochs 3", "-epochs is not a flag of this command; did you mean --epochs?"),
        (
            "cross-validate --run-dir x",
            "--run-dir is a flag of mlpgpu train, and not of this command; did you mean --out?",
        ),
        (
            "bench --device cpu",
            "--device is a flag of mlpgpu train, and not of this command; did you mean --devices?",
        ),
        (
            "predict --model m --dataset t.csv",
            "--dataset is a flag of mlpgpu train, and not of this command; did you mean --data?",
        ),
        ("predict model", "data is not given; write mlpgpu predict MODEL DATA"),
        ("train --quiet='a\nb'", 'Invalid value for --quiet: unable to convert "a b" into bool.'),
        (
            "--epochs 3",
            "--epochs has no command in front of it; write, for example, mlpgpu train --epochs, or see mlpgpu --help",
        ),
    ],
)
def test_words_that_fit_no_flag(said, line, message):
    assert said(line) == message


@pytest.mark.parametrize(
    "line",
    [
        "train --dataset https://a.example/rows.csv --target y",
        "train --dataset mnist --data-dir https://a.example/mnist",
        "train --config https://a.example/config.toml",
        "train --resume s3://bucket/run",
        "train --start-from https://a.example/run --dataset iris",
        "evaluate https://a.example/run rows.csv",
        "find-learning-rate --dataset iris --out s3://bucket/rates.png",
    ],
)
def test_a_url_is_no_path(said, line):
    (url,) = (word for word in line.split() if "://" in word)
    assert said(line) == f"{url} is a URL; allowed: files and folders of this machine; download it, and give the path"


def test_the_hint_for_several_words_is_for_the_wrong_one(said):
    assert said("train --activation tanh,ReLUU").endswith("did you mean relu?")
