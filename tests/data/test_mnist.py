"""Where MNIST's files are looked for, and how they are verified."""

import gzip
import hashlib
import re

import numpy as np
import pytest
from idx_sets import assert_is_tiny, rows_of

from mlpgpu.data import load, mnist
from mlpgpu.data.mirrors import UnavailableError
from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config


def write(folder, files, pack=gzip.compress, end=".gz", spell=lambda file: file):
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / (spell(file) + end)).write_bytes(pack(data))


@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"pack": bytes, "end": ""},
        {"spell": lambda file: file.replace("-idx", ".idx")},
        {"pack": bytes, "end": "", "spell": lambda file: file.replace("-idx", ".idx")},
        {"pack": bytes},
    ],
)
def test_finds_every_layout_of_a_folder(tmp_path, tiny, below, layout):
    write(tmp_path / "given" / below, tiny.files, **layout)
    d = load(Config(dataset="mnist", data_dir=str(tmp_path / "given")))
    assert_is_tiny(d, tiny)
    assert d.notes == ()


def test_folder_for_all_sets_is_found_by_the_variable(tmp_path, tiny, monkeypatch):
    write(tmp_path / "all" / "mnist", tiny.files)
    write(tmp_path / "all" / "fashion-mnist", tiny.fashion)
    monkeypatch.setenv("MLPGPU_DATA_DIR", str(tmp_path / "all"))
    assert_is_tiny(load(Config()), tiny)
    fashion = load(Config(dataset="fashion-mnist"))
    assert fashion.classes[9] == "Ankle boot"
    assert len(set(fashion.classes)) == 10
    assert rows_of(fashion) != rows_of(load(Config()))


def test_data_dir_comes_before_the_variable_and_the_cache(tmp_path, tiny, monkeypatch):
    write(tmp_path / "given", tiny.files)
    write(tmp_path / "other", {file: data + b"x" for file, data in tiny.files.items()})
    write(tiny.cache / "mnist", {file: data + b"x" for file, data in tiny.files.items()})
    monkeypatch.setenv("MLPGPU_DATA_DIR", str(tmp_path / "other"))
    assert_is_tiny(load(Config(data_dir=str(tmp_path / "given"))), tiny)


def test_data_dir_without_files_is_passed_over_with_a_note(tmp_path, tiny):
    write(tiny.cache / "mnist", tiny.files)
    (tmp_path / "bare").mkdir()
    d = load(Config(data_dir=str(tmp_path / "bare")))
    assert_is_tiny(d, tiny)
    assert d.notes == (f"data_dir {tmp_path / 'bare'} holds no files of mnist; looked elsewhere",)


def test_data_dir_must_be_a_folder(tmp_path, tiny):
    with pytest.raises(InputError, match=r"data_dir is .* not a folder"):
        load(Config(dataset="mnist", data_dir=str(tmp_path / "absent")))


@pytest.mark.parametrize("by_variable", [False, True])
def test_some_of_the_four_files_are_refused(tmp_path, tiny, monkeypatch, by_variable):
    write(tmp_path / "part", {file: tiny.files[file] for file in list(tiny.files)[:3]})
    if by_variable:
        monkeypatch.setenv("MLPGPU_DATA_DIR", str(tmp_path / "part"))
    data_dir = None if by_variable else str(tmp_path / "part")
    with pytest.raises(InputError, match="3 of the four files of mnist, without t10k-labels-idx1-ubyte") as caught:
        load(Config(data_dir=data_dir))
    assert ("MLPGPU_DATA_DIR" if by_variable else "data_dir") in str(caught.value)


