import dataclasses
import inspect
import json
import math
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import tomli_w

from mlpgpu.errors import InputError
from mlpgpu.settings.config import LAYERS, Config, settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.settings.dependent import each_layer
from mlpgpu.settings.resumed import check_same
from mlpgpu.settings.setting import Setting

NUMBERS = {name: known for name, known in settings().items() if known.kind in {int, float}}
WORDS = {name: known for name, known in settings().items() if known.kind is str and known.choices}
# An optimizer for each setting that only some of them have.
OWNERS = {"momentum": "momentum", "beta_1": "adam", "beta_2": "adam", "epsilon": "adam"}


def configured(name, value):
    # `freeze` can be at most the number of hidden layers.
    return Config(**{"optimizer": OWNERS.get(name, "adam"), "hidden": [8] * 12, name: value})


def message(**given):
    with pytest.raises(InputError) as caught:
        Config(**given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ends(interval):
    low, high = (float(end) for end in interval[1:-1].split(","))
    return (low, interval[0] == "["), (high, interval[-1] == "]")


def neighbours(known, end, outward):
    """Return the nearest values outside and inside an end of an interval."""
    if known.kind is int:
        return end + outward, end - outward
    return math.nextafter(end, outward * math.inf), math.nextafter(end, -outward * math.inf)


def test_every_default_is_what_it_was_declared_to_be():
    config = Config()
    for name, known in settings().items():
        default = LAYERS.get(name, known.default)
        assert getattr(config, name) == default
        assert type(getattr(config, name)) is type(default)
        # What a model to start from may decide stays open.
        assert getattr(Config(start_from="m"), name) == ("m" if name == "start_from" else known.default)


@pytest.mark.parametrize("name", [name for name, known in settings().items() if known.default is not None])
def test_every_default_is_within_its_own_range(name):
    known = settings()[name]
    default = known.default
    assert known.parse(default) == default
    if known.kind is not bool:
        # As on a command line.
        text = (",".join(map(str, default)) or "none") if known.many else str(default)
        assert known.parse(text) == default


def test_every_setting_is_helped_and_grouped():
    for name, known in settings().items():
        assert known.help, name
        assert "\n" not in known.help, name
        assert known.group in {"Data", "Network", "Training", "Run"}, name
        assert known.default is not None or "[default: " in known.help or name == "target", name


def test_only_what_names_something_or_is_read_elsewhere_may_be_any_text():
    free = {name for name, known in settings().items() if known.kind is str and not known.choices}
    files = {"dataset", "validation_data", "test_data", "data_dir", "start_from", "run_dir"}
    columns = {"target", "drop", "sample_weight", "group"}
    assert free == files | columns | {"device", "checkpoint_every", "log_every"}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_every_range(name):
    known = NUMBERS[name]
    for (end, closed), outward in zip(ends(known.within), (-1, 1), strict=True):
        if math.isinf(end):
            continue
        outside, inside = neighbours(known, end, outward)
        allowed, refused = [inside], [outside]
        (allowed if closed else refused).append(end)
        for value in allowed:
            value = known.kind(value)
            got = configured(name, value)
            assert getattr(got, name) == ((value,) if known.many else value)
        for value in refused:
            value = known.kind(value)
            said = message(**{"optimizer": OWNERS.get(name, "adam"), name: [value] if known.many else value})
            assert said.startswith(f"{name} is {str(value) if known.many else value!r}; allowed: ")


@pytest.mark.parametrize("name", NUMBERS)
def test_values_that_are_not_numbers_are_refused(name):
    for value in (math.nan, math.inf, -math.inf, "nan", "inf", "many", "", True, [], {}, 1 + 2j):
        assert message(**{name: [value] if NUMBERS[name].many else value}).startswith(f"{name} is ")


@pytest.mark.parametrize("name", [name for name, known in NUMBERS.items() if known.kind is int])
def test_whole_numbers_are_whole(name):
    known = NUMBERS[name]
    assert f"{name} is " in message(**{name: 12.5})
    assert f"{name} is " in message(**{name: "12.5"})
    assert "allowed: a whole number" in message(**{name: "12.5"})
    for given in (12, 12.0, "12", "1.2e1", np.int64(12), np.float32(12)):
        if known.many:
            given = [given]
        got = getattr(configured(name, given), name)
        got = got[0] if known.many else got
        assert got == 12
        assert type(got) is int


@pytest.mark.parametrize("name", WORDS)
def test_every_word_of_every_choice_and_no_other(name):
    known = WORDS[name]
    for word in known.choices:
        needs = {"hidden": ()} if word == "step" and name == "activation" else {}
        assert getattr(Config(**{name: word, **needs}), name) == ((word,) if known.many else word)
    said = message(**{name: "no-such-word"})
    assert said.startswith(f"{name} is 'no-such-word'; allowed: ")
    for word in known.choices:
        assert word in said
    assert "did you mean" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"activation": "rellu"}, "did you mean relu?"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"loss": "cross-entropy"}, "did you mean cross_entropy?"),
        ({"activation": "sigmoid"}, "did you mean logistic?"),
        ({"activation": ("swish",)}, "did you mean silu?"),
        ({"loss": "mse"}, "did you mean squared_error?"),
        ({"loss": "log_loss"}, "did you mean cross_entropy?"),
        ({"loss": "MSELoss"}, "did you mean squared_error?"),
        ({"optimizer": "SGDM"}, "did you mean momentum?"),
        ({"loss": "sparse_categorical_crossentropy"}, "did you mean cross_entropy?"),
        ({"batch_size": "ful"}, "did you mean full?"),
        ({"dropout": 1.5}, "dropout is 1.5; allowed: a number from 0 to below 1"),
        ({"dropout": "x"}, "dropout is 'x'; allowed: a number from 0 to below 1"),
        ({"decay_rate": 0}, "decay_rate is 0; allowed: a number above 0 to 1"),
        ({"learning_rate": 0}, "learning_rate is 0; allowed: a number above 0"),
        ({"huber_delta": 0}, "huber_delta is 0; allowed: a number above 0"),
        ({"quantile": 1}, "quantile is 1; allowed: a number above 0 to below 1"),
        ({"optimizer": "momentum", "momentum": 1.1}, "momentum is 1.1; allowed: a number from 0 to 1"),
        ({"l2": -1}, "l2 is -1; allowed: a number from 0 up"),
        ({"seed": -1}, "seed is -1; allowed: a whole number from 0 to 4294967295"),
        ({"batch_size": 0}, "batch_size is 0; allowed: a whole number from 1 up or full"),
        ({"hidden": "512,x"}, "hidden is '512,x'; allowed: a whole number from 1 to 1e6; several with commas, or none"),
        ({"hidden": (512, 0)}, "hidden is '512,0'; allowed: "),
        ({"activation": ("relu", "step")}, "activation is 'relu,step'; allowed: identity, logistic"),
        ({"shuffle": "yes"}, "shuffle is 'yes'; allowed: true or false"),
        ({"shuffle": 1}, "shuffle is 1; allowed: true or false"),
        ({"shuffle": False, "replacement": True}, "replacement draws rows at random, which shuffle = false rules out"),
        ({"dataset": True}, "dataset is True; allowed: a text"),
        ({"target": 5.0}, "target is 5.0; allowed: a text"),
        ({"dataset": "bad\udcff.csv"}, "dataset is 'bad\\udcff.csv'; allowed: a text in UTF-8"),
        ({"run_dir": ""}, "run_dir is ''; allowed: a text in UTF-8, not empty"),
        ({"device": "gpu"}, "device is 'gpu'; allowed: auto, cpu, cuda, or cuda:N such as cuda:0"),
    ],
)
def test_a_message_says_what_was_given_and_what_is_allowed(given, said):
    assert said in message(**given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("512,256", (512, 256)),
        ("512", (512,)),
        (512, (512,)),
        ([512, 256], (512, 256)),
        (("512", "256"), (512, 256)),
        (["512,256", "128"], (512, 256, 128)),
        ("none", ()),
        (["none"], ()),
        ([], ()),
    ],
)
def test_hidden_layers_as_they_may_be_written(given, expected):
    assert Config(hidden=given).hidden == expected


