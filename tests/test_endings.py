"""The endings of data files: those of tables, and what is said of any other."""

import pytest

from mlpgpu import Config, InputError, commands, endings, train
from mlpgpu.data import load, reading


@pytest.mark.parametrize("name", ["a.gz", "a.doc.gz", "a.parquet.gz", "a.csv.xz", "a.tar.gz", "csv.gz", ".csv.gz.zip"])
def test_other_endings_are_refused_with_what_there_is(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    allowed = r"\.csv, \.tsv, \.tab, \.txt \(plain, \.gz, \.bz2, \.zip\), \.parquet, \.npz, \.npy or IDX file"
    with pytest.raises(InputError, match=f"allowed: a {allowed}; give one, or rename it to .csv if"):
        reading.read_features(tmp_path / name, None)
    with pytest.raises(InputError, match=f"or a {allowed}; give one, or rename it to .csv if"):
        load(Config(dataset=tmp_path / name, target="y"))


@pytest.mark.parametrize("name", ["a.xlsx", "a.XLS", "a.ods"])
def test_a_workbook_is_to_be_saved_as_text(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for read in (lambda path: reading.read_features(path, None), lambda path: load(Config(dataset=path, target="y"))):
        with pytest.raises(InputError, match="IDX file; save the sheet of the workbook as CSV UTF-8$"):
            read(tmp_path / name)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate"])
def test_help_names_the_same_endings(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    train.run_command(commands.app, [command, "--help"])
    assert endings.DATA_FILE in " ".join(capsys.readouterr().out.replace("│", " ").split())
