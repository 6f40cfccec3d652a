"""Random and hostile files: what was written is read back, and anything else is refused in one line."""

import dataclasses
import json
import struct
import warnings

import numpy as np
import pytest
import tomli_w
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from mlpgpu.errors import MAX_SHOWN, InputError
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.parameters import count
from mlpgpu.models.model import Model
from mlpgpu.settings.config import Config
from mlpgpu.settings.config_file import read_file
from scripts.fuzz.targets import TARGETS

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def refusal(read, path, content):
    """Return the error message for a file with this content, or None if it is accepted."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        # NumPy warns of overflow in huge numbers.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            read(path)
        except InputError as error:
            said = str(error)
        else:
            return None
    assert said.isprintable()
    assert len(said) <= MAX_SHOWN
    return said


@st.composite
def damaged(draw, wholes):
    """Draw one of the files, truncated, with flipped bits, or with bytes inserted, removed or duplicated."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = draw(st.integers(at, min(len(content), at + 40)))
        way = draw(st.sampled_from(["cut", "flip", "put", "take", "copy"]))
        if way == "cut":
            del content[at:]
        elif way == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif way == "put":
            content[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif way == "take":
            del content[at:end]
        elif way == "copy":
            content[at:at] = content[at:end]
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_taken_or_refused_in_one_line(tmp_path, name):
    target = TARGETS[name]
    path = tmp_path / f"file{target.suffix}"
    said = set()

    @settings(max_examples=60)
    @given(damaged(target.seeds()) | st.binary(max_size=100))
    def check(content):
        said.add(refusal(target.read, path, content))

    check()
    assert len(said) > 3


# --- settings -------------------------------------------------------------------------------------------------------


def configs():
    """Return a strategy for valid combinations of settings, with every kind of value."""
    text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
    return st.fixed_dictionaries(
        {},
        optional={
            "dataset": text,
            "run_dir": text,
            "hidden": st.lists(st.integers(1, 10**6), max_size=5),
            "batch_size": st.integers(1, 10**9) | st.just("full"),
            "learning_rate": st.floats(1e-300, 1e300),
            "label_smoothing": st.floats(0, 0.999),
            "early_stopping": st.booleans(),
            "optimizer": st.sampled_from(["sgd", "adam", "lion"]),
            "seed": st.integers(0, 2**32 - 1),
        },
    )


@pytest.mark.parametrize(("name", "write"), [("a.toml", tomli_w.dumps), ("a.yaml", yaml.safe_dump)])
def test_settings_come_back_from_their_file(tmp_path, name, write):
    path = tmp_path / name

    @settings(max_examples=60)
    @given(configs())
    def check(given):
        config = Config(**given)
        path.write_text(write(config.to_dict()), encoding="utf-8")
        assert Config(**read_file(path)) == config

    check()


ALIASES = b"hidden: &a [1, 1]\nseed: &b [*a, *a]\nepochs: [*b, *b]\n"
# Too many digits for Python to convert this hexadecimal number to decimal text.
DIGITS = b"f" * 6000


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", ALIASES, "it has an alias"),
        ("a.yaml", b"a: &a {b: 1}\nc: {<<: [*a, *a]}\n", "it has an alias"),
        ("a.yaml", b"[" * 500, "recursion"),
        ("a.yaml", b"epochs: !!int ''", ": string index out of range"),
        ("a.yaml", b"epochs: !!bool x", ": 'x'"),
        ("a.yaml", b"epochs: !!timestamp x", "not valid YAML"),
        ("a.yaml", b"seed: 0x" + DIGITS, "seed is 'a number of more than 4,300 digits'"),
        ("a.yaml", b"hidden: [0x" + DIGITS + b", 3]", "hidden is 'a number of more than 4,300 digits,3'"),
        ("a.yaml", b"hidden: {1: 2}", "hidden is {1: 2}; allowed"),
        ("a.yaml", b"hidden: !!set {1}", "hidden is {1}; allowed"),
        ("a.yaml", b'run_dir: "a\\0b"', "run_dir is 'a\\x00b'; allowed: a text"),
        ("a.yaml", b'run_dir: "\\ud800"', "run_dir is '\\ud800'; allowed: a text"),
        ("a.yaml", b'"a\\nb\\e[31m": 3', "sets 'a\\nb\\x1b[31m', which is not a setting"),
        ("a.yaml", b"seed: " + b"a" * 9000, " [...] "),
        ("a.yaml", b"#" * 20_000, "more than 16,384 bytes"),
        ("a.toml", b"a = " + b"[" * 5000, "recursion"),
        ("a.toml", b"seed = " + b"9" * 5000, ": Exceeds the limit"),
        ("a.toml", b"seed = 0x" + DIGITS, "seed is 'a number of more than 4,300 digits'"),
        ("a.toml", b".".join([b"a"] * 20_000) + b" = 1", "more than 16,384 bytes"),
    ],
)
def test_settings_of_ill_will(tmp_path, name, content, said):
    assert said in refusal(lambda path: Config(**read_file(path)), tmp_path / name, content)


