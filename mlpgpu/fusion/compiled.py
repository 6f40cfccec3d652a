"""Compile generated source with Numba, and cache it on disk."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs

from mlpgpu import __version__
from mlpgpu.files import replacing

log = logging.getLogger(__name__)


@functools.cache
def has_numba() -> bool:
    """Whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def folder() -> Path:
    """Return the folder in which compiled functions are cached."""
    return Path(platformdirs.user_cache_dir("mlpgpu")) / "compiled"


@functools.cache
def function_of(text: str) -> Callable[..., Any]:
    """Return the function ``run`` of a source, which is compiled when it is first called with arguments of some types.

    Parameters
    ----------
    text : str

    Raises
    ------
    ImportError
        If Numba cannot be imported.
    """
    names = "ahead.py", "blas.py", "elementary.py", "meeting.py", "sparse.py"
    used = b"".join(Path(__file__).with_name(name).read_bytes() for name in names)
    name = "loop_" + hashlib.sha256(text.encode() + used + __version__.encode()).hexdigest()[:24]
    path = folder() / f"{name}.py"
    try:
        if not path.exists() or path.read_bytes() != text.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished:
                unfinished.write_bytes(text.encode())
            log.info("compiling the training loop; it stays compiled in %s", path.parent)
        return _load(name, path).run
    except OSError:
        # The cache cannot be written: compile for this process only.
        with tempfile.TemporaryDirectory() as other:
            path = Path(other) / f"{name}.py"
            path.write_text(text.replace("cache=True", "cache=False"), encoding="utf-8")
            log.info("compiling the training loop, for this process alone: %s cannot be written to", folder())
            return _load(name, path).run


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Numba looks up the module of a function that it loads from the cache.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
