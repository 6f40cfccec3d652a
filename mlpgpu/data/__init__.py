"""Data on the host: from a name or a file to a checked and split data set."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu import endings
from mlpgpu.data import array_file, aside, missing, mnist, npz, own, scaling, table
from mlpgpu.data import columns as table_columns
from mlpgpu.data.builtin import BUILTIN
from mlpgpu.data.dataset import DataSet
from mlpgpu.data.groups import check_apart
from mlpgpu.data.lacking import lacking
from mlpgpu.data.mapped import Mapped, take
from mlpgpu.data.mirrors import UnavailableError
from mlpgpu.data.reading import read_features
from mlpgpu.data.remarks import Remarks
from mlpgpu.data.scaling import Scaling
from mlpgpu.data.source import Source
from mlpgpu.data.split import hold_out, hold_out_last, in_folds
from mlpgpu.data.target import Target, decide, numbered
from mlpgpu.data.used import sort_of
from mlpgpu.errors import InputError, did_you_mean, listed
from mlpgpu.figures import counted
from mlpgpu.files import expanded
from mlpgpu.settings.config import settings

if TYPE_CHECKING:
    import pandas as pd

    from mlpgpu.models.model import Model
    from mlpgpu.settings.config import Config

__all__ = ["NAMES", "DataSet", "folds", "load", "read_features"]

NAMES = (*mnist.MIRRORS, *BUILTIN)

_MIN_ROWS = 5


def load(config: "Config", like: "Model | None" = None) -> DataSet:
    """Load the data set that a config asks for, split it, and fit its encoding and scaling.

    If the set has no test rows of its own, in its file or in ``test_data``, ``test_fraction`` of its rows are held out
    for testing. Then, if it has no validation rows of its own, ``validation_fraction`` of the remaining rows are held
    out for validation. Either fraction may be 0. The rows are drawn at random, in whole groups if ``group`` is given,
    or are the last ones, as ``hold_out`` says. Encoding, imputation and scaling are fitted on the remaining training
    rows only.

    Parameters
    ----------
    config : Config
        Only ``seed``, ``quiet`` and the settings of the group Data are used.
    like : Model or None
        A trained model whose encoding and scaling are used instead of fitting new ones.

    Raises
    ------
    InputError
        If there is no such set, or it cannot be used with these settings or with that model.
    """
    rows, target = _read(config, like)
    check_apart(rows, config)
    own.check_known(rows, target)
    train, given = own.places(rows)
    test, notes = given.get("test", train[:0]), own.noted(rows, config)
    if "test" not in given and config.test_fraction:
        train, test, note = _held_out(rows, target, config, train, "test_fraction")
        notes += [note] if note else []
        if len(train) == 1 and "validation" not in given and config.validation_fraction:
            raise InputError(
                f"test_fraction is {config.test_fraction:g}, which leaves 1 of {len(rows.x):,} rows, and "
                "validation_fraction takes that; lower test_fraction, or set validation_fraction to 0"
            )
        if like is not None and (changed := _splits_otherwise(config, like.config)):
            notes.append(
                f"the model to start from had another {changed}: it may have learned from rows that are tested on here"
            )
    return _split(rows, target, config, like, train, test, notes, given.get("validation"))


def folds(config: "Config", n_folds: int, like: "Model | None" = None) -> Iterator[tuple[np.ndarray, DataSet]]:
    """Load the data set that a config asks for, and yield it once per fold with that fold as the test rows.

    If the set has validation or test rows of its own, they are appended to the other rows, in this order, before the
    folds are drawn.

    Parameters
    ----------
    config, like
        As for `load`, except that ``test_fraction`` is ignored.
    n_folds : int
        At least 2.

    Yields
    ------
    rows : ndarray of int64
        Indices of the test rows in the whole set, in the order of ``data.x_test``.
    data : DataSet

    Raises
    ------
    InputError
        As for `load`, if there are fewer rows or groups than folds, if ``hold_out`` is not random, or if a file of
        validation or test rows is given.
    """
    own.refuse_files(config)
    if config.hold_out == "last":
        raise InputError(
            "hold_out is last, and folds are drawn at random; allowed: hold_out random; leave it out, or test on the "
            "last rows with mlpgpu train"
        )
    rows, target = _read(config, like)
    of_all: dict[str, Any] = {attribute: rows.joined(attribute) for attribute in ("x", "y", "weights", "groups")}
    rows = dataclasses.replace(rows, **of_all, own={})
    parts, notes = in_folds(len(target.y), target.labels, n_folds, config.seed, rows.groups)
    if like is not None and _trained_on(config.dataset or rows.name, like.config):
        notes.append(
            "the model to start from was trained on this set: it may have learned from rows that are tested on here"
        )
    for train, test in parts:
        yield test, _split(rows, target, config, like, train, test, notes)


def _read(config: "Config", like: "Model | None") -> tuple[Source, Target]:
    rows = own.with_files(_rows(config, None if like is None else like.columns), config)
    return rows, _target(rows, config)


def _held_out(
    source: Source, target: Target, config: "Config", rows: np.ndarray, setting: str
) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Hold out the fraction of `rows` that a setting gives; return what `hold_out` does."""
    fraction = getattr(config, setting)
    if config.hold_out == "last":
        return hold_out_last(rows, fraction, setting)
    labels, groups = (None if of_rows is None else of_rows[rows] for of_rows in (target.labels, source.groups))
    return hold_out(rows, labels, fraction, config.seed, setting, groups)


