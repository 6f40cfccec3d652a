"""Support for scikit-learn's callbacks: each epoch is a subtask of the fit, so progress bars nest in a grid search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks import Callback

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    # scikit-learn has callbacks since 1.9.
    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Substitute without callback support."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method unchanged."""
        return method


if TYPE_CHECKING:
    from mlpgpu.training.run import Record, Run

__all__ = ["CallbackSupportMixin", "Tasks", "has_callbacks", "with_callbacks"]


def has_callbacks(estimator: Any) -> bool:
    """Whether callbacks are set on the estimator, or on a meta-estimator that contains it."""
    return hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx")


class Tasks(Callback):
    """Callback that reports the fit and each of its epochs to scikit-learn's callbacks.

    Parameters
    ----------
    estimator : estimator
    x, y : array
        Training data.
    sample_weight : array or None
    fitted : callable
        ``fitted(run)`` -> attributes that make a copy of the estimator ready to predict.
    """

    def __init__(
        self, estimator: Any, x: Any, y: Any, sample_weight: Any, fitted: Callable[[Run], dict[str, Any]]
    ) -> None:
        self.estimator, self.fitted = estimator, fitted
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.of_task = {"estimator": estimator, "X": x, "y": y, "metadata": metadata}

    def on_begin(self, run: Run) -> None:
        """Report the beginning of the fit."""
        self.whole = self.estimator._init_callback_context(max_subtasks=run.plan.epochs)
        self.whole.call_on_fit_task_begin(**self.of_task)
        self.epoch: Any = None

    def on_epoch_begin(self, run: Run) -> None:
        """Report the beginning of the epoch."""
        self.epoch = self.whole.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.of_task)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Report the end of the epoch, and stop the run if a callback requests it."""
        stop = self.epoch.call_on_fit_task_end(**self.of_task, reconstruction_attributes=lambda: self.fitted(run))
        self.epoch = None
        if stop:
            run.stop("a callback")

    def on_end(self, run: Run) -> None:
        """Report the end of the unfinished epoch, if any, and of the fit."""
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(estimator=self.estimator)
        self.whole.call_on_fit_task_end(
            **self.of_task, reconstruction_attributes=(lambda: self.fitted(run)) if run.history else None
        )
