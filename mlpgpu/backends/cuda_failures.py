"""Causes of CUDA errors, as CuPy, PyTorch and JAX report them, with a remedy for each."""

from __future__ import annotations

import re
from typing import NamedTuple

from mlpgpu.errors import one_line

# Marks an error of a library as one of CUDA.
CUDA = re.compile(r"cuda|cublas|nvidia", re.IGNORECASE)
# Start of PyTorch's advice on debugging, which would lengthen the message.
ADVICE = re.compile(r" (?:Search for `|CUDA kernel errors might |Compile with `|Device-side assert)")


class Failure(NamedTuple):
    """A kind of device failure.

    Attributes
    ----------
    words : tuple of str
        Texts by which an error is recognised: those of ``cudaGetErrorString`` and ``cuGetErrorString``, which are the
        same, and which CuPy, PyTorch and JAX all show.
    what : str
        Cause, where "it" is the device.
    todo : str
        Remedy.
    """

    words: tuple[str, ...]
    what: str
    todo: str


BUSY = Failure(
    ("busy or unavailable",),
    "another process has it for itself alone (exclusive compute mode), or it is being reset",
    "wait for that process, which nvidia-smi lists, end it",
)
FULL = Failure(
    (
        "out of memory",
        "cudaErrorMemoryAllocation",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "RESOURCE_EXHAUSTED",
        "ALLOC_FAILED",
        # Of PyTorch on the CPU.
        "can't allocate memory",
    ),
    "it has no memory left",
    "wait for the processes that hold it, which nvidia-smi lists, end them",
)
UNFIT = Failure(
    ("no kernel image", "kernel image is invalid", "gpu-architecture", "is not compatible with the current PyTorch"),
    "the library has no code for this GPU",
    "take a build of it that has",
)
NOT_READY = Failure(
    ("system not yet initialized", "initialization error"),
    "the system has not brought it up",
    "start nvidia-fabricmanager where there is NVSwitch, restart the machine",
)
MISMATCH = Failure(
    ("cuda driver combination", "forward compatibility was attempted"),
    "the driver and its library libcuda are of two versions",
    "restart the machine after an update of the driver, take cuda-compat out of LD_LIBRARY_PATH",
)
SHARED = Failure(
    ("MPS client", "MPS server", "MPS control"),
    "the MPS server through which processes share it does not answer",
    "start nvidia-cuda-mps-control again",
)
DAMAGED = Failure(
    ("uncorrectable ECC", "uncorrectable NVLink", "hardware stack error", "or a hardware error"),
    "its memory or a link of it is damaged",
    "look at nvidia-smi -q -d ECC, have it reset or replaced",
)
ASTRAY = Failure(
    (
        "illegal memory access",
        "misaligned address",
        "illegal instruction",
        "invalid program counter",
        "global/shared address space",
        "device-side assert",
    ),
    "a kernel went astray, by a mistake in the program or a fault of the GPU",
    "report it if it happens again, with what CUDA_LAUNCH_BLOCKING=1 shows",
)
TIMED_OUT = Failure(
    ("launch timed out",),
    "the driver ended a kernel that ran too long for a GPU with a display",
    "take a lower --batch-size",
)
LOST = Failure(
    (
        "unspecified launch failure",
        "unknown error",
        "GPU is lost",
        "no CUDA-capable device",
        "CUBLAS_STATUS_EXECUTION_FAILED",
        "CUBLAS_STATUS_INTERNAL_ERROR",
    ),
    "it was reset or is gone",
    "look for Xid in the log of the kernel (dmesg), check it with nvidia-smi, restart the machine",
)
FAILURES = (BUSY, FULL, UNFIT, NOT_READY, MISMATCH, SHARED, DAMAGED, ASTRAY, TIMED_OUT, LOST)


def kind_of(error: Exception) -> Failure | None:
    """Return the kind of failure that an error of any type describes; None if it is of no known kind."""
    text = str(error)
    return next((known for known in FAILURES if any(words in text for words in known.words)), None)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that a device, or the host, has no memory left."""
    # NumPy and CuPy's memory pool raise a MemoryError; CUDA, PyTorch and JAX raise a RuntimeError.
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and kind_of(error) is FULL)


def described(error: Exception, device: str = "the CUDA device") -> str | None:
    """Describe in one line how a device failed during a run, and what to do; None for any other error."""
    known = kind_of(error) if isinstance(error, RuntimeError) and CUDA.search(str(error)) else None
    return known and f"{device} failed ({shown(error)}): {known.what}; {known.todo}, or use another device"


def shown(error: Exception) -> str:
    """Return the text of an error in one line, at most 160 characters, without PyTorch's advice on debugging."""
    text = ADVICE.split(one_line(error))[0][:160]
    return text or type(error).__name__