@pytest.mark.parametrize("by_variable", [False, True])
def test_damaged_file_is_named_with_both_checksums(tmp_path, tiny, monkeypatch, by_variable):
    file = "t10k-images-idx3-ubyte"
    damaged = tiny.files[file][:-1] + bytes([tiny.files[file][-1] ^ 1])
    write(tmp_path, tiny.files | {file: damaged})
    if by_variable:
        monkeypatch.setenv("MLPGPU_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError) as caught:
        load(Config(data_dir=None if by_variable else str(tmp_path)))
    message = str(caught.value)
    assert str(tmp_path / f"{file}.gz") in message
    assert tiny.sums["mnist"][file] in message
    assert hashlib.md5(damaged).hexdigest() in message
    assert "\n" not in message


def test_truncated_file_is_named(tmp_path, tiny):
    write(tmp_path, tiny.files)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=re.escape(f"{path} is a truncated gzip")):
        load(Config(data_dir=str(tmp_path)))


def test_files_of_another_set_are_named_when_given_and_passed_over_otherwise(tmp_path, tiny, monkeypatch):
    write(tmp_path / "bare", tiny.fashion)
    with pytest.raises(InputError, match="it belongs to fashion-mnist"):
        load(Config(dataset="mnist", data_dir=str(tmp_path / "bare")))
    write(tiny.cache / "mnist", tiny.files)
    monkeypatch.setenv("MLPGPU_DATA_DIR", str(tmp_path / "bare"))
    assert_is_tiny(load(Config(dataset="mnist")), tiny)


def test_damaged_file_in_the_cache_is_got_again(tiny, server, monkeypatch):
    write(tiny.cache / "mnist", tiny.files)
    bad = tiny.cache / "mnist" / "train-labels-idx1-ubyte.gz"
    bad.write_bytes(bad.read_bytes()[:30])
    also_bad = tiny.cache / "mnist" / "t10k-labels-idx1-ubyte.gz"
    also_bad.write_bytes(gzip.compress(tiny.files["t10k-labels-idx1-ubyte"][:-1] + b"\x0b"))
    server.put_all(tiny.files)
    monkeypatch.setattr(mnist, "MIRRORS", {"mnist": (server.url,)})
    assert_is_tiny(load(Config()), tiny)
    assert server.asked == ["/train-labels-idx1-ubyte.gz", "/t10k-labels-idx1-ubyte.gz"]
    assert gzip.decompress(bad.read_bytes()) == tiny.files["train-labels-idx1-ubyte"]
    assert gzip.decompress(also_bad.read_bytes()) == tiny.files["t10k-labels-idx1-ubyte"]


def test_damaged_file_that_cannot_be_removed_is_named(tiny, monkeypatch):
    write(tiny.cache / "mnist", dict.fromkeys(tiny.files, b""))

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz is damaged and cannot be removed"):
        load(Config())


def test_without_a_dataset_digits_stand_in_and_say_how_to_get_mnist(tiny):
    d = load(Config())
    assert d.name == "digits"
    assert len(d.notes) == 1
    for word in ("digits", "mnist", "--data-dir", "MLPGPU_DATA_DIR", "no connection"):
        assert word in d.notes[0]
    assert "\n" not in d.notes[0]


def test_mnist_asked_for_never_falls_back(tiny):
    with pytest.raises(UnavailableError, match="--data-dir or MLPGPU_DATA_DIR"):
        load(Config(dataset="mnist"))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_set(data_dir, name):
    d = load(Config(dataset=name, data_dir=data_dir))
    assert d.x_train.shape == (54_000, 784)
    assert d.x_validation.shape == (6_000, 784)
    assert d.x_test.shape == (10_000, 784)
    assert d.x_train.dtype == np.uint8
    assert d.scaling.kind == "255"
    y = np.concatenate([d.y_train, d.y_validation])
    if name == "mnist":
        assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert d.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
        assert d.classes == tuple(range(10))
    else:
        assert np.bincount(y).tolist() == [6000] * 10
        assert [d.classes[i] for i in d.y_test[:3]] == ["Ankle boot", "Pullover", "Trouser"]
    shares = np.bincount(d.y_validation) / np.bincount(y)
    assert abs(shares - 0.1).max() < 0.001