def _split(
    rows: Source,
    target: Target,
    config: "Config",
    like: "Model | None",
    train: np.ndarray,
    test: np.ndarray,
    notes: list[str],
    validation: np.ndarray | None = None,
) -> DataSet:
    """Hold out some rows of `train` for validation, unless they are given, and fit on the others."""
    y = target.y
    notes = [*rows.notes, *([target.note] if target.note else []), *notes]
    if validation is None and config.validation_fraction:
        train, validation, note = _held_out(rows, target, config, train, "validation_fraction")
        notes += [note] if note else []

    if isinstance(rows.x, Mapped):
        # Rows that are adjacent in the file are read together.
        notes.append(f"memory-mapped: rows are read from {rows.x.path} as they come, and shuffled block-wise")
        train, test = np.sort(train), np.sort(test)
        validation = None if validation is None else np.sort(validation)
    (x, *others), columns, more = _features(rows, train, config.impute, like)
    notes += more
    given = dict(zip(rows.own, others, strict=True))
    # Views where possible: a copy of y may have another order in memory, and sums over it another rounding.
    x_train, y_train = (x, y[: len(x)]) if len(train) == len(x) else (take(x, train), y[train])
    x_validation = given.get("validation")
    if x_validation is None and validation is not None:
        x_validation = take(x, validation)
    weights: dict[str, np.ndarray] = {}
    if (of_all := rows.joined("weights")) is not None:
        parts = {"train": train, "validation": validation, "test": test}
        weights = {part: of_all[numbers] for part, numbers in parts.items() if numbers is not None}
        notes.append(aside.weighed(config, weights))
    feature_names = rows.feature_names or table_columns.feature_names(columns or [])
    scaled, more = _scaling(rows, x_train, feature_names, config, like)
    notes += more
    data = DataSet(
        name=rows.name,
        task=target.task,
        x_train=x_train,
        y_train=y_train,
        x_validation=x_validation,
        y_validation=None if validation is None else y[validation],
        x_test=given["test"] if "test" in given else take(x, test),
        y_test=y[test],
        classes=target.classes,
        feature_names=feature_names,
        target=rows.target,
        targets=_names(rows) if y.ndim > 1 and y.shape[1] > 1 else (),
        scaling=scaled,
        columns=columns,
        notes=tuple(notes),
        label_values=target.label_values,
        **{f"weights_{part}": each for part, each in weights.items()},
    )
    return dataclasses.replace(data, notes=(*notes, *lacking(data)))


def _rows(config: "Config", columns: list[dict[str, Any]] | None) -> Source:
    name = config.dataset
    if name is None:
        try:
            return mnist.load("mnist", config)
        except UnavailableError as error:
            note = f"using digits, small images that scikit-learn ships, because {error}"
            return dataclasses.replace(BUILTIN["digits"](config), notes=(note,))
    sort, path = sort_of(name), expanded(name)
    if sort == "mnist":
        return mnist.load(name, config)
    if sort in BUILTIN:
        return BUILTIN[sort](config)
    if sort == "npz":
        return npz.load(path, config)
    if sort == "table":
        return table.load(path, config, columns)
    if sort == "array":
        return array_file.load(path, config)
    hint = did_you_mean(name, NAMES) or f"; {endings.instead(path)}"
    raise InputError(f"dataset is {name!r}; allowed: {', '.join(NAMES)}, or a {endings.DATA_FILE}{hint}")


