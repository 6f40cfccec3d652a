"""The devices that a study compares."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlpgpu import backends
from mlpgpu.backends import Backend
from mlpgpu.errors import InputError
from mlpgpu.throughput.study import Study


@dataclass(frozen=True)
class Contender:
    """A device, and the array library that runs it.

    Attributes
    ----------
    label : str
        Name in tables: the device, preceded by the library if libraries are compared.
    device : str
        ``cpu``, or ``cuda:N``.
    backend : str
        Name for `mlpgpu.backends.select`.
    description : str
        Description of the backend.
    """

    label: str
    device: str
    backend: str
    description: str

    def open(self, study: Study) -> Backend:
        """Open the backend. Each turn needs it again, since opening a CuPy device makes it current in the thread."""
        return backends.select(self.device, self.backend, study.dtype, study.precision)[0]


def find(study: Study) -> tuple[list[Contender], list[str]]:
    """Find the devices to compare.

    Parameters
    ----------
    study : Study

    Returns
    -------
    contenders : list of Contender
        At least one.
    notes : list of str
        Why a library that was named, or the first GPU if nothing was, is not among them.

    Raises
    ------
    InputError
        If a device that was named is not available, or no library is.
    """
    found: dict[str, Contender] = {}
    refused: list[tuple[str, str, InputError]] = []
    for name in study.backends or ("auto",):
        for device in study.devices or _all_devices():
            try:
                backend, _ = backends.select(device, name, study.dtype, study.precision)
            except InputError as error:
                refused.append((name, device, error))
                # GPUs are numbered without gaps, so there is none of a higher number.
                if not study.devices and device != "cpu":
                    break
            else:
                label = f"{backend.name} {backend.device}" if study.backends else backend.device
                found[label] = Contender(label, backend.device, name, backend.description)
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


def _all_devices() -> Iterator[str]:
    yield "cpu"
    yield from (f"cuda:{number}" for number in itertools.count())


def pairs(contenders: Sequence[Contender]) -> list[tuple[str, str]]:
    """Return the labels of each GPU and of the first contender on the CPU; none without both a GPU and a CPU."""
    cpu = next((who.label for who in contenders if who.device == "cpu"), None)
    return [(who.label, cpu) for who in contenders if cpu is not None and who.device != "cpu"]
