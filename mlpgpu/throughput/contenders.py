"""The devices that a study compares."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.errors import InputError
from mlpgpu.throughput.study import Study

__all__ = ["Contender", "find"]


@dataclass(frozen=True)
class Contender:
    """A device, and the array library that runs it.

    Attributes
    ----------
    label : str
        What it is called in a table: its device, after its library where libraries are compared.
    device : str
        ``cpu``, or ``cuda:N``.
    backend : str
        As `mlpgpu.backends.select` takes it.
    dtype : str
    description : str
        That of the backend.
    precision : str
    """

    label: str
    device: str
    backend: str
    dtype: str
    description: str
    precision: str = "float32"

    def open(self) -> Backend:
        """Its backend, anew for each turn: of CuPy's devices, the one opened last is the current one of the thread."""
        return backends.select(self.device, self.backend, self.dtype, self.precision)[0]


def find(study: Study) -> tuple[list[Contender], list[str]]:
    """The devices to compare.

    Parameters
    ----------
    study : Study

    Returns
    -------
    contenders : list of Contender
        At least one.
    notes : list of str
        Why a library that was named, or a GPU where nothing was, is not among them.

    Raises
    ------
    InputError
        Where a device that was named is not there, or no library is.
    """
    found: dict[str, Contender] = {}
    refused: list[tuple[str, str, InputError]] = []
    for name in study.backends or ("auto",):
        for device in study.devices or _numbered():
            try:
                backend, _ = backends.select(device, name, study.dtype, study.precision)
            except InputError as error:
                refused.append((name, device, error))
                # Where there is no such GPU, there is none of a higher number.
                if not study.devices and device != "cpu":
                    break
            else:
                label = f"{backend.name} {backend.device}" if study.backends else backend.device
                found[label] = Contender(label, backend.device, name, study.dtype, backend.description, study.precision)
    names, served = {known.backend for known in found.values()}, {known.device for known in found.values()}
    for _, device, why in refused:
        if study.devices and not served & {device, f"{device}:0"}:
            raise why
    notes = {
        name: str(why) for name, device, why in refused if name not in names or (name, device) == ("auto", "cuda:0")
    }
    if not found:
        raise InputError(next(iter(notes.values())))
    return list(found.values()), list(notes.values())


def _numbered() -> Iterator[str]:
    yield "cpu"
    yield from (f"cuda:{number}" for number in itertools.count())
