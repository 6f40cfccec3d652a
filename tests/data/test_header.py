"""The first line of a text table without names of its columns."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from mlpgpu import Config, InputError
from mlpgpu.data import header, load, reading

pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")

NO_NAMES = "; the first line looks like a row of values: if it is one, write a line of names above it"


@pytest.mark.parametrize(
    ("names", "are_values"),
    [
        (["5.1", "3.5", "1.4", "0.2", "Iris-setosa"], True),
        (["39", "State-gov", "77516", "Bachelors", "13", "2174", "0", "40", "<=50K"], True),
        (["5,1", "3,5", "1,4"], True),
        (["0", "0", "y"], True),
        (["a", "b", "y"], False),
        (["0", "1", "2", "y"], False),
        (["country", "1990", "1995", "2005", "gain"], False),
        (["y", "400.5", "402", "410"], False),
        (["nan", "inf", "-inf", "2"], False),
        ([], False),
    ],
)
def test_which_names_look_like_values(names, are_values):
    assert header.if_values(names) == (NO_NAMES if are_values else "")


def test_pixels_without_names(tmp_path):
    x, y = load_digits(return_X_y=True)
    np.savetxt(tmp_path / "pixels.csv", np.column_stack([x, y])[:50], "%d", ",")
    with pytest.raises(InputError, match=f"more than one column '0', .* its own name{NO_NAMES}"):
        load(Config(dataset=tmp_path / "pixels.csv", target="label"))


@pytest.mark.parametrize("sep", ",;")
def test_flowers_without_names(tmp_path, sep):
    frame = load_iris(as_frame=True).frame
    path = tmp_path / "flowers.csv"
    frame.to_csv(path, sep=sep, header=False, index=False, float_format="%.2f")
    with pytest.raises(InputError, match=f"target is not given; .* as target{NO_NAMES}"):
        load(Config(dataset=path))
    with pytest.raises(InputError, match=f"'species', which .*; allowed: '5.10', .*{NO_NAMES}"):
        load(Config(dataset=path, target="species"))
    data = load(Config(dataset=path, target="0"))
    assert f"the columns are called '5.10', '3.50', '1.40', '0.20', '0'{NO_NAMES}" in data.notes

    frame.to_csv(path, sep=sep, index=False)
    named = load(Config(dataset=path, target="target"))
    assert not any(NO_NAMES in note for note in named.notes)
    frame.to_csv(path, sep=sep, header=False, index=False)
    with pytest.raises(InputError, match=f"no column 'sepal length .* of training{NO_NAMES}"):
        reading.read_features(path, named.columns)
