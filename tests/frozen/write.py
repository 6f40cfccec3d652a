"""Write files of the current version for tests of later ones: ``python tests/frozen/write.py NEW_FOLDER``.

Beside each ``NAME.safetensors`` is a ``NAME.npz`` with rows ``x`` and what the model predicted for them.
"""

import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from mlpgpu import Config, MLPClassifier, MLPRegressor, Model, train_and_test
from mlpgpu.callbacks import LambdaCallback
from mlpgpu.data import read_features
from mlpgpu.training.checkpoint import Checkpoint

SETTINGS = {"hidden": (5,), "epochs": 4, "dtype": "float64", "device": "cpu", "backend": "numpy", "quiet": True}


def write_table(rng, n=60):
    """Write a table of sizes, some of which are missing, colours, and kinds as text."""
    sizes, colours = rng.normal(50, 10, n), rng.choice(["red", "grün", "deep blue"], n)
    kinds = np.where(sizes + 10 * (colours == "red") > 52, "large", np.where(sizes > 40, "middling", "small"))
    with Path("table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["size", "colour", "kind"])
        writer.writerows(
            zip(["" if i % 9 == 0 else f"{s:.3f}" for i, s in enumerate(sizes)], colours, kinds, strict=True)
        )


def keep(name, x, **more):
    """Write the rows, and what the model predicts for them, beside its file."""
    model = Model.load(f"{name}.safetensors")
    np.savez(f"{name}.npz", x=x, predictions=model.predict(x), outputs=model.predict_proba(x), **more)


def main(folder):
    Path(folder).mkdir()
    os.chdir(folder)
    rng = np.random.default_rng(5)
    write_table(rng)
    config = Config(dataset="table.csv", target="kind", impute="median", **SETTINGS)
    model = train_and_test(config).model
    model.save("table.safetensors")
    table = read_features("table.csv", model.columns)
    keep("table", table)

    x = rng.normal(size=(40, 3))
    MLPClassifier((4,), activation="tanh", random_state=0, max_iter=6).fit(x, np.where(x[:, 0] > 0, "yes", "no")).save(
        "classification.safetensors"
    )
    keep("classification", x)
    MLPRegressor("huber", (4, 3), activation=["gelu", "relu"], random_state=0, max_iter=6).fit(x, x[:, :2] ** 2).save(
        "regression.safetensors"
    )
    keep("regression", x)

    np.savez("measured.npz", x=x, y=np.column_stack([2000 + 10 * x[:, 0], 1e-6 * x[:, 1] ** 2]))
    train_and_test(Config(dataset="measured.npz", target="y", **SETTINGS)).model.save("values.safetensors")
    keep("values", x)

    def second(run, record):
        if run.epoch == 2:
            run.checkpoint(Path("checkpoint.safetensors"))

    train_and_test(config, [LambdaCallback(on_epoch_end=second)])
    state = Checkpoint.load("checkpoint.safetensors")
    keep("checkpoint", table, params=state.state.params, slots=np.array(state.state.slots), losses=state.losses)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
