"""A small network and its rows, trained by the trainer, and by hand as in a textbook."""

import numpy as np
from scipy import special
from sklearn import metrics

from mlpgpu import backends
from mlpgpu.callbacks import Callback
from mlpgpu.data.batches import batches
from mlpgpu.maths.parameters import split
from mlpgpu.settings.config import Config
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan
from mlpgpu.training.trainer import fit

NUMPY = backends.select("cpu", "numpy", "float64")[0]
SHIFT, FACTOR = np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5)
TASKS = {"cross_entropy": "classification", "squared_error": "regression"}
# 50 rows in batches of 16: the last batch has 14 rows of padding.
N_ROWS, BATCH_SIZE, STEPS = 50, 16, 4


def rows_of(loss, n=N_ROWS, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    x = 2 * rng.normal(size=(n, 5))
    truth = np.tanh(x @ rng.normal(size=(5, 3)))
    targets = (truth + rng.gumbel(size=truth.shape)).argmax(1) if loss == "cross_entropy" else truth
    return Rows(x, targets, rng.uniform(0, 2, size=n) * (rng.random(n) > 0.1) if weighted else None)


def plan_of(loss="cross_entropy", n_rows=N_ROWS, **given):
    defaults = {
        "dtype": "float64",
        "loss": loss,
        "hidden": (7, 6),
        "activation": "tanh",
        "batch_size": BATCH_SIZE,
        "epochs": 3,
        "dropout": 0.0,
        "input_dropout": 0.0,
        "schedule": "constant",
        "optimizer": "sgd",
        "learning_rate": 0.1,
    }
    config = Config(**(defaults | given))
    return make_plan(config, n_rows=n_rows, n_features=5, n_outputs=3, task=TASKS[loss])


def train(plan, backend=NUMPY, train=None, validation=None, callbacks=(), **more):
    """Train, and return the parameters on the host and the run."""
    train = rows_of(plan.loss) if train is None else train
    watched = {"train": train} if validation is None else {"train": train, "validation": validation}
    placement = Scaled(backend, SHIFT, FACTOR, plan.dtype)
    state, run = fit(backend, plan, train, watched, placement, callbacks, **more)
    return backend.to_host(state.params), run


def logits(plan, params, x):
    y = (x - SHIFT) * FACTOR
    layers = split(np, params, plan.network.sizes)
    for w, b in layers[:-1]:
        y = np.tanh(y @ w + b)
    return y @ layers[-1][0] + layers[-1][1]


def by_hand(plan, rows, rates, masks=None):
    """Train by textbook gradient descent, without padding, and return the parameters and the loss of each step."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    layers = [[w.copy(), b.copy()] for w, b in split(np, plan.params, plan.network.sizes)]
    losses = []
    for t, rate in enumerate(rates):
        numbers, present = batches(plan.order(t // plan.steps_per_epoch + 1), plan.batch_size)
        here = present[t % plan.steps_per_epoch]
        picked = numbers[t % plan.steps_per_epoch][here]
        share = weights[picked] / weights[picked].sum()
        mask = [m[here] for m in masks(t)] if masks else [1.0] * len(layers)

        inputs = [(rows.x[picked] - SHIFT) * FACTOR * mask[0]]
        for i, (w, b) in enumerate(layers[:-1], 1):
            inputs.append(np.tanh(inputs[-1] @ w + b) * mask[i])
        z = inputs[-1] @ layers[-1][0] + layers[-1][1]
        if plan.loss == "cross_entropy":
            one_hot = np.eye(3)[rows.targets[picked]]
            losses.append(share @ -np.log((special.softmax(z, axis=1) * one_hot).sum(1)))
            dz = special.softmax(z, axis=1) - one_hot
        else:
            losses.append(share @ ((z - rows.targets[picked]) ** 2).sum(1) / 2)
            dz = z - rows.targets[picked]
        dz = dz * share[:, None]
        for i in reversed(range(len(layers))):
            w, b = layers[i]
            dw, db = inputs[i].T @ dz, dz.sum(0)
            if i:
                # The unit before dropout, or 0 where it was dropped and the mask is 0 as well.
                unit = np.divide(inputs[i], mask[i], where=np.broadcast_to(mask[i] != 0, inputs[i].shape), out=None)
                dz = (dz @ w.T) * mask[i] * (1 - np.where(mask[i] != 0, unit, 0) ** 2)
            layers[i] = [w - rate * dw, b - rate * db]
    return np.concatenate([*(w.ravel() for w, _ in layers), *(b for _, b in layers)]), np.array(losses)


def without_times(history):
    return [{k: v for k, v in record.items() if k not in {"seconds", "samples_per_second"}} for record in history]


class Watch(Callback):
    """Record the calls of its hooks."""

    def __init__(self):
        self.told = []

    def on_begin(self, run):
        self.run = run
        self.told.append("begin")

    def on_epoch_begin(self, run):
        self.told.append(f"epoch {run.epoch} begins")

    def on_steps(self, run, done, losses):
        self.told.append((run.epoch, done))

    def on_epoch_end(self, run, record):
        assert record is run.history[-1]
        self.told.append(f"epoch {run.epoch}")

    def on_end(self, run):
        self.told.append("end")


class Call(Callback):
    """Call the given functions of the run as hooks."""

    def __init__(self, **functions):
        for name, function in functions.items():
            setattr(self, name, lambda run, *args, function=function: function(run))


def validation_loss(plan, params, validation):
    p = special.softmax(logits(plan, params, validation.x), axis=1)
    return metrics.log_loss(validation.targets, p, sample_weight=validation.weights)


def overfitting(**given):
    """Return a plan, and rows with labels so noisy that the network soon overfits."""
    whole = rows_of("cross_entropy", N_ROWS + 40, weighted=False)
    rows, validation = (Rows(whole.x[part], whole.targets[part]) for part in (slice(N_ROWS), slice(N_ROWS, None)))
    return plan_of(**({"epochs": 60, "optimizer": "adam", "learning_rate": 0.02} | given)), rows, validation