@pytest.mark.parametrize("given", [0.25, "0.25", (0.25,), [0.25, 0.25], "0.25,0.25"])
def test_a_rate_for_all_layers_or_one_a_layer(given):
    """Configurations of earlier versions hold a single number."""
    config = Config(hidden=(8, 4), dropout=given)
    assert set(config.dropout) == {0.25}
    assert Config(**json.loads(json.dumps(config.to_dict()))) == config
    assert each_layer("dropout", config.dropout, 2) == (0.25, 0.25)
    check_same(config, {"hidden": [8, 4], "dropout": given})


def test_words_among_numbers():
    assert Config(batch_size="full").batch_size == "full"
    assert Config(batch_size="64").batch_size == 64
    assert Config(scale="255").scale == "255"


def test_a_word_that_reads_as_a_number_may_be_given_as_one():
    # A config file may say scale = 255, and error messages list 255 as allowed.
    assert Config(scale=255).scale == "255"
    assert Config(checkpoint_every=5).checkpoint_every == "5"


def test_paths_become_text(tmp_path):
    assert Config(dataset=tmp_path / "rows.csv", run_dir=tmp_path).dataset == str(tmp_path / "rows.csv")
    json.dumps(Config(data_dir=tmp_path).to_dict())


def test_devices():
    for device in ("auto", "cpu", "cuda", "cuda:0", "cuda:17"):
        assert Config(device=device).device == device
    for device in ("", "CUDA", "cuda:", "cuda:-1", "cuda:a", "cuda:0:1", "cuda0", "cuda:²"):
        assert f"device is {device!r}" in message(device=device)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden": (8, 4), "activation": ("relu", "tanh", "relu")}, "3 functions for 2 hidden layers"),
        ({"hidden": (8,), "activation": ()}, "0 functions for 1 hidden layer;"),
        (
            {"hidden": (8, 4), "dropout": (0.1, 0.2, 0.3)},
            "dropout names 3 rates for 2 hidden layers; give one, or one per",
        ),
        ({"hidden": (8, 4), "dropout": "none"}, "dropout names 0 rates for 2 hidden layers"),
        ({"dropout": (0.1, 1)}, "dropout is '0.1,1'; allowed: a number from 0 to below 1"),
        ({"target": ("a", "b")}, "target is ('a', 'b'); allowed: a text in UTF-8"),
        ({"dataset": np.zeros((100, 5))}, "dataset is 'ndarray of shape (100, 5)'; allowed: a text in UTF-8"),
        ({"dataset": (np.zeros((100, 5)), np.ones(100))}, "dataset is 'tuple of 2 items'; allowed: a text in UTF-8"),
        (
            {"dataset": {"x": np.zeros((100, 5))}},
            "dataset is 'dict of 1 item'; allowed: a text in UTF-8, not empty, such",
        ),
        ({"optimizer": "sgd", "momentum": 0.9}, "momentum is not a setting of the optimizer 'sgd'"),
        ({"optimizer": "adam", "momentum": 0.9}, "leave it out, or choose momentum, nesterov"),
        ({"optimizer": "rmsprop", "beta_1": 0.9}, "leave it out, or choose adam, adamw, adam_hat, lion"),
        ({"optimizer": "lion", "epsilon": 1e-8}, "leave it out, or choose rmsprop, adagrad, adam, adamw, adam_hat"),
        ({"hidden": (8, 4), "freeze": 3}, "freeze is 3; allowed: 0 to 2, the number of hidden layers, for the last"),
        ({"hidden": (), "freeze": 1}, "freeze is 1; allowed: 0 to 0"),
    ],
)
def test_contradictions(given, said):
    assert said in message(**given)


