"""Fuzz one target in this process, which libFuzzer exits: ``python -m scripts.fuzz.one csv -runs=1000 FOLDER``.

To reproduce a crash, give the file that it left in place of the folder.
"""

import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["mlpgpu", "tomllib", "yaml", "zipfile", "gzip"]):
    import tomllib  # noqa: F401

    import yaml  # noqa: F401

    from mlpgpu.errors import MAX_SHOWN, InputError
    from scripts.fuzz.targets import TARGETS

# Maximum growth of the process in megabytes while it reads one of these small files.
MAX_MB = 256
_PAGES_IN_MB = 2**20 / resource.getpagesize()


def promised(read: Callable[[Path], Any], path: Path) -> Callable[[bytes], None]:
    """Return a function that reads bytes as a file, and fails if that breaks a promise of SECURITY.md."""

    def one(data: bytes) -> None:
        path.write_bytes(data)
        before, peak = _resident_mb(), _peak_mb()
        try:
            read(path)
        except InputError as error:
            said = str(error)
            assert said.isprintable(), f"not one printable line: {said!r}"
            assert len(said) <= MAX_SHOWN, f"{len(said)} characters: {said[:100]!r}"
        grown = _peak_mb() - before
        assert _peak_mb() == peak or grown < MAX_MB, f"{len(data)} bytes took {grown:.0f} MB"

    return one


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) / _PAGES_IN_MB


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run libFuzzer."""
    # NumPy's warnings about huge numbers are not errors.
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv[1]]
    with tempfile.TemporaryDirectory(prefix="mlpgpu-fuzz-") as folder:
        one = promised(target.read, Path(folder, f"file{target.suffix}"))
        # Read valid files first, so that the memory of lazy imports is not counted.
        for seed in target.seeds():
            one(seed)
        mutator = {} if target.mutate is None else {"custom_mutator": target.mutate}
        atheris.Setup([sys.argv[0], *sys.argv[2:]], one, **mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
