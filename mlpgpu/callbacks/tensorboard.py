"""Logging of a run for TensorBoard."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback
from mlpgpu.callbacks.trackers import check_installed, settings
from mlpgpu.files import expanded, naming
from mlpgpu.maths.parameters import split
from mlpgpu.settings.setting import Setting

if TYPE_CHECKING:
    from mlpgpu.training.run import Record, Run


class TensorBoard(Callback):
    """Writes the log of a run for ``tensorboard --logdir FOLDER``.

    It contains scalars of every epoch, with the epoch as the step; the settings as text; and histograms. Tags such as
    ``loss/train``, ``loss/validation`` and ``accuracy/validation`` group the sets of rows by figure. A new run replaces
    an earlier one in the same folder, and a resumed run continues there.

    It needs tensorboardX, but not TensorFlow or PyTorch: ``pip install 'mlpgpu[tensorboard]'``.

    Parameters
    ----------
    folder : path
        Folder of the log, created if missing.
    histogram_freq : int
        Interval in epochs between histograms of the weights and biases of each layer; 0 for none, as in Keras.

    Raises
    ------
    InputError
        If `histogram_freq` is not allowed, and at the beginning of a run if tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path, *, histogram_freq: int = 0) -> None:
        self.folder = expanded(folder)
        self.histogram_freq = Setting(int, "[0, inf)").checked("histogram_freq", histogram_freq)

    def on_begin(self, run: Run) -> None:
        """Begin a file, which makes TensorBoard discard what earlier files have of the epochs to come."""
        check_installed(["tensorboard"])
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(self.folder.glob("events.out.tfevents.*")))
        # TensorBoard reads files in order of name, and two may begin in the same second.
        name = f"events.out.tfevents.{int(time.time()):010}.{earlier:06}.{socket.gethostname()}"
        self._file = self.folder / name
        continues = bool(earlier and run.history)
        self._write(0, file_version="brain.Event:2")
        # START discards earlier events from its step on: all of another run, or those after the checkpoint of this one.
        self._write(len(run.history) + 1 if continues else 0, session_log=SessionLog(status=SessionLog.START))
        if not continues:
            rows = "".join(f"| {name} | {value} |\n" for name, value in settings(run).items())
            self._write(0, summary=summary.text("settings", f"| setting | value |\n| --- | --- |\n{rows}"))
            for record in run.history:
                self._write_scalars(record)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write the scalars, and the histograms if they are due."""
        self._write_scalars(record)
        if self.histogram_freq and run.epoch % self.histogram_freq == 0:
            self._write_histograms(run)

    def _write_scalars(self, record: Record) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=_tag(name), simple_value=value) for name, value in record.items() if name != "epoch"
        ]
        self._write(int(record["epoch"]), summary=Summary(value=values))

    def _write_histograms(self, run: Run) -> None:
        import numpy as np
        from tensorboardX import summary

        params = run.params
        if not np.isfinite(params).all():
            return
        for number, (w, b) in enumerate(split(np, params, run.plan.network.sizes), 1):
            for name, values in (("weights", w), ("biases", b)):
                # TensorFlow's default number of bins.
                self._write(run.epoch, summary=summary.histogram(f"layer_{number}/{name}", values, bins=30))

    def _write(self, step: int, **content: Any) -> None:
        """Append one event by a single write, and close the file."""
        from tensorboardX.proto.event_pb2 import Event

        data = Event(wall_time=time.time(), step=step, **content).SerializeToString()
        with naming(self._file), self._file.open("ab") as file:
            file.write(_framed(data))


def _tag(name: str) -> str:
    """Return the tag of a key of the record: ``loss/validation`` for ``validation_loss``."""
    rows, _, figure = name.partition("_")
    if name == "loss":
        return "loss/train"
    return f"{figure}/{rows}" if rows in {"train", "validation"} else name


def _framed(data: bytes) -> bytes:
    """Frame data as a record of a TFRecord file: its length, the data, and a checksum of each.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