def test_settings_that_belong_together():
    assert Config(hidden=(8, 4), activation=("relu", "tanh")).activation == ("relu", "tanh")
    assert Config(hidden=(), activation=()).activation == ()
    assert Config(hidden=(), dropout=()).dropout == ()
    assert Config(hidden=(8, 4), dropout=(0.2, 0)).dropout == (0.2, 0.0)
    assert Config(optimizer="nesterov", momentum=0.5).momentum == 0.5
    assert Config(optimizer="momentum", momentum=1).momentum == 1
    assert Config(optimizer="adam_hat", beta_1=0.5, epsilon=1e-7).epsilon == 1e-7
    assert Config(optimizer="adamw", beta_1=0, beta_2=0.9, epsilon=1e-6).beta_1 == 0


def test_a_config_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epochs = 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": 5}, "epoch is not a setting of a Config; did you mean epochs?"),
        ({"hidden_layer_sizes": 5}, "hidden_layer_sizes is not a setting of a Config; did you mean hidden?"),
        ({"wings": 2}, "wings is not a setting of a Config; allowed: dataset, data_dir, target,"),
    ],
)
def test_a_name_that_is_no_setting(given, said):
    assert message(**given).startswith(said)


def test_settings_are_given_by_name():
    said = r"Config is given 'mnist' without the name of a setting; allowed: .* such as Config\(dataset='digits'\)"
    with pytest.raises(InputError, match=said):
        Config("mnist")
    assert [*inspect.signature(Config).parameters] == [*settings()]


