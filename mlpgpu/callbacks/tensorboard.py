"""A run as TensorBoard shows it."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpgpu.callbacks.base import Callback, checked
from mlpgpu.callbacks.trackers import check_installed, settings
from mlpgpu.files import naming
from mlpgpu.maths.parameters import split

if TYPE_CHECKING:
    from mlpgpu.trainer import Record, Run


class TensorBoard(Callback):
    """Writes what TensorBoard shows: ``tensorboard --logdir FOLDER``.

    Scalars of every epoch, which is the step, with tags such as ``loss/train``, ``loss/validation`` and
    ``accuracy/validation``, so that the sets of one figure stand together, and ``learning_rate``; the settings as a
    text; and histograms. A run takes the place of an earlier one in the same folder, and one that is taken up goes on
    there.

    It needs tensorboardX, and not TensorFlow or PyTorch: ``pip install 'mlpgpu[tensorboard]'``.

    Parameters
    ----------
    folder : path
        Made where there is none.
    histogram_freq : int
        Epochs from one histogram of the weights and biases of each layer to the next; 0 for none, as in Keras.

    Raises
    ------
    InputError
        Where `histogram_freq` is not allowed, and at the beginning of a run where tensorboardX is missing.
    """

    def __init__(self, folder: str | Path, *, histogram_freq: int = 0) -> None:
        self.folder = Path(folder)
        self.histogram_freq = checked("histogram_freq", histogram_freq, int, "[0, inf)")

    def on_begin(self, run: Run) -> None:
        """Begin a file, before which whatever an earlier one has of the epochs to come does not count."""
        check_installed(["tensorboard"])
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(self.folder.glob("events.out.tfevents.*")))
        # TensorBoard reads files by name, and two may begin in one second.
        name = f"events.out.tfevents.{int(time.time()):010}.{earlier:06}.{socket.gethostname()}"
        self._file = self.folder / name
        goes_on = bool(earlier and run.history)
        self._write(0, file_version="brain.Event:2")
        # All of an earlier run goes; of a run that is taken up, what came after its checkpoint.
        self._write(len(run.history) + 1 if goes_on else 0, session_log=SessionLog(status=SessionLog.START))
        if not goes_on:
            rows = "".join(f"| {name} | {value} |\n" for name, value in settings(run).items())
            self._write(0, summary=summary.text("settings", f"| setting | value |\n| --- | --- |\n{rows}"))
            for record in run.history:
                self._write_scalars(record)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Write the figures, and the histograms where they are due."""
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
                # As many bins as TensorFlow makes of them.
                self._write(run.epoch, summary=summary.histogram(f"layer_{number}/{name}", values, bins=30))

    def _write(self, step: int, **what: Any) -> None:
        """Append one event, whole; nothing stays open."""
        from tensorboardX.proto.event_pb2 import Event

        data = Event(wall_time=time.time(), step=step, **what).SerializeToString()
        with naming(self._file), self._file.open("ab") as file:
            file.write(_framed(data))


def _tag(name: str) -> str:
    """``loss/validation`` of ``validation_loss``."""
    rows, _, figure = name.partition("_")
    if name == "loss":
        return "loss/train"
    return f"{figure}/{rows}" if rows in {"train", "validation"} else name


def _framed(data: bytes) -> bytes:
    """A record of a TFRecord file: its length, the data, and a checksum of each.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
