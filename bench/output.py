"""Where a benchmark writes its results: a folder that is checked before anything is measured."""

import argparse
from pathlib import Path

from mlpgpu.errors import InputError
from mlpgpu.files import out_folder


def add_argument(parser):
    """Add ``--out`` to the arguments of a benchmark."""
    parser.add_argument("--out", type=_folder, default=str(Path(__file__).parent / "results"), help="folder to write")


def _folder(given):
    try:
        return out_folder(given, "bench")
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
