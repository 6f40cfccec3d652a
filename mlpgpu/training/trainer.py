"""The epoch loop, free of maths and independent of the device."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback
from mlpgpu.callbacks.base import finalised
from mlpgpu.maths.network import plain
from mlpgpu.maths.step import State, trained_weights
from mlpgpu.training import preflight
from mlpgpu.training.checkpoint import Checkpoint, fingerprint, states
from mlpgpu.training.epoch import Lasting, Training
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Placement, Rows, Streamed, open_feed
from mlpgpu.training.interrupt import interruptible
from mlpgpu.training.plan import Plan
from mlpgpu.training.run import Best, Record, Run, divergence

if TYPE_CHECKING:
    from mlpgpu.models.model import Model
    from mlpgpu.training.preflight import Need

log = logging.getLogger(__name__)

Array = Any
# A loss this many times that of the initial weights is not bad luck: steps are too large.
EXPLOSION_FACTOR = 100
# A rollback multiplies the learning rate by this, as Keras's ReduceLROnPlateau does by default.
RATE_FACTOR = 0.1


def fit(
    backend: Backend,
    plan: Plan,
    train: Rows,
    watched: Mapping[str, Rows],
    placement: Placement,
    callbacks: Sequence[Callback] = (),
    *,
    test: Rows | None = None,
    state: State | None = None,
    best: Best | None = None,
    score: Callable[[Array], float] | None = None,
    as_model: Callable[[np.ndarray], Model] | None = None,
    rollbacks: int | None = None,
    resume: Checkpoint | None = None,
    need: Need | None = None,
    lasting: Lasting | None = None,
) -> tuple[State, Run]:
    """Train a network.

    Ctrl-C, SIGTERM and SIGHUP end the run after the current steps.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    train : Rows
    watched : mapping of str to Rows
        Rows whose loss and score are measured after each epoch: ``train``, ``validation``.
    placement : Placement
        Scaling of all rows, and their transfer to the device.
    callbacks : sequence of Callback
    test : Rows or None
        Rows that the network is tested on afterwards, which a checkpoint identifies as it does the others.
    state : State or None
        State to continue from; None for the initial state of the plan.
    best : Best or None
        None for the lowest validation loss, if there are validation rows.
    score : callable or None
        ``score(params)`` of the validation rows, for parameters on the device; replaces the network's own score.
    as_model : callable or None
        See `Run`.
    rollbacks : int or None
        How often the run may return to the start of an epoch that diverged, and continue with a tenth of the learning
        rate. An epoch has diverged if a loss or a parameter is not finite, or if at least half of its losses exceed 100
        times that of the initial weights. With None there is no rollback, and large losses are accepted as long as they
        are finite.
    resume : Checkpoint or None
        Checkpoint of a run with the same plan and callbacks, to resume from.
    need : Need or None
        Estimated memory of the run. With None, it is estimated if that decides how rows reach the device.
    lasting : Lasting or None
        Loop that outlasts this run.

    Returns
    -------
    state : State
        State after the last epoch, on the device; with the best weights if they are restored.
    run : Run

    Raises
    ------
    Diverged
        If the run diverged, may not roll back, and has no best weights to restore.
    InputError
        If the plan, the rows, the features or the classes are not those of the checkpoint.
    """
    if resume is not None:
        state = resume.state.copied(backend.asarray)

    def beside() -> int:
        return (need or preflight.predict(backend, plan, train, watched, rollbacks)).beside

    training = Training(backend, plan, train, placement, state, beside, lasting)
    run = Run(
        plan,
        len(train),
        isinstance(training.feed, Streamed),
        training=training,
        fetch=lambda: plain(np, plan.network, backend.to_host(training.state.params)),
        as_model=as_model,
    )
    trainer = Trainer(run, training, placement, watched, callbacks, test, best or Best(), score, rollbacks)
    run.snapshot = trainer.snapshot
    if resume is not None:
        trainer.restore(resume)
    try:
        with interruptible() as trainer.interrupted, finalised(callbacks, run):
            trainer.fit(resume)
    finally:
        # Run and trainer refer to each other: the cycle would keep all rows alive until the garbage collector runs.
        run.snapshot = None
    # Those that callbacks asked for as they ended.
    run.write_checkpoints()
    run.signal = trainer.interrupted()
    if lasting is not None:
        # The next run may overwrite the arrays of the loop.
        training.state = training.state.copied(partial(backend.xp.asarray, copy=True))
    return training.state, run


class Trainer:
    """The loop over the epochs of one run; for the parameters see `fit`."""

    interrupted: Callable[[], int]

    def __init__(
        self,
        run: Run,
        training: Training,
        placement: Placement,
        watched: Mapping[str, Rows],
        callbacks: Sequence[Callback],
        test: Rows | None,
        best: Best,
        score: Callable[[Array], float] | None,
        rollbacks: int | None,
    ) -> None:
        self.backend = backend = training.backend
        self.run, self.training, self.callbacks, self.test = run, training, callbacks, test
        self.best, self.score, self.rollbacks = best, score, rollbacks
        self.evaluation = Evaluation(backend, run.plan.network, placement, run.plan.score_name)
        train = training.feed
        self.feeds = {
            name: train if rows is train.rows else open_feed(backend, rows, placement) for name, rows in watched.items()
        }
        # Copies: the next step may overwrite the parameters.
        self._own = partial(backend.xp.asarray, copy=True)
        self._before: State | None = None
        self._start_loss, self._began, self._paused = math.inf, 0.0, False
        run.monitor = best.monitor
        if best.than is not None:
            run.best_params = self._own(training.state.params)

    def restore(self, given: Checkpoint) -> None:
        """Restore the run's state from a checkpoint, before callbacks begin.

        Raises
        ------
        InputError
            If the plan, the rows, the features or the classes are not those of the checkpoint.
        """
        given.check(self.run.plan.facts(), self._data, self.run.model())
        if given.arithmetic != (now := self.training.arithmetic()):
            log.warning(
                "the run began with %s, and goes on with %s: its figures agree with those of an uninterrupted run to "
                "rounding, not to the last digit",
                given.arithmetic,
                now,
            )
        run, steps, done = self.run, given.steps_per_epoch, len(given.history)
        run.epoch, run.history = done, list(given.history)
        run.losses = [given.losses[i * steps : (i + 1) * steps] for i in range(done)]
        run.steps_before = len(given.losses)
        run.best_epoch, run.rollbacks, run.stopped = given.best_epoch, given.rollbacks, given.stopped
        run.best_params = None if given.best_params is None else self.backend.asarray(given.best_params)
        self._start_loss = given.start_loss

    def fit(self, resume: Checkpoint | None) -> None:
        """Train to the end, from the start or from where `restore` has put the run."""
        run, training = self.run, self.training
        begun = None if resume is None else self._begin_again(resume)
        if self.rollbacks is not None and self.feeds and resume is None:
            self._start_loss = self._loss_at_start()
        while len(run.history) < run.plan.epochs and not run.stopped:
            if begun is None:
                self._begin_epoch()
                self._began = time.perf_counter()
            losses, counts = training.epoch(run.epoch, self._after_steps, begun)
            seconds = time.perf_counter() - self._began
            begun, run.whole = None, len(losses) == run.plan.steps_per_epoch

            run.diverged = divergence(run.epoch, losses, EXPLOSION_FACTOR * abs(self._start_loss) or math.inf, training)
            if run.diverged and self._roll_back():
                continue
            run.losses.append(losses)
            if run.diverged:
                if run.best_params is None or self.best.restore == "never":
                    raise run.diverged
                run.stop("diverged")
                break
            self._end_epoch(losses, counts, seconds)
        wanted = self.best.restore == "always" or (self.best.restore == "stopped" and bool(run.stopped))
        run.restored = wanted and run.best_params is not None
        if run.restored:
            # Before callbacks end, so that they see the weights that the run returns.
            training.state = training.state._replace(params=run.best_params)

    def snapshot(self) -> Checkpoint:
        """Return a checkpoint of the run between two steps."""
        run, to_host, state = self.run, self.backend.to_host, self.training.state.copied(self.backend.to_host)
        assert run.as_model is not None
        under_way = run.epoch > len(run.history)
        losses = [*run.losses, self.training.losses()] if under_way else run.losses
        return Checkpoint(
            model=run.as_model(plain(np, run.plan.network, state.params)),
            state=state,
            losses=np.concatenate(losses),
            steps_per_epoch=run.plan.steps_per_epoch,
            history=run.history,
            best_epoch=run.best_epoch,
            best_params=None if run.best_params is None else to_host(run.best_params),
            before=self._before.copied(to_host) if under_way and self._before else None,
            rollbacks=run.rollbacks,
            start_loss=self._start_loss,
            seconds=time.perf_counter() - self._began if under_way else 0.0,
            # In an unfinished epoch, the resumed run decides whether to stop.
            stopped=run.stopped if run.final and not under_way else "",
            callbacks=states(self.callbacks),
            plan=run.plan.facts(),
            data=self._data,
            arithmetic=self.training.arithmetic(),
        )

    def _loss_at_start(self) -> float:
        """Estimate the median step loss of the initial weights, including the penalty; `divergence` compares with it.

        A run that starts from a trained model uses the loss of freshly drawn weights if that is larger: the loss of a
        trained model may be so small that dropout alone multiplies it by a hundred.
        """
        loss, drawn = self._penalised_loss(self.training.state.params), self.run.plan.drawn
        if drawn is None:
            return loss
        return max(loss, self._penalised_loss(self.backend.asarray(drawn, self.run.plan.dtype)))

    def _penalised_loss(self, params: Array) -> float:
        plan, rows = self.run.plan, self.training.feed.rows
        loss = self.evaluation.measure(params, next(iter(self.feeds.values())))["loss"]
        weights = self.backend.to_host(params)[trained_weights(plan.network)].astype(np.float64)
        counts = np.diff([*range(0, len(rows), plan.batch_size), len(rows)])
        share = np.median(1 / counts) / (1 if rows.weights is None else rows.weights.mean())
        return float(loss + 0.5 * plan.recipe.l2 * (weights @ weights) * share)

    def _begin_again(self, given: Checkpoint) -> np.ndarray | None:
        """Undo what callbacks did when they began, and return the losses of the unfinished epoch, if there is one."""
        training, on_device = self.training, self.backend.asarray
        begun = given.begun if len(given.begun) else None
        if begun is not None:
            self._begin_epoch()
            self._before = given.before.copied(on_device) if given.before else None
        training.state = training.state._replace(learning_rate=on_device(given.state.learning_rate))
        given.restore(self.callbacks)
        self._began = time.perf_counter() - given.seconds
        return begun

    def _begin_epoch(self) -> None:
        run = self.run
        run.epoch = len(run.history) + 1
        if (self.rollbacks or 0) > run.rollbacks:
            self._before = self.training.state.copied(self._own)
        for callback in self.callbacks:
            callback.on_epoch_begin(run)

    def _after_steps(self, done: int, losses: Callable[[], np.ndarray]) -> bool:
        for callback in self.callbacks:
            callback.on_steps(self.run, done, losses)
        return self._should_end()

    def _should_end(self) -> bool:
        """Write the checkpoints that callbacks asked for, and return whether the run is to end here."""
        run = self.run
        if number := self.interrupted():
            run.signal = number
            run.stop("interrupted", final=False)
        if run.stopped and not run.final and not self._paused:
            self._paused = True
            for callback in self.callbacks:
                callback.on_pause(run)
        run.write_checkpoints()
        return bool(run.stopped)

    def _roll_back(self) -> bool:
        run = self.run
        if self._before is None or (run.stopped and run.final):
            return False
        assert run.diverged is not None
        what, run.diverged = run.diverged.what, None
        self.training.state, self._before = self._before, None
        if run.stopped:
            # The resumed run completes the epoch, and then rolls back by itself.
            log.warning("%s; the weights are again those from before the epoch", what)
            return True
        run.rollbacks += 1
        run.learning_rate *= RATE_FACTOR
        log.warning(
            "%s; the weights are again those from before the epoch, and the learning rate is %g (%d of %d times)",
            what,
            run.learning_rate,
            run.rollbacks,
            self.rollbacks,
        )
        return True

    def _end_epoch(self, losses: np.ndarray, counts: np.ndarray, seconds: float) -> None:
        run, training = self.run, self.training
        n_rows = counts.sum()
        record: Record = {"epoch": run.epoch, "loss": float((losses * counts).sum() / n_rows)}
        record |= self.evaluation.watch(training.state.params, self.feeds, self.score)
        # The training loss in the record is the mean over the steps.
        record.pop("train_loss", None)
        record["learning_rate"] = training.learning_rate()
        record |= {"seconds": seconds, "samples_per_second": float(n_rows / seconds)}
        if self.rollbacks:
            record["rollbacks"] = run.rollbacks
        run.history.append(record)
        if self.best.improves(record, run.history[run.best_epoch - 1] if run.best_epoch else None):
            run.best_epoch, run.best_params = run.epoch, self._own(training.state.params)
        for callback in self.callbacks:
            callback.on_epoch_end(run, record)
        self._should_end()

    @cached_property
    def _data(self) -> dict[str, Any]:
        feeds = {"training": self.training.feed, "validation": self.feeds.get("validation")}
        parts = {name: feed.rows for name, feed in feeds.items() if feed} | {"test": self.test}
        return {name: fingerprint(rows, self.backend.to_host) if rows else {} for name, rows in parts.items()}