# --- models ---------------------------------------------------------------------------------------------------------


WORDS = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def models(draw):
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)))
    loss = draw(st.sampled_from(sorted(LOSSES)))
    scaled = LOSSES[loss].task == "regression" and draw(st.booleans())
    n_classes = 2 if loss == "logistic" and sizes[-1] == 1 else sizes[-1]
    labels = st.lists(WORDS, min_size=n_classes, max_size=n_classes, unique=True)
    numbers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n_classes, max_size=n_classes, unique=True)

    def floats(n, kind="f8"):
        return draw(hnp.arrays(kind, n, elements=st.floats(-1000, 1000, width=32)))

    return Model(
        params=floats(count(sizes), draw(st.sampled_from(["f4", "f8"]))),
        shift=floats(()),
        factor=floats(sizes[0]),
        sizes=sizes,
        activations=tuple(draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in sizes[1:-1]),
        loss=loss,
        task=LOSSES[loss].task,
        classes=tuple(draw(labels | numbers)) if LOSSES[loss].task == "classification" else (),
        target=draw(st.none() | WORDS),
        target_shift=floats(sizes[-1]) if scaled else None,
        target_factor=np.full(sizes[-1], 0.25) if scaled else None,
    )


@settings(max_examples=60)
@given(models())
def test_any_model_comes_back_from_its_file(tmp_path, model):
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    for field in dataclasses.fields(Model):
        np.testing.assert_array_equal(
            getattr(again, field.name), getattr(model, field.name), strict=field.name == "params"
        )


CATEGORY = {"name": "c", "kind": "category", "fill": None, "categories": ["u", "v"]}
VALUES = {"loss": "huber", "task": "regression", "classes": []}
PAIRS = [[0, 1], ["no", "yes"]]
NUMBER = {"name": "n", "kind": "number", "fill": 0.5}
DATE = {"name": "d", "kind": "date", "fill": 0.5, "first": "day", "hours": False}


def content(arrays=None, **described):
    """Return a model file with some arrays and fields of the description replaced; None omits an array."""
    whole = {
        "version": 1,
        "sizes": [3, 2],
        "activations": [],
        "loss": "cross_entropy",
        "task": "classification",
        "classes": ["p", "q"],
        "feature_names": [],
        "target": None,
        "columns": None,
        "config": {},
    } | described
    tensors = {"params": np.zeros(8), "shift": np.zeros(3), "factor": np.ones(())} | (arrays or {})
    return save({k: v for k, v in tensors.items() if v is not None}, {"mlpgpu": json.dumps(whole)})


