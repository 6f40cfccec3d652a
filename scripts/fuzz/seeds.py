"""Small valid files of each format, as bytes."""

import datetime as dt
import decimal
import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.data import idx as idx_format
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import State
from mlpgpu.models.model import Model
from mlpgpu.settings.config import Config
from mlpgpu.training.checkpoint import Checkpoint

TABLE = {"a": [1.5, 2.0, -3.0, 4.0, 0.5, 9.0] * 2, "b": ["u", "v", "w"] * 4, "y": [0, 1] * 6}


def idx() -> list[bytes]:
    """Return IDX files, plain and gzipped."""
    plain = [bytes(idx_format.encode(np.arange(size, dtype=np.uint8).reshape(-1, 2))) for size in (2, 12, 200)]
    plain.append(bytes([0, 0, 0x0D, 1, 0, 0, 0, 2]) + np.array([1.5, -2], ">f4").tobytes())
    return plain + [gzip.compress(data) for data in plain]


def csv() -> list[bytes]:
    """Return tables with numbers, text, Booleans, missing values and quotes, in all separators, UTF-8 and UTF-16."""
    rows = zip(*TABLE.values(), strict=True)
    table = "a,b,y\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows)
    quoted = 'a,"b, c",y\r\n' + '1,"say ""so""",0.5\r\n,"two\nlines",1.5\r\n3,,2\r\n' * 3
    truth = "a,b,y\n" + "True,2020-01-02,u\nFalse,,v\n" * 6
    semicolons = "a;b;y\n" + '1,5;"u; v";0\n,25;w;1\n1,234;u;1\n' * 4
    tabs, bars = table.replace(",", "\t"), table.replace(",", "|")
    texts = (table, quoted, truth, semicolons, tabs, bars, "\ufeff" + table, "y\n1\n")
    utf_16 = [text.encode("utf-16") for text in (tabs, semicolons)] + [("\ufeff" + quoted).encode("utf-16-be")]
    return [text.encode() for text in texts] + utf_16


def packed() -> list[bytes]:
    """Return the files of `csv`, gzipped."""
    return [gzip.compress(data) for data in csv()]


def npz() -> list[bytes]:
    """Return arrays of several types, images, and separate validation and test sets."""
    x, y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2
    images = np.arange(48, dtype=np.uint8).reshape(12, 2, 2)
    gaps = np.where(x == 3, np.nan, x).astype(">f4")
    words = np.array(["u", "v", "ü"] * 4)
    cuts = {"train": slice(0, 8), "val": slice(8, 10), "test": slice(10, 12)}
    own = {f"{name}_{part}": rows[at] for part, at in cuts.items() for name, rows in (("x", images), ("y", y))}
    sets = [
        {"x": x, "y": y},
        {"x": gaps, "y": words},
        {"X": images, "y": x},
        {"x": x, "y": np.char.encode(words, "utf-8")},
        own,
    ]
    return [_bytes(write, **arrays) for arrays in sets for write in (np.savez, np.savez_compressed)]


