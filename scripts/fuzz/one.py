"""One target in this process, which libFuzzer ends: ``python -m scripts.fuzz.one csv -runs=1000 FOLDER``.

A file that a crash left is given as the last argument in place of the folder, to see it again.
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

    from mlpgpu.errors import MOST_SHOWN, InputError
    from scripts.fuzz.targets import TARGETS

# Megabytes that reading one of these small files may take beyond what the process has.
MOST_MB = 256
_PAGES_IN_MB = 2**20 / resource.getpagesize()


def promised(read: Callable[[Path], Any], path: Path) -> Callable[[bytes], None]:
    """A function that reads a file of some bytes, and fails where it does what SECURITY.md rules out."""

    def one(data: bytes) -> None:
        path.write_bytes(data)
        before, peak = _resident_mb(), _peak_mb()
        try:
            read(path)
        except InputError as error:
            said = str(error)
            assert said.isprintable(), f"not one printable line: {said!r}"
            assert len(said) <= MOST_SHOWN, f"{len(said)} characters: {said[:100]!r}"
        grown = _peak_mb() - before
        assert _peak_mb() == peak or grown < MOST_MB, f"{len(data)} bytes took {grown:.0f} MB"

    return one


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) / _PAGES_IN_MB


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run libFuzzer."""
    # What NumPy says of huge numbers is no error.
    warnings.simplefilter("ignore")
    target = TARGETS[sys.argv[1]]
    with tempfile.TemporaryDirectory(prefix="mlpgpu-fuzz-") as folder:
        one = promised(target.read, Path(folder, f"file{target.suffix}"))
        # Imports, which take their own memory.
        for seed in target.seeds():
            one(seed)
        mutator = {} if target.mutate is None else {"custom_mutator": target.mutate}
        atheris.Setup([sys.argv[0], *sys.argv[2:]], one, **mutator)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
