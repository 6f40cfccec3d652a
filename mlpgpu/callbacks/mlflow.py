"""Logging of a run to MLflow."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback
from mlpgpu.callbacks.trackers import check_installed, model, settings
from mlpgpu.errors import InputError, one_line

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

    from mlpgpu.training.run import Record, Run

log = logging.getLogger(__name__)

# MLflow's limit for the value of a parameter: https://mlflow.org/docs/latest/rest-api.html#log-param
MAX_CHARACTERS = 6000


class MLflowLogger(Callback):
    """Logs a run to MLflow: its settings as parameters, its figures as metrics by epoch, and its model file.

    The MLflow run ends as FINISHED; as KILLED after Ctrl-C, SIGTERM or SIGHUP; or as FAILED if the run diverged or
    ended by an error. A resumed run continues its MLflow run. If MLflow no longer answers, this is logged as a warning,
    training continues, and the missing metrics are sent after the next epoch.

    It needs MLflow's client and, for a database, which is MLflow's default, SQLAlchemy and Alembic:
    ``pip install 'mlpgpu[mlflow]'`` installs them.

    Parameters
    ----------
    tracking_uri : str or None
        Address of MLflow; None for MLflow's default, such as ``MLFLOW_TRACKING_URI``.
    experiment : str or None
        Name of the experiment, created if missing; None for ``MLFLOW_EXPERIMENT_NAME``, or else MLflow's default.
    run_name : str or None
        Name of the MLflow run; None for a generated name. If `tracking_uri`, `experiment` and `run_name` are all None,
        an active run of ``mlflow.start_run`` is used, and not ended here.
    tags : mapping of str to str, or None
        Tags of the MLflow run.

    Raises
    ------
    InputError
        At the beginning of a run, if MLflow is not installed or does not answer, or at its first steps, if the active
        MLflow run has the metrics of a training already.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.tracking_uri = None if tracking_uri is None else str(tracking_uri)
        self.experiment, self.run_name, self.tags = experiment, run_name, dict(tags or {})

    def on_begin(self, run: Run) -> None:
        """Connect to MLflow, so that an error shows before any training."""
        check_installed(["mlflow"])
        import mlflow

        named = (self.tracking_uri, self.experiment, self.run_name) != (None, None, None)
        active = None if named else mlflow.active_run()
        self._active = active.info.run_id if active else None
        self._run_id, self._sent, self._handled = "", 0, id(sys.exception())
        with self._reached():
            client = mlflow.MlflowClient(self.tracking_uri)
            self._experiment_id = active.info.experiment_id if active else self._find_experiment(client)
        self._client = client

    def on_steps(self, run: Run, done: int, losses: Callable[[], np.ndarray]) -> None:
        """Create the MLflow run, if `restore` has not set one by now."""
        if not self._run_id:
            self._begin(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Send the metrics."""
        # L-BFGS does not call `on_steps`.
        if not self._run_id:
            self._begin(run)
        self._send(run)

    def state(self) -> dict[str, Any]:
        """Return the id of the MLflow run."""
        return {"run_id": self._run_id}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue the MLflow run, after the last epoch that it has."""
        if not state["run_id"]:
            return
        with self._reached():
            self._client.update_run(state["run_id"], status="RUNNING")
            sent = self._client.get_metric_history(state["run_id"], "loss")
        self._run_id, self._sent = state["run_id"], max((metric.step for metric in sent), default=0)

    def on_end(self, run: Run) -> None:
        """Send the model and the final status, and drop the client, which cannot be copied."""
        error = sys.exception() if id(sys.exception()) != self._handled else None
        try:
            if self._run_id:
                self._finish(run, error)
        finally:
            del self._client

    def _begin(self, run: Run) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, value[:MAX_CHARACTERS]) for name, value in settings(run).items()]
        with self._reached():
            run_id = self._active
            if run_id is None:
                run_id = self._client.create_run(self._experiment_id, run_name=self.run_name).info.run_id
            elif "loss" in self._client.get_run(run_id).data.metrics:
                raise InputError(f"the active MLflow run {run_id} has a training already; start a run for each")
            self._client.log_batch(run_id, params=params, tags=[RunTag(*tag) for tag in self.tags.items()])
        self._run_id = run_id

    def _send(self, run: Run) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        with self._tolerated():
            # Includes records that could not be sent before.
            for record in run.history[self._sent :]:
                step = int(record["epoch"])
                metrics = [Metric(name, value, now, step) for name, value in record.items() if name != "epoch"]
                self._client.log_batch(self._run_id, metrics=metrics)
                self._sent = step

    def _finish(self, run: Run, error: BaseException | None) -> None:
        self._send(run)
        # After an error, the weights may be invalid and the device lost.
        network = None if error else model(run)
        if network is not None:
            from mlpgpu.models.model import FILE

            with self._tolerated(), tempfile.TemporaryDirectory() as folder:
                network.save(Path(folder) / FILE)
                self._client.log_artifact(self._run_id, str(Path(folder) / FILE))
        if self._run_id != self._active:
            if run.stopped == "interrupted" or isinstance(error, KeyboardInterrupt):
                status = "KILLED"
            else:
                status = "FAILED" if error or run.diverged else "FINISHED"
            with self._tolerated():
                self._client.set_terminated(self._run_id, status)

    def _find_experiment(self, client: MlflowClient) -> str:
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if not name:
            return client.get_experiment(os.environ.get("MLFLOW_EXPERIMENT_ID", "0")).experiment_id
        found = client.get_experiment_by_name(name)
        return found.experiment_id if found else client.create_experiment(name)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        from mlflow import get_tracking_uri
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, ImportError) as error:
            uri = self.tracking_uri or get_tracking_uri()
            raise InputError(
                f"cannot log to MLflow at {uri}: {one_line(error)}; set MLFLOW_TRACKING_URI, leave MLflow out, or, for "
                "a database, pip install 'mlpgpu[mlflow]'"
            ) from None

    @contextlib.contextmanager
    def _tolerated(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            # A full disk is an OSError, and so are the exceptions of requests.
            log.warning("MLflow: %s; the run goes on without it", one_line(error))