def parquet() -> list[bytes]:
    """Return a table for each column type, with different compressions and encodings."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    day = dt.datetime(2020, 1, 2)
    columns: dict[str, Any] = {
        "text": pa.array(["u", "v", None] * 4),
        "large": pa.array(["u", "v", "w"] * 4, pa.large_string()),
        "words": pa.array(["u", "v", None] * 4).dictionary_encode(),
        "bytes": pa.array([b"u", b"v", b"w"] * 4),
        "gaps": pa.array([1, None, 3] * 4),
        "byte": pa.array([1, 2, 3] * 4, pa.uint8()),
        "half": pa.array(np.arange(12, dtype=np.float16)),
        "truth": pa.array([True, False, None] * 4),
        "nothing": pa.nulls(12),
        "time": pa.array([day] * 12),
        "money": pa.array([decimal.Decimal("1.50")] * 12),
        "lists": pa.array([[1], [], None] * 4),
        "records": pa.array([{"p": 1}] * 12),
    }
    frames = [{name: column, "y": pa.array(TABLE["y"])} for name, column in columns.items()]
    frames.append({"a": pa.array(TABLE["a"]), "y": pa.array(TABLE["b"])})
    files = []
    for i, frame in enumerate(frames):
        how = {
            "compression": ("none", "snappy", "zstd", "gzip")[i % 4],
            "use_dictionary": bool(i % 3),
            "row_group_size": 5,
        }
        files.append(_bytes(lambda file, frame=frame, how=how: pq.write_table(pa.table(frame), file, **how)))
    files.append(_bytes(lambda file: pa.table(frames[-1]).to_pandas().set_index("a").to_parquet(file)))
    return files


def toml() -> list[bytes]:
    """Return configurations as a run writes them, and one with values of all kinds."""
    import tomli_w

    odd = (
        'hidden = [8, 4]\nactivation = ["tanh", "relu"]\nbatch_size = "full"\nrun_dir = \'a\'\nl2 = 1e-3\nseed = 0x1f\n'
    )
    return [tomli_w.dumps(config).encode() for config in _configs()] + [odd.encode(), b"", b"[a]\nb.c = {d = 1}\n"]


def yaml() -> list[bytes]:
    """Return configurations as in `toml`."""
    import yaml as language

    odd = "hidden: 8,4\nactivation: [tanh, relu]\nbatch-size: full\nshuffle: off\nl2: 1.e-3\nseed: 0x1f # comment\n"
    return [language.safe_dump(config).encode() for config in _configs()] + [odd.encode(), b"", b"--- {epochs: 3}\n"]


def models() -> list[bytes]:
    """Return models for each task and kind of output, with and without table columns."""
    columns = [
        {"name": "a", "kind": "number", "fill": 0.5},
        {"name": "b", "kind": "category", "fill": None, "categories": ["u", "v"]},
    ]
    date = {"name": "d", "kind": "date", "fill": 0.5, "first": "day", "hours": False}
    kinds: list[dict[str, Any]] = [
        {"sizes": (3, 2, 1), "loss": "logistic", "classes": (0, 1), "columns": columns, "target": "y"},
        {
            "sizes": (3, 2, 4),
            "loss": "cross_entropy",
            "classes": ("p", "q", "r", "s"),
            "feature_names": ("a", "b", "c"),
        },
        {"sizes": (3, 2, 2), "loss": "huber", "config": {"huber_delta": 0.5}, "columns": [date]},
        {"sizes": (3, 2, 2), "loss": "logistic", "classes": (0, 1)},
    ]
    return [_bytes_of_model(**kind) for kind in kinds]


def checkpoints() -> list[bytes]:
    """Return a checkpoint between two epochs, and one within an epoch."""
    model = Model(np.zeros(3), np.zeros(()), np.ones(()), (2, 1), (), "huber", "regression")
    record: dict[str, float] = {"epoch": 1, "loss": 0.5}

    def state(n_slots: int) -> State:
        return State(np.zeros(3), (np.zeros(3),) * n_slots, np.array(2, np.int32), np.array(0.1))

    def of(n_steps: int, n_slots: int, before: State | None) -> Checkpoint:
        return Checkpoint(
            model=model,
            state=state(n_slots),
            losses=np.zeros(n_steps),
            steps_per_epoch=2,
            history=[record],
            best_epoch=1,
            best_params=np.zeros(3),
            before=before,
            rollbacks=1,
            start_loss=1.0,
            seconds=0.5,
            stopped="",
            callbacks=[("EarlyStopping", {"best": 0.5, "since": 1})],
            plan={"epochs": 3, "layers": [2, 1]},
            data={"training": {"shape": [4, 2], "x": "0", "weights": None}},
            arithmetic="cpu",
        )

    return [_bytes_of(one.save) for one in (of(2, 2, None), of(3, 1, state(1)))]


def _bytes_of(save: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        save(path)
        return path.read_bytes()


def _bytes_of_model(sizes: tuple[int, ...], loss: str, **more: Any) -> bytes:
    task = "classification" if "classes" in more else "regression"
    params = np.linspace(-1, 1, count(sizes), dtype=np.float32)
    model = Model(params, np.zeros(3), np.ones(()), sizes, ("relu",), loss, task, **more)
    return _bytes_of(model.save)


def _configs() -> list[dict[str, Any]]:
    given: list[dict[str, Any]] = [{}, {"dataset": "a.csv", "target": "y", "hidden": (), "early_stopping": True}]
    return [Config(**settings).to_dict() for settings in given]


def _bytes(write: Callable[..., Any], **arrays: Any) -> bytes:
    file = io.BytesIO()
    write(file, **arrays)
    return file.getvalue()
