"""Settings of a run: the type, default, range and help text of each."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlpgpu.backends import BACKENDS
from mlpgpu.backends.cuda_devices import check_name
from mlpgpu.backends.precision import PRECISIONS
from mlpgpu.backends.precision import check as check_precision
from mlpgpu.callbacks.trackers import PACKAGES
from mlpgpu.endings import DATA_FILE, TABLE_FILE
from mlpgpu.errors import InputError
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.normalization import NORMALIZATIONS
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES
from mlpgpu.settings.dependent import OF_LAYERS, OF_OPTIMIZERS, check_freeze, each_layer, unused_setting
from mlpgpu.settings.setting import Declared, Interval, Setting, declared, setting
from mlpgpu.training.initial import INITIALS

RUN = "Run"
of_data, of_network, of_training, of_run = (partial(setting, group) for group in ("Data", "Network", "Training", RUN))
# The hidden layers of a network for which neither the user nor a model to start from says any.
LAYERS: dict[str, tuple[Any, ...]] = {"hidden": (256, 256), "activation": ("relu",)}
# Part of a data set -> the setting that names a file with its rows.
OWN_ROWS = {"validation": "validation_data", "test": "test_data"}


@dataclass(frozen=True, kw_only=True)
class Config(Declared):
    """Validated settings of a run.

    A default of ``None`` is resolved once the data set, the optimizer or the model to start from is known; the help
    text says how. `settings` lists the help, range and choices of each.

    Raises
    ------
    InputError
        If a name or a value is not allowed, or two values contradict each other.
    """

    dataset: str | None = of_data(
        None,
        f"mnist, fashion-mnist, digits, iris, breast-cancer, diabetes, synthetic, or a {DATA_FILE} [default: mnist, or "
        "digits where MNIST can be neither found nor downloaded]",
    )
    data_dir: str | None = of_data(
        None,
        "folder with the IDX files of mnist or fashion-mnist [default: $MLPGPU_DATA_DIR, the cache folder, a download]",
    )
    target: str | None = of_data(
        None,
        "for a table: column to predict, or several with commas, either all numeric or all labels of two values each; "
        "for an .npz file: array to predict; for a .npy or IDX file: file with the targets",
    )
    drop: tuple[str, ...] = of_data((), f"for a {TABLE_FILE}: columns to leave out")
    sample_weight: str | None = of_data(
        None,
        "for a table or .npz file: column or array with the weight of each row, a number from 0 up, in the losses and "
        "scores of training, validation and test; for a .npy or IDX file: file with the weights [default: equal "
        "weights]",
    )
    group: str | None = of_data(
        None,
        "for a table or .npz file: column or array whose equal values mark rows that stay together, such as those of "
        "a patient: they are never divided between training, validation and test rows, or folds; for a .npy or IDX "
        "file: file with the groups [default: each row is a group of its own]",
    )
    memory_map: str = of_data(
        "auto",
        "read the rows of a .npy or IDX file from disk as they are needed; auto: if they would take a quarter of the "
        "free memory or more",
        choices=("auto", "always", "never"),
    )
    task: str = of_data("auto", "auto infers it from the target", choices=("auto", "classification", "regression"))
    scale: str = of_data(
        "auto",
        "input scaling, fitted on the training rows; auto: 255 for byte images, minmax for digits, else standard",
        choices=("auto", "none", "standard", "minmax", "255"),
    )
    target_scale: str = of_data(
        "auto",
        "scaling of the target of a regression, fitted on the training rows: losses refer to the scaled target, and "
        "predictions are scaled back; auto: standard, but none for the poisson loss",
        choices=("auto", "none", "standard"),
    )
    impute: str = of_data(
        "none",
        "imputation of missing values: none refuses them; mean or median fill numbers with that of the column, "
        "booleans with the more frequent value, and text with a category of its own, missing",
        choices=("none", "mean", "median"),
    )
    validation_fraction: float = of_data(
        0.1,
        "fraction of the training rows held out for validation after each epoch, if the data set has no validation "
        "rows of its own",
        within="[0, 1)",
    )
    test_fraction: float = of_data(
        0.2,
        "fraction of the rows held out for testing, if the data set has no test rows of its own; 0 trains on all rows",
        within="[0, 1)",
    )
    hold_out: str = of_data(
        "random",
        "random: validation and test rows are drawn at random; last: the test rows are the last ones of the data, and "
        "the validation rows those before them, as for a forecast",
        choices=("random", "last"),
    )
    validation_data: str | None = of_data(
        None,
        "for a table or .npz file: file of the same kind with the validation rows [default: those of dataset, if it "
        "has its own, else --validation-fraction]",
    )
    test_data: str | None = of_data(
        None,
        "for a table or .npz file: file of the same kind with the test rows [default: those of dataset, if it has its "
        "own, else --test-fraction]",
    )
    samples: int = of_data(70_000, "rows of the synthetic set", within="[10, 1e9]")
    features: int = of_data(784, "columns of the synthetic set", within="[1, 1e6]")
    classes: int = of_data(10, "classes of the synthetic set", within="[2, 1e6]")

    # These two are None only where a run starts from a model, until that is read.
    hidden: tuple[int, ...] = of_network(
        None,
        "units of each hidden layer: 512,256 or 512 256; none for a linear model [default: 256,256, or as in the model "
        "of --start-from]",
        within="[1, 1e6]",
    )
    activation: tuple[str, ...] = of_network(
        None,
        "activation of the hidden layers: one, or one per layer [default: relu, or as in the model of --start-from]",
        choices=TRAINABLE,
    )
    normalization: tuple[str, ...] = of_network(
        ("none",),
        "batch: before its activation, each hidden unit is normalised to mean 0 and variance 1 over the minibatch, "
        "then gets a learned scale and bias; one, or one per layer",
        choices=NORMALIZATIONS,
    )
    dropout: tuple[float, ...] | None = of_network(
        None,
        "probability that a hidden unit is dropped in training: one, or one per layer [default: 0.2, and 0 for "
        "regression]",
        within="[0, 1)",
    )
    input_dropout: float | None = of_network(
        None, "probability that an input is dropped in training [default: 0.1, and 0 for regression]", within="[0, 1)"
    )
    init: str | None = of_network(
        None,
        "initial weights [default: he_uniform for the relu family, lecun_normal for selu, else glorot_uniform]",
        choices=INITIALS,
    )
    init_std: float = of_network(0.01, "standard deviation of --init normal", within="(0, inf)")
    bias_init: float = of_network(0.0, "initial value of every bias", within="(-inf, inf)")
    start_from: str | None = of_network(
        None,
        "model file, run folder or checkpoint to take initial weights from: of the lowest layers, as far as their "
        "sizes agree, and of the output layer if it predicts the same; inputs are encoded and scaled as in that model "
        "[default: all weights are drawn]",
    )
    freeze: int = of_network(
        0, "number of lowest layers whose weights are not trained, at most all hidden layers", within="[0, inf)"
    )
    loss: str | None = of_network(
        None,
        "training loss [default: logistic for two classes or several labels, cross_entropy for more classes, "
        "squared_error for regression]",
        choices=LOSSES,
    )
    huber_delta: float = of_network(
        1.0, "error above which the huber loss is linear, in the units of the scaled target", within="(0, inf)"
    )
    quantile: float = of_network(0.5, "level of the quantile loss", within="(0, 1)")
    label_smoothing: float = of_network(
        0.0,
        "fraction of each label spread evenly over the classes, in all losses: of training, validation and test",
        within="[0, 1)",
    )
    class_weight: str = of_network(
        "none",
        "balanced: weight rows inversely to the frequency of their class, so that rare classes count as much as common "
        "ones, in the losses and scores of training and validation",
        choices=("none", "balanced"),
    )

    optimizer: str = of_training("adam", "update rule", choices=OPTIMIZERS)
    learning_rate: float | None = of_training(
        None, "largest learning rate of the schedule [default: the optimizer's own]", within="(0, inf)"
    )
    schedule: str = of_training("one_cycle", "learning-rate schedule", choices=SCHEDULES)
    warmup: float = of_training(0.0, "epochs of linear warm-up before the schedule", within="[0, inf)")
    decay_rate: float = of_training(
        0.1,
        "factor of the learning rate at each drop of the step schedule, or over the whole run with the exponential one",
        within="(0, 1]",
    )
    decay_epochs: float = of_training(10.0, "epochs between drops of the step schedule", within="(0, inf)")
    power_t: float = of_training(0.5, "exponent of the invscaling schedule", within="[0, inf)")
    momentum: float | None = of_training(
        None, "momentum of the optimizers momentum and nesterov [default: 0.9]", within="[0, 1]"
    )
    beta_1: float | None = of_training(None, "decay rate of the first moment [default: 0.9]", within="[0, 1)")
    beta_2: float | None = of_training(
        None,
        "decay rate of the second moment [default: the optimizer's own: adam 0.999, rmsprop and lion 0.99]",
        within="[0, 1)",
    )
    epsilon: float | None = of_training(
        None, "added to a root to avoid division by zero [default: the optimizer's own]", within="(0, inf)"
    )
    weight_decay: float | None = of_training(
        None, "decoupled decay of the weights [default: 0.01 for adamw, else 0]", within="[0, inf)"
    )
    l2: float = of_training(
        0.0, "strength of the L2 penalty on the weights, as scikit-learn's alpha", within="[0, inf)"
    )
    clip_norm: float | None = of_training(
        None, "largest global norm of the gradient [default: no clipping]", within="(0, inf)"
    )
    epochs: int | None = of_training(
        None, "passes over the training rows [default: 20, or more to reach 1,000 steps]", within="[1, inf)"
    )
    batch_size: int | str = of_training(128, "rows per step", within="[1, inf)", choices=("full",))
    shuffle: bool = of_training(True, "shuffle the rows before each epoch")
    replacement: bool = of_training(False, "sample the rows of an epoch with replacement")
    early_stopping: bool | None = of_training(
        None,
        "stop when the validation loss or score (--monitor) no longer improves, and restore the best weights "
        "[default: true for a regression whose epochs are not given]",
    )
    monitor: str = of_training(
        "loss",
        "validation figure that tells which weights are the best: loss, or score (accuracy or R²)",
        choices=("loss", "score"),
    )
    patience: int | None = of_training(
        None,
        "epochs without improvement before an early stop [default: 10, or more to reach 100 steps]",
        within="[1, inf)",
    )
    min_delta: float = of_training(0.0, "least improvement that counts for early stopping", within="[0, inf)")

    on_divergence: str = of_training(
        "rollback",
        "what to do if the loss is no longer finite, or above 100 times that of the initial weights: rollback restores "
        "the weights from before the epoch and continues with a tenth of the learning rate, three times at most; stop "
        "ends the run",
        choices=("rollback", "stop"),
    )

    device: str = of_run("auto", "auto, cpu, cuda or cuda:N; auto takes a CUDA device that works, else the CPU")
    backend: str = of_run(
        "auto",
        "array library; auto: numpy on the CPU; on CUDA cupy, or else torch or jax if it supports CUDA",
        choices=("auto", *BACKENDS),
    )
    dtype: str = of_run("float32", "floating-point type", choices=("float32", "float64"))
    precision: str = of_run(
        "float32",
        "rounding of the operands of matrix products, to 10 fraction bits (tf32) or 7 (bf16), with sums in float32: in "
        "hardware on CUDA, emulated and no faster elsewhere",
        choices=PRECISIONS,
    )
    capture: bool = of_run(
        True,
        "compile the training step (recorded on NumPy, a CUDA graph on CUDA, a scan on JAX); --no-capture runs it "
        "eagerly, line by line, which is the reference",
    )
    seed: int = of_run(
        0, "random seed of the split, the initial weights, the order of the rows and dropout", within="[0, 4294967295]"
    )
    run_dir: str | None = of_run(None, "folder to write [default: runs/<dataset>-<time>]")
    checkpoint_every: str = of_run(
        "60s",
        "how often to write a checkpoint for --resume: every N epochs; every N seconds (Ns), also within an epoch; or "
        "none; Ctrl-C, SIGTERM and SIGHUP write one in any case",
    )
    log_to: tuple[str, ...] = of_run(
        (),
        "trackers to log each epoch to: TensorBoard in the subfolder tensorboard of the run folder, MLflow at "
        "MLFLOW_TRACKING_URI",
        choices=PACKAGES,
    )
    log_every: str | None = of_run(
        None,
        "epochs between progress lines, such as 5; seconds, such as 30s, for lines within an epoch as well; or none "
        "[default: 1, or more to keep to 100 lines]",
    )
    quiet: bool = of_run(False, "print only the result")
    json: bool = of_run(False, "print the result as one JSON object, on the last line")

    def __post_init__(self) -> None:
        for name, known in settings(type(self)).items():
            given = getattr(self, name)
            if given is not known.default:
                object.__setattr__(self, name, known.checked(name, given))
        for name, value in LAYERS.items():
            if self.start_from is None and getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        if self.hidden is not None:
            for name in OF_LAYERS:
                if (given := getattr(self, name)) is not None:
                    each_layer(name, given, len(self.hidden))
            check_freeze(self.freeze, len(self.hidden))
        for name in OF_OPTIMIZERS:
            if getattr(self, name) is not None and (sentence := unused_setting(name, self.optimizer)):
                raise InputError(sentence)
        if self.target in self.drop:
            raise InputError(f"drop has {self.target!r}, which is the target; leave it out, or choose another target")
        if self.sample_weight is not None and self.sample_weight == self.group:
            raise InputError(f"sample_weight and group are both {self.group!r}; leave out one, or choose another")
        if self.hold_out == "last" and self.group is not None:
            raise InputError(
                f"hold_out is last, which may divide the groups of {self.group!r}; allowed with group: random; leave "
                "out one of them"
            )
        if self.replacement and not self.shuffle:
            raise InputError("replacement draws rows at random, which shuffle = false rules out; leave out one of them")
        for part, name in OWN_ROWS.items():
            file, fraction = getattr(self, name), getattr(self, f"{part}_fraction")
            if file is not None and fraction != getattr(Config, f"{part}_fraction"):
                raise InputError(
                    f"{name} is {file}, and {part}_fraction is {fraction:g}; allowed: a file or a fraction; leave out "
                    "one of them"
                )
        check_precision(self.precision, self.dtype)
        Interval.parse(self.checkpoint_every, "checkpoint_every")
        if self.log_every is not None:
            Interval.parse(self.log_every, "log_every")
        check_name(self.device)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name, with tuples as lists and without those that are ``None``."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def settings(of: type[Config] = Config, without: Collection[str] = ()) -> dict[str, Setting]:
    """Return the settings of `Config` or a subclass by name, except those in `without`."""
    # Mypy takes the class for an instance, which has another signature of `__hash__`.
    found = declared(of)  # type: ignore[arg-type]
    return {name: known for name, known in found.items() if name not in without}