def _target(rows: Source, config: "Config") -> Target:
    y = rows.joined("y")
    assert y is not None
    if rows.task != "auto":
        if config.task not in {"auto", rows.task}:
            raise InputError(
                f"task is {config.task!r}, but {rows.name} is a set for {rows.task}; allowed: auto, {rows.task}"
            )
        if rows.task == "regression":
            return Target(rows.task, y.reshape(len(y), -1).astype(np.float64), (), None)
        return Target(rows.task, y.astype(np.int64), rows.classes, None)
    n_rows = len(rows.x)
    if n_rows < _MIN_ROWS:
        raise InputError(
            f"{rows.name} has {counted(n_rows, 'row')}; allowed: at least {_MIN_ROWS}; give a set with more rows"
        )
    where = f"{'array' if isinstance(rows.x, np.ndarray | Mapped) else 'column'} {rows.target!r}"
    if rows.targets:
        where = f"columns {listed(rows.targets)}"
    return decide(y, config.task, where, categorical=rows.categorical, names=_names(rows), decimal=rows.decimal)


def _names(rows: Source) -> tuple[str, ...]:
    """Return the name of each column of y."""
    return rows.targets or numbered(rows.target or "y", math.prod(rows.y.shape[1:]))


def _features(
    rows: Source, train: np.ndarray, impute: str, like: "Model | None"
) -> tuple[list[np.ndarray | Mapped], list[dict[str, Any]] | None, list[str]]:
    """Return x of each of the parts of `rows`, the records of the encoding, and notes."""
    xs: list[Any] = [part.x for part in rows.parts]
    columns = None if like is None else like.columns
    if not isinstance(rows.x, np.ndarray | Mapped):
        return _encoded(rows, train, impute, like)
    if like is not None and columns is not None:
        columns = missing.filling(columns, rows.x.shape[1])
        impute = "none" if columns is None else str(like.config.get("impute"))
    refuse = partial(missing.refuse, names=rows.feature_names, filled=impute != "none", by_model=like is not None)
    if not any(own.each(rows, refuse)):
        unused = f"impute {impute} is not used: no value is missing, and the model will refuse missing values"
        return xs, columns, [unused] if columns is None and impute != "none" else []
    if isinstance(rows.x, Mapped):
        raise InputError(
            f"{rows.name} has missing values, and its rows stay in their file, where impute {impute!r} cannot "
            "fill them; give memory_map never, or fill them in the file"
        )
    columns = columns or missing.fit(rows.x[train], rows.feature_names, impute)
    remarks = Remarks(by_model=like is not None)
    return [missing.fill(x, columns, remarks) for x in xs], columns, remarks.notes()


def _encoded(
    rows: Source, train: np.ndarray, impute: str, like: "Model | None"
) -> tuple[list[np.ndarray | Mapped], list[dict[str, Any]], list[str]]:
    """Return the features of each part of a table, the records of their encoding, and notes."""
    frame: pd.DataFrame = rows.x
    if like is None:
        columns, notes = table_columns.fit(frame, impute, rows.decimal, train)
    else:
        columns = like.encoding or table_columns.numbers(frame.columns)
        known = {record["name"] for record in columns}
        more = [name for name in frame.columns if name not in known]
        notes = [f"left out, as the model to start from has no such column: {listed(more)}"] if more else []
    remarks = Remarks(by_model=like is not None)
    xs: list[np.ndarray | Mapped] = [*own.each(rows, partial(table_columns.encode, columns=columns, remarks=remarks))]
    return xs, columns, [*notes, *remarks.notes()]


def _scaling(
    rows: Source, x_train: np.ndarray | Mapped, names: Sequence[str], config: "Config", like: "Model | None"
) -> tuple[Scaling, list[str]]:
    """Return the scaling of the features, and notes."""
    kind = rows.scale if config.scale == "auto" else config.scale
    # An estimator scales nothing, so its model does not tell how its rows were prepared.
    untold = like is not None and "scale" not in like.config
    if like is None or (untold and config.scale != "auto"):
        return scaling.fit(kind, x_train, names=names), []
    notes = [
        "the images are not scaled, for the model to start from is an estimator's, which scales nothing; if it was "
        "fitted on images divided by 255, give scale 255"
    ]
    return scaling.of_model(like.shift, like.factor), notes if untold and kind == "255" else []


def _splits_otherwise(config: "Config", other: Mapping[str, Any]) -> str:
    """Name the settings that make the test rows of the same set differ from those under `other`; empty if none do."""
    if config.dataset is None or not _trained_on(config.dataset, other):
        return ""
    deciding, known = ("target", "test_data", "hold_out", "group", "test_fraction", "seed"), settings()
    # A model of an earlier version lacks the settings that came later.
    return ", ".join(name for name in deciding if getattr(config, name) != other.get(name, known[name].default))


def _trained_on(dataset: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a run with these settings used a set of the same name."""
    return Path(dataset).name == Path(str(settings.get("dataset"))).name
