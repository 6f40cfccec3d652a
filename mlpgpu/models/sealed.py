"""Arrays and JSON in one file: safetensors, with the JSON in its metadata and a digest of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpgpu.errors import InputError, one_line
from mlpgpu.files import replacing

# The entry of the metadata that holds the JSON. It is the only one, since safetensors writes several in random order:
# this way, the same content gives the same bytes.
KEY = "mlpgpu"


def write(
    path: Path, content: Mapping[str, Any], arrays: Mapping[str, np.ndarray], previous: Path | None = None
) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path : Path
    content : mapping
        JSON-able, except that NumPy scalars are allowed.
    arrays : mapping of str to array
    previous : Path or None
        See `mlpgpu.files.replacing`.
    """
    from safetensors.numpy import save

    text = json.dumps(content, default=lambda value: value.item())
    sealed = json.dumps({"digest": _digest(text, arrays), **json.loads(text)})
    with replacing(path, previous) as beside:
        beside.write_bytes(save(dict(arrays), {KEY: sealed}))


def read(path: Path, what: str, newest: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the content and the arrays of a file written by `write`.

    Old files without a digest are accepted.

    Parameters
    ----------
    path : Path
    what : str
        Kind of file, as named in messages, such as ``model``.
    newest : int
        Highest ``version`` of the content that can be read.

    Raises
    ------
    InputError
        If the file cannot be read, was not written by mlpgpu, has a higher version, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        # safetensors says of every file that it cannot open that there is none, also of one without permission to read.
        path.open("rb").close()
        with safe_open(path, "numpy") as file:
            known = (file.metadata() or {}).get(KEY)
            if known is None:
                raise InputError(f"{path} is not a {what} of mlpgpu; give a file that a run of it has written")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content = json.loads(known)
        version = content["version"]
        if version > newest:
            raise InputError(f"{path} has format version {version}; this mlpgpu reads up to {newest}: upgrade it")
        digest = content.pop("digest", None)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        if isinstance(error, SafetensorError):
            reason = f"it was cut off, or is no safetensors file ({reason})"
        raise InputError(
            f"cannot read the {what} {path}: {reason}; give a .safetensors file that a run of mlpgpu has written, or "
            "its folder"
        ) from None
    except InputError:
        raise
    # Raised, among others, by dtypes that NumPy lacks, JSON nested too deep, and integers with too many digits.
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise InputError(f"the {what} {path} is damaged: its metadata do not fit ({error!r})") from None
    if digest is not None and digest != _digest(json.dumps(content), arrays):
        raise InputError(f"the {what} {path} is damaged: its bytes are not those that were written")
    return content, arrays


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        # An array of shape () cannot be viewed as bytes.
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
