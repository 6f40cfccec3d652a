"""Checkpoints: model files that also hold everything the next step of a run depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.callbacks.base import Callback
from mlpgpu.callbacks.checkpoints import LAST, PREVIOUS, kept
from mlpgpu.errors import InputError, one_line
from mlpgpu.files import expanded
from mlpgpu.maths.parameters import count
from mlpgpu.maths.step import State
from mlpgpu.models import sealed
from mlpgpu.models.model import VERSION as MODEL_VERSION
from mlpgpu.models.model import Model
from mlpgpu.training.feed import Rows, chunks, is_sparse
from mlpgpu.training.run import Record

# Name of the parameters of a network with normalised units; the model in the same file has these folded in.
WITH_UNITS = "params_with_units"
# Version of the run's part of the file format.
VERSION = 1
# A fingerprint covers arrays up to this size in full, in some tenths of a second, and of larger ones about this much.
MAX_BYTES = 2**27
# Fields that consist of arrays; the file has the others as JSON.
ARRAYS = ("model", "state", "losses", "best_params", "before")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a run between two steps: everything that the rest of the run depends on.

    The order of the rows and dropout are functions of the seed, the epoch and the step, so no generator state is saved.

    Attributes
    ----------
    model : Model
        The network at this step.
    state : State
        Training state, on the host.
    losses : array of shape (n_steps,)
        Loss of every step done.
    steps_per_epoch : int
    history : list of dict
        One record per complete epoch.
    best_epoch : int
    best_params : array of shape (n_parameters,) or None
    before : State or None
        State at the start of the current epoch, if the run may roll back to it.
    rollbacks : int
    start_loss : float
        Loss of the initial weights, including the penalty.
    seconds : float
        Time that the steps of the current epoch have taken.
    stopped : str
        Why the run stopped; empty if it did not, or in the middle of an epoch.
    callbacks : list of (str, dict)
        Class name and state of each callback that has a state.
    plan : dict
        `Plan.facts`.
    data : dict
        `fingerprint` of each set of rows.
    arithmetic : str
        Description of what the last digits depend on.
    """

    model: Model
    state: State
    losses: np.ndarray
    steps_per_epoch: int
    history: list[Record]
    best_epoch: int
    best_params: np.ndarray | None
    before: State | None
    rollbacks: int
    start_loss: float
    seconds: float
    stopped: str
    callbacks: list[tuple[str, dict[str, Any]]]
    plan: dict[str, Any]
    data: dict[str, Any]
    arithmetic: str

    @property
    def begun(self) -> np.ndarray:
        """Losses of the steps done in the current epoch."""
        return self.losses[len(self.history) * self.steps_per_epoch :]

    def where(self) -> str:
        """Describe the last step done."""
        done = len(self.history)
        return f"epoch {done + 1}, step {len(self.begun)}" if len(self.begun) else f"the end of epoch {done}"

    def save(self, path: Path, previous: Path | None = None) -> None:
        """Write the checkpoint atomically.

        Parameters
        ----------
        path : Path
        previous : Path or None
            Where to move a file that already exists at `path`. At every moment at least one of the two files exists.
        """
        content, arrays = self.model.parts()
        state = _named(self.state)
        if self.state.params.shape != self.model.params.shape:
            state[WITH_UNITS] = state.pop("params")
        arrays |= {"losses": self.losses, **state}
        if self.best_params is not None:
            arrays["best_params"] = self.best_params
        if self.before is not None:
            arrays |= _named(self.before, "before.")
        run = {name: getattr(self, name) for name in PLAIN}
        run |= {"version": VERSION, "n_slots": len(self.state.slots)}
        sealed.write(path, content | {"run": run}, arrays, previous)

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read a checkpoint written by `save`.

        Parameters
        ----------
        path : path
            The file, or a folder of checkpoints, of which the last is read.

        Raises
        ------
        InputError
            If `path` holds no checkpoint or a damaged one. The message names the previous checkpoint, if there is one.
        """
        path = expanded(path)
        if path.is_dir():
            # Between the two renames of a save, only the previous file exists.
            path = next(iter(kept(path)), path / LAST)
        try:
            return cls._read(path)
        except InputError as error:
            before = path.with_name(PREVIOUS)
            if path.name != LAST or not before.exists():
                raise
            # Moving the file away helps where only a folder can be given.
            raise InputError(
                f"{error}; the one before it is {before}: go on from that one, or move {path.name} away"
            ) from None

    @classmethod
    def _read(cls, path: Path) -> Checkpoint:
        content, arrays = sealed.read(path, "checkpoint", MODEL_VERSION)
        run = content.pop("run", None)
        if run is None:
            raise InputError(f"{path} is a model, and no checkpoint to go on from; give a file of a run's checkpoints")
        model = Model.of(content, arrays, path)
        try:
            if run["version"] > VERSION:
                raise InputError(
                    f"{path} has checkpoint version {run['version']}; this mlpgpu reads up to {VERSION}: upgrade it"
                )
            n_slots = run["n_slots"]
            # Files of older versions lack these settings.
            run["plan"].setdefault("precision", "float32")
            run["plan"].setdefault("normalized layers", [])
            if model.config:
                model.config.setdefault("target_scale", "none")
            found = cls(
                model=model,
                state=_state(arrays | {"params": arrays.get(WITH_UNITS, arrays["params"])}, n_slots),
                before=_state(arrays, n_slots, "before.") if "before.params" in arrays else None,
                best_params=arrays.get("best_params"),
                losses=arrays["losses"],
                **{name: run[name] for name in PLAIN},
            )
            found._check_consistency()
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = one_line(error) if isinstance(error, ValueError) else repr(error)
            raise InputError(f"the checkpoint {path} is damaged: its metadata do not fit ({reason})") from None
        return found

    def _check_consistency(self) -> None:
        """Raise ValueError, LookupError or TypeError if parts of the checkpoint contradict each other."""
        sizes, steps, done = self.model.sizes, self.steps_per_epoch, len(self.history)
        normalized = [i in self.plan["normalized layers"] for i in range(1, len(sizes) - 1)]
        params = (count(sizes, normalized),)
        states = [self.state] if self.before is None else [self.state, self.before]
        whole = (steps, self.best_epoch, self.rollbacks)
        for fits, what in (
            (all(type(number) is int and number >= 0 for number in whole) and steps > 0, "numbers of steps"),
            (isinstance(self.history, list), "history"),
            (all(number == record["epoch"] for number, record in enumerate(self.history, 1)), "epochs of the history"),
            (all(_is_number(value) for record in self.history for value in record.values()), "figures of the history"),
            (self.losses.ndim == 1 and done * steps <= len(self.losses) <= (done + 1) * steps, "losses"),
            (len(self.losses) > 0, "losses"),
            (self.best_epoch <= done, "best epochs"),
            (self.best_params is None or self.best_params.shape == params, "the best weights"),
            (all(array.shape == params for state in states for array in (state.params, *state.slots)), "slots"),
            (all(state.step.shape == state.learning_rate.shape == () for state in states), "steps"),
            (all(state.step.dtype == np.int32 for state in states), "steps"),
            (all(map(_is_number, (self.start_loss, self.seconds))), "times"),
            (isinstance(self.stopped, str) and isinstance(self.arithmetic, str), "texts"),
            (all(isinstance(name, str) and isinstance(state, dict) for name, state in self.callbacks), "callbacks"),
            (all(isinstance(rows, dict) for rows in self.data.values()), "the rows"),
        ):
            if not fits:
                raise ValueError(f"{what} are not those of a run")

    def check(self, plan: dict[str, Any], data: dict[str, Any], model: Model) -> None:
        """Refuse a plan, rows, features or classes that are not those of the run.

        Parameters
        ----------
        plan : dict
            `Plan.facts`.
        data : dict
            `fingerprint` of each set of rows, which has features as numbers, and classes as their numbers.
        model : Model
            Model of the run, which has the names of both.

        Raises
        ------
        InputError
            If something differs; the message names it.
        """
        # Checkpoints of older versions lack the test rows.
        known = {**self.data, "test": self.data.get("test", data.get("test"))}
        for rows in known | data:
            ours, theirs = known.get(rows) or {}, data.get(rows) or {}
            for name in ours | theirs:
                if ours.get(name) != theirs.get(name):
                    raise InputError(
                        f"the {rows} rows are not those of the checkpoint: {name} is {theirs.get(name)}, and there it "
                        f"is {ours.get(name)}; give the data that the run began with, or begin a new run"
                    )
        for (what, ours), (_, theirs) in zip(_named_parts(model), _named_parts(self.model), strict=False):
            for number, (here, there) in enumerate(itertools.zip_longest(ours, theirs)):
                # As a file has them: False equals 0, but a model predicts one or the other.
                if json.dumps(here) != json.dumps(there):
                    raise InputError(
                        f"{what} number {number} is {here!r}, and in the run to resume it is {there!r}; give the data "
                        "that the run began with, or begin a new run"
                    )
        for name in self.plan | plan:
            if self.plan.get(name) != plan.get(name):
                raise InputError(
                    f"{name} is {plan.get(name)}, and the run to resume has {self.plan.get(name)}; give what it "
                    "has, or begin a new run"
                )

    def restore(self, callbacks: Sequence[Callback]) -> None:
        """Restore the state of each callback; callbacks of the same class are matched in order.

        Raises
        ------
        InputError
            If a callback cannot restore its state.
        """
        saved = list(self.callbacks)
        for callback in callbacks:
            of = type(callback).__name__
            found = next((entry for entry in saved if entry[0] == of), None)
            if found is not None:
                saved.remove(found)
                try:
                    callback.restore(found[1])
                except (LookupError, TypeError, ValueError, ArithmeticError) as error:
                    raise InputError(
                        f"the checkpoint is damaged: {of} cannot go on from its state ({error!r})"
                    ) from None


PLAIN = tuple(field.name for field in dataclasses.fields(Checkpoint) if field.name not in ARRAYS)


def _named_parts(model: Model) -> list[tuple[str, Sequence[Any]]]:
    """Return what a model knows by name and the numbers of its rows do not tell, in an order, each with its names."""
    columns = [f"{record['name']}: {record['kind']}" for record in model.columns or ()]
    classes = [("class", names) for names in model.alternatives]
    return [("column", columns), ("feature", model.feature_names), *classes]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def states(callbacks: Sequence[Callback]) -> list[tuple[str, dict[str, Any]]]:
    """Return the class name and state of each callback that has a state, for `Checkpoint.restore`."""
    return [(type(callback).__name__, state) for callback in callbacks if (state := callback.state())]


def fingerprint(rows: Rows, to_host: Callable[[Any], np.ndarray]) -> dict[str, Any]:
    """Return shape, dtype and digests that identify rows.

    Of rows larger than 128 MiB, which may be in a memory-mapped file, evenly spaced chunks are read.

    Parameters
    ----------
    rows : Rows
    to_host : callable
        Copies an array from the device.
    """
    x, targets = rows.x, np.asarray(rows.targets)
    # Targets in float32 are those in float64, as which earlier checkpoints have them.
    targets = targets.astype(np.float64) if targets.dtype == np.float32 else targets
    found = {"shape": [int(n) for n in x.shape], "dtype": str(x.dtype).rpartition(".")[2]}
    return found | {
        "x": _digest(_parts(x, to_host)),
        "targets": _digest([targets]),
        "weights": None if rows.weights is None else _digest([np.asarray(rows.weights)]),
    }


def _named(state: State, prefix: str = "") -> dict[str, np.ndarray]:
    slots = {f"{prefix}slot{i}": slot for i, slot in enumerate(state.slots)}
    rest = {f"{prefix}{name}": getattr(state, name) for name in ("params", "step", "learning_rate")}
    return slots | rest


def _state(arrays: dict[str, np.ndarray], n_slots: int, prefix: str = "") -> State:
    slots = tuple(arrays[f"{prefix}slot{i}"] for i in range(n_slots))
    return State(arrays[f"{prefix}params"], slots, arrays[f"{prefix}step"], arrays[f"{prefix}learning_rate"])


def _parts(x: Any, to_host: Callable[[Any], np.ndarray]) -> Iterator[np.ndarray]:
    if is_sparse(x):
        yield from (x.data, x.indices, x.indptr)
        return
    spans = list(chunks(*x.shape))
    every = -(-int(x.nbytes) // MAX_BYTES)
    for start, stop in spans[::every]:
        part = x[start:stop]
        yield part if isinstance(part, np.ndarray) else to_host(part)


def _digest(parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