def test_parse_tells_nothing_but_yes_or_no():
    known = Setting(int, within="[1, 3]", choices=("all",), many=True)
    assert known.parse("1,all,3") == (1, "all", 3)
    for wrong in ("0", "4", "1,,2", "none,1", "every"):
        with pytest.raises(ValueError, match=r"^$|float|int"):
            known.parse(wrong)
    assert known.allowed() == "a whole number from 1 to 3 or all; several with commas, or none"
    assert Setting(float, within="(-inf, inf)").allowed() == "a number"


# --- files ---------------------------------------------------------------------------------------------------------

FULL = {
    "dataset": "digits",
    "hidden": (16, 8),
    "activation": ("tanh", "relu"),
    "batch_size": "full",
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "shuffle": False,
    "bias_init": -0.5,
    "seed": 4294967295,
    "early_stopping": True,
    "optimizer": "nesterov",
    "momentum": 0.8,
    "loss": "huber",
    "run_dir": 'C:\\runs "quoted" ü',
}


@pytest.mark.parametrize("given", [{}, {"hidden": (), "activation": "relu"}, FULL], ids=["defaults", "linear", "full"])
def test_a_config_comes_back_from_the_file_that_it_was_written_to(tmp_path, given):
    config = Config(**given)
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()), encoding="utf-8")
    assert Config(**read_file(path)) == config
    assert tomllib.loads(path.read_text(encoding="utf-8")) == config.to_dict()
    assert Config(**json.loads(json.dumps(config.to_dict()))) == config


def test_to_dict_leaves_out_what_is_not_chosen_yet():
    named = Config().to_dict()
    not_chosen = {name for name, known in settings().items() if known.default is None}
    assert set(settings()) - set(named) == not_chosen - set(LAYERS)
    assert set(settings()) - set(Config(start_from="m").to_dict()) == not_chosen - {"start_from"}