def test_the_model_that_is_spoiled_below_is_a_good_one(tmp_path):
    assert refusal(Model.load, tmp_path / "m", content()) is None
    assert refusal(Model.load, tmp_path / "m", content(columns=[CATEGORY, NUMBER])) is None
    assert refusal(Model.load, tmp_path / "m", content(columns=[DATE])) is None
    assert refusal(Model.load, tmp_path / "m", content(targets=["p", "q"], **VALUES)) is None
    assert refusal(Model.load, tmp_path / "m", content(targets=["p", "q"], label_values=PAIRS, loss="logistic")) is None


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"version": "2"}, "do not fit"),
        ({"sizes": 5}, "sizes are not units of layers"),
        ({"sizes": [3]}, "sizes are not units of layers"),
        ({"sizes": [3, -2]}, "sizes are not units of layers"),
        ({"sizes": [3, True]}, "sizes are not units of layers"),
        ({"sizes": [3.0, 2]}, "sizes are not units of layers"),
        ({"sizes": [10**18, 2]}, "params of shape (8,) are not those of its layers"),
        ({"sizes": [3, 10**400]}, "params of shape (8,)"),
        ({"activations": ["relu"]}, "activations are not known ones of its hidden layers"),
        ({"activations": "relu"}, "activations are not"),
        ({"sizes": [3, 1, 2], "activations": ["eval"]}, "activations are not"),
        ({"sizes": [3, 1, 2], "activations": [["relu"]]}, "activations are not"),
        ({"loss": "os.system"}, "loss is 'os.system', which is none of cross_entropy, "),
        ({"loss": []}, "loss is []"),
        ({"task": "regression"}, "task is 'regression', which loss 'cross_entropy' is not for"),
        ({"classes": ["p"]}, "1 classes do not fit 2 outputs"),
        ({"classes": ["p", "p"]}, "classes are there twice"),
        ({"classes": ["p", ["q"]]}, "classes are not labels"),
        ({"classes": [1, float("nan")]}, "classes are not labels"),
        ({"classes": [1, 10**30]}, "classes are not labels"),
        ({"classes": ["p", "\ud800"]}, "surrogates not allowed"),
        ({"loss": "squared_error", "task": "regression"}, "2 classes do not fit 2 outputs"),
        ({"feature_names": ["a"]}, "1 feature_names do not fit 3 features"),
        ({"feature_names": [1, 2, 3]}, "feature_names are not text"),
        ({"target": 3}, "target is not text"),
        ({"targets": "pq"}, "targets are not text"),
        ({"targets": ["p", "q"]}, "2 targets do not fit the outputs"),
        ({"targets": ["p"], **VALUES}, "1 targets do not fit the outputs"),
        ({"targets": ["p", "p"], **VALUES}, "targets are there twice"),
        ({"label_values": PAIRS}, "2 label_values do not fit the outputs"),
        ({"label_values": PAIRS[:1], "loss": "logistic"}, "1 label_values do not fit the outputs"),
        ({"label_values": ["ab", "cd"], "loss": "logistic"}, "label_values are not pairs of labels"),
        ({"label_values": [[0, 1], [0, 1, 2]], "loss": "logistic"}, "label_values are not pairs of labels"),
        ({"label_values": [[0, 1], [0, [1]]], "loss": "logistic"}, "label_values are not pairs of labels"),
        ({"label_values": [[0, 1], ["1", 1]], "loss": "logistic"}, "label_values are there twice"),
        ({"label_values": {}, "loss": "logistic"}, "label_values are not pairs of labels"),
        ({"config": [1]}, "config is no table of settings"),
        ({"config": {"label_smoothing": "much"}}, "label_smoothing is no number"),
        ({"config": {"label_smoothing": 7}}, "label_smoothing is 7; allowed: a number from 0 to below 1"),
        ({"estimator": {"parameters": {"label_smoothing": [1]}}}, "label_smoothing is no number"),
        ({"estimator": {"parameters": 1}}, "parameters of the estimator are no table"),
        ({"columns": {}}, "columns are not records"),
        ({"columns": [NUMBER]}, "columns make 1 features of 3"),
        ({"columns": [NUMBER, NUMBER, NUMBER]}, "names of columns are there twice"),
        ({"columns": [CATEGORY, {"name": "n", "kind": "number"}]}, "KeyError('fill')"),
        ({"columns": [CATEGORY, NUMBER | {"kind": "code"}]}, "column 'n' is of kind 'code'"),
        ({"columns": [CATEGORY, NUMBER | {"kind": []}]}, "column 'n' is of kind []"),
        ({"columns": [CATEGORY, NUMBER | {"fill": "0"}]}, "column 'n' is filled with '0'"),
        ({"columns": [CATEGORY, NUMBER | {"fill": float("inf")}]}, "column 'n' is filled with inf"),
        ({"columns": [CATEGORY | {"fill": 1}, NUMBER]}, "column 'c' is filled with 1"),
        ({"columns": [CATEGORY | {"categories": ["u", "u"]}, NUMBER]}, "categories of column 'c' are there twice"),
        ({"columns": [CATEGORY | {"categories": "uv"}, NUMBER]}, "categories of column 'c' are not text"),
        ({"columns": [CATEGORY | {"name": 1}, NUMBER]}, "the name of a column is not text"),
        ({"columns": [DATE | {"hours": True}]}, "columns make 4 features of 3"),
        ({"columns": [DATE | {"hours": 0}]}, "hours of column 'd' are not a truth value"),
        ({"columns": [DATE | {"first": ["day"]}]}, "dates of column 'd' have ['day'] first"),
        ({"columns": [DATE | {"fill": 1e300}]}, "column 'd' is filled with 1e+300"),
        ({"columns": [DATE | {"fill": "2021-12-31"}]}, "column 'd' is filled with '2021-12-31'"),
    ],
)
def test_a_description_that_does_not_fit_is_found_when_it_is_read(tmp_path, described, said):
    message = refusal(Model.load, tmp_path / "m", content(**described))
    assert message.startswith(f"the model {tmp_path / 'm'} is damaged: its metadata do not fit (")
    assert said in message


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"params": np.zeros(9)}, "params of shape (9,)"),
        ({"params": np.zeros((4, 2))}, "params of shape (4, 2)"),
        ({"params": np.zeros(8, int)}, "params are of type int64"),
        ({"params": np.zeros(8, np.float16)}, "params are of type float16"),
        ({"params": np.full(8, np.nan)}, "parameters are not finite"),
        ({"shift": np.zeros(2)}, "shift of shape (2,)"),
        ({"factor": np.full(3, np.inf)}, "factor are not finite"),
        ({"factor": None}, "factor"),
    ],
)
def test_arrays_that_do_not_fit_are_found_when_they_are_read(tmp_path, arrays, said):
    assert said in refusal(Model.load, tmp_path / "m", content(arrays))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"target_factor": None}, "KeyError('target_factor')"),
        ({"target_shift": None}, "KeyError('target_shift')"),
        ({"target_shift": np.zeros(())}, "target_shift of shape ()"),
        ({"target_factor": np.array([1.0, 0.0])}, "target_factor are zero"),
        ({"target_factor": np.array([1.0, np.inf])}, "target_factor are not finite"),
    ],
)
def test_the_scaling_of_a_target_fits_its_outputs(tmp_path, arrays, said):
    scaling = {"target_shift": np.zeros(2), "target_factor": np.ones(2)}
    regression = {"loss": "squared_error", "task": "regression", "classes": []}
    assert refusal(Model.load, tmp_path / "m", content(scaling, **regression)) is None
    assert said in refusal(Model.load, tmp_path / "m", content(scaling | arrays, **regression))
    assert "target_shift is there for classes" in refusal(Model.load, tmp_path / "m", content(scaling))


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100_000_001),
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 6000) + b"[" * 6000,
        struct.pack("<Q", 60) + b'{"params":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,1]}}'[:60],
    ],
)
def test_a_header_of_ill_will(tmp_path, head):
    assert refusal(Model.load, tmp_path / "m", head)


def test_a_description_nested_without_end(tmp_path):
    deep = save({n: np.zeros(()) for n in ("params", "shift", "factor")}, {"mlpgpu": "[" * 100_000})
    assert "recursion" in refusal(Model.load, tmp_path / "m", deep)
