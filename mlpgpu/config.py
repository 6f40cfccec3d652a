"""Every setting of a run, once: its type, default, range and help."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mlpgpu.backends import BACKENDS
from mlpgpu.backends.cuda_devices import check_name
from mlpgpu.backends.precision import PRECISIONS
from mlpgpu.backends.precision import check as check_precision
from mlpgpu.callbacks.trackers import PACKAGES
from mlpgpu.dependent import OF_LAYERS, OF_OPTIMIZERS, check_freeze, each_layer, unused_setting
from mlpgpu.endings import DATA_FILE, TABLE_FILE
from mlpgpu.errors import InputError
from mlpgpu.initial import INITIALS
from mlpgpu.maths.activations import TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.normalization import NORMALIZATIONS
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES
from mlpgpu.setting import Interval, Setting, setting

__all__ = ["Config", "settings"]


DATA, NETWORK, TRAINING, RUN = "Data", "Network", "Training", "Run"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting of a run, checked.

    ``None`` stands for a choice that is made when the data set or the optimizer is known; the help
    text says which. `settings` lists help, ranges and choices of each.

    Raises
    ------
    InputError
        Where a value is not allowed, or two do not go together.
    """

    dataset: str | None = setting(
        None,
        f"mnist, fashion-mnist, digits, iris, breast-cancer, diabetes, synthetic, or a {DATA_FILE} [default: mnist, or "
        "digits where MNIST can be neither found nor downloaded]",
        DATA,
        str,
    )
    data_dir: str | None = setting(
        None,
        "folder with the IDX files of mnist or fashion-mnist [default: $MLPGPU_DATA_DIR, the cache folder, a download]",
        DATA,
        str,
    )
    target: str | None = setting(
        None,
        "for a file: column to predict, or several with commas, all numbers or all labels of two values each; array of "
        "an .npz file, or file beside a .npy or IDX file",
        DATA,
        str,
    )
    drop: tuple[str, ...] = setting((), f"for a {TABLE_FILE}: columns to leave out", DATA, str, many=True)
    memory_map: str = setting(
        "auto",
        "leave the rows of a .npy or IDX file in it and read them as they come; auto: where they are a quarter of the "
        "free memory or more",
        DATA,
        str,
        choices=("auto", "always", "never"),
    )
    task: str = setting(
        "auto", "auto infers it from the target", DATA, str, choices=("auto", "classification", "regression")
    )
    scale: str = setting(
        "auto",
        "input scaling, fitted on the training rows; auto: 255 for byte images, minmax for digits, else standard",
        DATA,
        str,
        choices=("auto", "none", "standard", "minmax", "255"),
    )
    target_scale: str = setting(
        "auto",
        "scaling of the target of a regression, fitted on the training rows: losses are of the scaled target, and "
        "predictions are scaled back; auto: standard, but none for the poisson loss",
        DATA,
        str,
        choices=("auto", "none", "standard"),
    )
    impute: str = setting(
        "none",
        "what replaces missing values: none refuses them; else the mean or median of the column, the more frequent "
        "truth value, and for text a category of its own, missing",
        DATA,
        str,
        choices=("none", "mean", "median"),
    )
    validation_fraction: float = setting(
        0.1, "part of the training rows held out to validate on after each epoch", DATA, float, within="[0, 1)"
    )
    test_fraction: float = setting(
        0.2,
        "part of the rows held out to test on, where a set has no test rows of its own; 0 trains on them too",
        DATA,
        float,
        within="[0, 1)",
    )
    samples: int = setting(70_000, "rows of the synthetic set", DATA, int, within="[10, 1e9]")
    features: int = setting(784, "columns of the synthetic set", DATA, int, within="[1, 1e6]")
    classes: int = setting(10, "classes of the synthetic set", DATA, int, within="[2, 1e6]")

    hidden: tuple[int, ...] = setting(
        (256, 256),
        "units of each hidden layer: 512,256 or 512 256; none for a linear model",
        NETWORK,
        int,
        within="[1, 1e6]",
        many=True,
    )
    activation: tuple[str, ...] = setting(
        ("relu",), "activation of the hidden layers: one, or one a layer", NETWORK, str, choices=TRAINABLE, many=True
    )
    normalization: tuple[str, ...] = setting(
        ("none",),
        "batch: each hidden unit has mean 0 and variance 1 over the rows of a batch before its activation, then a "
        "scale and a bias that are learned; one, or one a layer",
        NETWORK,
        str,
        choices=NORMALIZATIONS,
        many=True,
    )
    dropout: tuple[float, ...] | None = setting(
        None,
        "chance that a hidden unit is dropped in training: one, or one a layer [default: 0.2, and 0 for regression]",
        NETWORK,
        float,
        within="[0, 1)",
        many=True,
    )
    input_dropout: float | None = setting(
        None,
        "chance that an input is dropped in training [default: 0.1, and 0 for regression]",
        NETWORK,
        float,
        within="[0, 1)",
    )
    init: str | None = setting(
        None,
        "initial weights [default: he_uniform for the relu family, lecun_normal for selu, else glorot_uniform]",
        NETWORK,
        str,
        choices=INITIALS,
    )
    init_std: float = setting(0.01, "standard deviation of --init normal", NETWORK, float, within="(0, inf)")
    bias_init: float = setting(0.0, "initial value of every bias", NETWORK, float, within="(-inf, inf)")
    start_from: str | None = setting(
        None,
        "model file, run folder or checkpoint whose weights the lowest layers of the same sizes start from, the last "
        "where it predicts the same; inputs are encoded and scaled as there [default: all weights are drawn]",
        NETWORK,
        str,
    )
    freeze: int = setting(
        0, "so many of the lowest layers stay as they start, at most the hidden ones", NETWORK, int, within="[0, inf)"
    )
    loss: str | None = setting(
        None,
        "training loss [default: logistic for two classes or several labels, cross_entropy for more classes, "
        "squared_error for regression]",
        NETWORK,
        str,
        choices=LOSSES,
    )
    huber_delta: float = setting(
        1.0,
        "error from which the huber loss is linear, in the units of the scaled target",
        NETWORK,
        float,
        within="(0, inf)",
    )
    quantile: float = setting(0.5, "level of the quantile loss", NETWORK, float, within="(0, 1)")
    label_smoothing: float = setting(
        0.0, "part of each label spread evenly over the classes", NETWORK, float, within="[0, 1)"
    )
    class_weight: str = setting(
        "none",
        "balanced: a row weighs the less the more rows its class has, so that a rare class counts as much as a common "
        "one, in the losses and scores of training and validation",
        NETWORK,
        str,
        choices=("none", "balanced"),
    )

    optimizer: str = setting("adam", "update rule", TRAINING, str, choices=OPTIMIZERS)
    learning_rate: float | None = setting(
        None, "largest learning rate of the schedule [default: the optimizer's own]", TRAINING, float, within="(0, inf)"
    )
    schedule: str = setting("one_cycle", "course of the learning rate", TRAINING, str, choices=SCHEDULES)
    warmup: float = setting(0.0, "epochs of linear warm-up before the schedule", TRAINING, float, within="[0, inf)")
    decay_rate: float = setting(
        0.1,
        "factor of the step schedule at each drop, of the exponential one over the run",
        TRAINING,
        float,
        within="(0, 1]",
    )
    decay_epochs: float = setting(10.0, "epochs between drops of the step schedule", TRAINING, float, within="(0, inf)")
    power_t: float = setting(0.5, "exponent of the invscaling schedule", TRAINING, float, within="[0, inf)")
    momentum: float | None = setting(
        None, "momentum of momentum and nesterov [default: 0.9]", TRAINING, float, within="[0, 1]"
    )
    beta_1: float | None = setting(None, "decay of the first moment [default: 0.9]", TRAINING, float, within="[0, 1)")
    beta_2: float | None = setting(
        None,
        "decay of the second moment [default: the optimizer's own: adam 0.999, rmsprop and lion 0.99]",
        TRAINING,
        float,
        within="[0, 1)",
    )
    epsilon: float | None = setting(
        None, "added to a root before dividing by it [default: the optimizer's own]", TRAINING, float, within="(0, inf)"
    )
    weight_decay: float | None = setting(
        None, "decoupled decay of the weights [default: 0.01 for adamw, else 0]", TRAINING, float, within="[0, inf)"
    )
    l2: float = setting(
        0.0, "strength of the L2 penalty on the weights, as scikit-learn's alpha", TRAINING, float, within="[0, inf)"
    )
    clip_norm: float | None = setting(
        None, "largest global norm of the gradient [default: no clipping]", TRAINING, float, within="(0, inf)"
    )
    epochs: int | None = setting(
        None,
        "passes over the training rows [default: 20, or as many as make 1,000 steps]",
        TRAINING,
        int,
        within="[1, inf)",
    )
    batch_size: int | str = setting(128, "rows a step", TRAINING, int, within="[1, inf)", choices=("full",))
    shuffle: bool = setting(True, "new order of the rows each epoch", TRAINING, bool)
    replacement: bool = setting(False, "draw each row of an epoch from all of them, some again", TRAINING, bool)
    early_stopping: bool | None = setting(
        None,
        "stop when the validation rows no longer fare better, and bring back the best weights [default: true for a "
        "regression whose epochs are not given]",
        TRAINING,
        bool,
    )
    monitor: str = setting(
        "loss",
        "what of the validation rows tells which weights are the best: their loss, or their score, the accuracy or R²",
        TRAINING,
        str,
        choices=("loss", "score"),
    )
    patience: int | None = setting(
        None,
        "epochs that get no better before an early stop [default: 10, or as many as make 100 steps]",
        TRAINING,
        int,
        within="[1, inf)",
    )
    min_delta: float = setting(
        0.0, "by how much an epoch must be better to count before an early stop", TRAINING, float, within="[0, inf)"
    )

    on_divergence: str = setting(
        "rollback",
        "where the loss is no longer finite, or 100 times that of the start: rollback brings back the weights of "
        "before the epoch and goes on with a tenth of the learning rate, three times at most; stop ends the run",
        TRAINING,
        str,
        choices=("rollback", "stop"),
    )

    device: str = setting(
        "auto", "auto, cpu, cuda or cuda:N; auto takes a CUDA device that works, else the CPU", RUN, str
    )
    backend: str = setting(
        "auto",
        "array library; auto: numpy on the CPU, on CUDA cupy, or else torch or jax where one of these has it",
        RUN,
        str,
        choices=("auto", *BACKENDS),
    )
    dtype: str = setting("float32", "floating-point type", RUN, str, choices=("float32", "float64"))
    precision: str = setting(
        "float32",
        "how matrix products round their operands, to 10 bits behind the point (tf32) or 7 (bf16), and add up in "
        "float32: by hardware on CUDA, emulated and no faster elsewhere",
        RUN,
        str,
        choices=PRECISIONS,
    )
    capture: bool = setting(
        True,
        "run steps in the backend's fast way (recorded on NumPy, a CUDA graph on CUDA, a scan on JAX); --no-capture "
        "runs them line by line, the reference",
        RUN,
        bool,
    )
    seed: int = setting(
        0, "of the split, the initial weights, the order of the rows and dropout", RUN, int, within="[0, 4294967295]"
    )
    run_dir: str | None = setting(None, "folder to write [default: runs/<dataset>-<time>]", RUN, str)
    checkpoint_every: str = setting(
        "60s",
        "how often to write what --resume goes on from: every N epochs, or every Ns seconds, also within an epoch; or "
        "none, but for Ctrl-C, SIGTERM and SIGHUP",
        RUN,
        str,
    )
    log_to: tuple[str, ...] = setting(
        (),
        "trackers that are told of each epoch: TensorBoard in the folder tensorboard of the run's, MLflow where "
        "MLFLOW_TRACKING_URI says",
        RUN,
        str,
        choices=PACKAGES,
        many=True,
    )
    log_every: str | None = setting(
        None,
        "epochs between progress lines, such as 5; seconds, such as 30s, for lines within an epoch as well; or none "
        "[default: 1 epoch, or as many as make 100 lines]",
        RUN,
        str,
    )
    quiet: bool = setting(False, "print the result only", RUN, bool)
    json: bool = setting(False, "print one JSON object as the last line in place of the result", RUN, bool)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given, known = getattr(self, field.name), field.metadata["setting"]
            if given is not None or field.default is not None:
                object.__setattr__(self, field.name, known.checked(field.name, given))
        self._check_together()

    def _check_together(self) -> None:
        for name in OF_LAYERS:
            if (given := getattr(self, name)) is not None:
                each_layer(name, given, len(self.hidden))
        check_freeze(self.freeze, len(self.hidden))
        for name in OF_OPTIMIZERS:
            if getattr(self, name) is not None and (sentence := unused_setting(name, self.optimizer)):
                raise InputError(sentence)
        if self.target in self.drop:
            raise InputError(f"drop has {self.target!r}, which is the target; leave it out, or choose another target")
        if self.replacement and not self.shuffle:
            raise InputError("replacement draws rows at random, which shuffle = false rules out; leave out one of them")
        if self.early_stopping and self.validation_fraction == 0:
            raise InputError("early_stopping needs validation rows; set validation_fraction above 0, such as 0.1")
        check_precision(self.precision, self.dtype)
        Interval.parse(self.checkpoint_every, "checkpoint_every")
        if self.log_every is not None:
            Interval.parse(self.log_every, "log_every")
        check_name(self.device)

    def to_dict(self) -> dict[str, Any]:
        """Settings by name, those that are ``None`` left out; tuples as lists."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}


def settings(of: type[Config] = Config, without: Collection[str] = ()) -> dict[str, tuple[Setting, Any]]:
    """Name -> (setting, default) of each field of `Config`, or of a class with more, but of those in `without`."""
    return {f.name: (f.metadata["setting"], f.default) for f in dataclasses.fields(of) if f.name not in without}