TOML = """
# a run
hidden = [512, 256]
batch-size = 64
activation = "tanh"
learning_rate = 1e-3
shuffle = false
"""
YAML = """
# a run
hidden: [512, 256]
batch-size: 64
activation: tanh
learning_rate: 1e-3
shuffle: no
"""


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.yaml", YAML), ("a.yml", YAML)])
def test_files(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    expected = Config(hidden=(512, 256), batch_size=64, activation="tanh", learning_rate=0.001, shuffle=False)
    assert Config(**read_file(path)) == expected
    assert Config(**read_file(str(path))) == expected


@pytest.mark.parametrize("name", ["a.toml", "a.yaml"])
def test_a_byte_order_mark_is_no_setting(tmp_path, name):
    (tmp_path / name).write_text(TOML if name == "a.toml" else YAML, encoding="utf-8-sig")
    assert read_file(tmp_path / name)["hidden"] == [512, 256]


@pytest.mark.parametrize("name", ["empty.toml", "empty.yaml"])
def test_an_empty_file_sets_nothing(tmp_path, name):
    (tmp_path / name).write_text("# nothing\n")
    assert read_file(tmp_path / name) == {}


def test_yaml_words_and_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("hidden: none\nlearning_rate: null\nbatch_size: full\n")
    assert Config(**read_file(path)) == Config(hidden=(), batch_size="full")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", b"epoch = 3\n", "sets 'epoch', which is not a setting; did you mean epochs?"),
        ("a.yaml", b"learningrate: 3\n", "sets 'learningrate', which is not a setting; did you mean learning_rate?"),
        ("a.toml", b"lr = 0.1\n", "sets 'lr', which is not a setting; did you mean learning_rate?"),
        ("a.yaml", b"zzz: 3\n", "sets 'zzz', which is not a setting; --help lists the settings"),
        ("a.yaml", b"1: 3\n", "sets '1', which is not a setting"),
        ("a.toml", b"[training]\nepochs = 3\n", "sets 'training', which is not a setting"),
        ("a.toml", b"epochs = \n", "is not valid TOML, "),
        ("a.toml", b"epochs: 3\n", 'is not valid TOML, of lines such as dataset = "iris": '),
        ("a.yaml", b"hidden: [1, 2\nepochs: 3\n", "is not valid YAML, of lines such as dataset: iris: "),
        ("a.yaml", b"a: b: c\n", "is not valid YAML, "),
        ("a.yaml", b"seed: !!python/object/apply:os.getpid []\n", "is not valid YAML, "),
        ("a.yaml", b"run_dir: 2020-13-01\n", "is not valid YAML, "),
        ("a.yaml", b"run_dir: \x07\n", "is not valid YAML, "),
        ("a.yaml", b"- epochs\n- 3\n", "holds no settings; write lines such as dataset: iris"),
        ("a.yaml", b"epochs = 3\n", "holds no settings; write lines such as dataset: iris"),
        ("a.json", b"{}", "ends in '.json'; allowed: .toml, .yaml, .yml"),
        ("config", b"", "has no ending; allowed: .toml, .yaml, .yml"),
        ("a.toml", b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the config file .*none\.toml: No such file or directory"):
        read_file(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot read the config file .*; give a file of settings, such as "):
        read_file(tmp_path)


def test_a_setting_is_given_once(tmp_path):
    path = tmp_path / "a.yaml"
    for line in ("batch-size: 64\nbatch_size: 128\n", "batch_size: 64\nbatch_size: 128\n"):
        path.write_text(line)
        with pytest.raises(InputError, match="sets batch_size twice; keep one of them"):
            read_file(path)


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "numpy dtype", "torch", "jax.numpy"])
def test_a_float_type_of_a_library_is_its_name(name, library):
    given = getattr(pytest.importorskip(library.split()[0]), name)
    assert Config(dtype=np.dtype(given) if library == "numpy dtype" else given).to_dict()["dtype"] == name


def test_a_device_of_pytorch_is_its_name():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    assert Config(device=torch.device("cpu")).device == "cpu"
    assert Config(device=torch.device("cuda", 1)).device == "cuda:1"
    assert message(device=torch.device("mps")).startswith("device is 'mps'; allowed: ")


def test_other_types_are_no_names():
    assert message(dtype=np.float16) == "dtype is <class 'numpy.float16'>; allowed: float32, float64"
    assert message(device=np.float32).startswith("device is <class 'numpy.float32'>; allowed: ")
    assert message(dataset=int).startswith("dataset is <class 'int'>; allowed: ")


def test_settings_need_no_array_library():
    code = (
        "import sys, mlpgpu.settings.config; mlpgpu.settings.config.Config(hidden='8,4');"
        "print([m for m in ('numpy','cupy','torch','jax','sklearn','pandas','matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
