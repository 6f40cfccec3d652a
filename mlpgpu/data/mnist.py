"""MNIST and Fashion-MNIST: found in a folder or downloaded, with checksums verified in both cases."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.data import idx
from mlpgpu.data.mirrors import UnavailableError, download, md5
from mlpgpu.data.source import Source
from mlpgpu.errors import InputError
from mlpgpu.files import expanded

if TYPE_CHECKING:
    from mlpgpu.settings.config import Config

FOLDER_VARIABLE = "MLPGPU_DATA_DIR"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

MIRRORS = {
    "mnist": (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
}

OPENML_IDS = {"mnist": 554, "fashion-mnist": 40996}

# MD5 of the uncompressed bytes, which do not depend on who compressed them.
CHECKSUMS = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}

CLASSES: dict[str, tuple[Any, ...]] = {
    "mnist": tuple(range(10)),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}


def load(name: str, config: "Config") -> Source[np.ndarray]:
    """Load ``mnist`` or ``fashion-mnist``, downloading it if no folder has it.

    Folders are searched in this order: ``config.data_dir``, ``$MLPGPU_DATA_DIR``, the user's cache folder. Downloads
    are kept in the cache folder.

    Returns
    -------
    Source
        x of dtype ``uint8`` and shape (n_rows, 784), with test rows.

    Raises
    ------
    UnavailableError
        If the set can neither be found nor downloaded.
    InputError
        If a user's folder holds only some of the files, or a damaged one.
    """
    notes: tuple[str, ...] = ()
    contents = None
    if config.data_dir is not None:
        folder = expanded(config.data_dir)
        if not folder.is_dir():
            raise InputError(f"data_dir is {str(folder)!r}, which is not a folder; give the folder with the IDX files")
        contents = _from_folder(folder, name, f"data_dir {folder}", lenient=False)
        if contents is None:
            notes = (f"data_dir {folder} holds no files of {name}; looked elsewhere",)
    if contents is None and os.environ.get(FOLDER_VARIABLE):
        folder = expanded(os.environ[FOLDER_VARIABLE])
        contents = _from_folder(folder, name, f"{FOLDER_VARIABLE} {folder}", lenient=True)
    if contents is None:
        contents = _from_cache(name, progress=not config.quiet)
    # The array takes over the memory of the popped content.
    x, y, x_test, y_test = (idx.parse(contents.pop(file), file) for file in FILES)
    return Source(
        name,
        x.reshape(len(x), -1),
        y.astype(np.int64),
        {"test": Source(name, x_test.reshape(len(x_test), -1), y_test.astype(np.int64))},
        task="classification",
        classes=CLASSES[name],
        scale="255",
        notes=notes,
    )


def find(folder: Path, name: str, file: str) -> Path | None:
    """Return the path of a file in the subfolder of its set or in `folder` itself, compressed or not, or None."""
    spellings = (file, file.replace("-idx", ".idx"))
    places = (
        place / (spelling + end) for place in (folder / name, folder) for spelling in spellings for end in (".gz", "")
    )
    return next((path for path in places if path.is_file()), None)


def _from_folder(folder: Path, name: str, given: str, *, lenient: bool) -> dict[str, bytearray] | None:
    """Return the four files of a user's folder, or None if it has none of them.

    If `lenient`, files of another set are ignored, since a folder for all sets may hold one set without a subfolder.
    """
    found = {file: path for file in FILES if (path := find(folder, name, file))}
    if not found:
        return None
    contents = {}
    for file, path in found.items():
        contents[file] = idx.unpack(path)
        digest = md5(contents[file])
        if digest != (expected := CHECKSUMS[name][file]):
            other = next((other for other, sums in CHECKSUMS.items() if digest in sums.values()), None)
            if lenient and other:
                return None
            belongs = f" (it belongs to {other})" if other else ""
            raise InputError(
                f"{path} is not the {file} of {name}: expected MD5 {expected} of its uncompressed bytes, "
                f"found {digest}{belongs}; replace it"
            )
    if missing := [file for file in FILES if file not in found]:
        raise InputError(
            f"{given} holds {len(found)} of the four files of {name}, without {', '.join(missing)}; "
            "add the missing, or give another folder"
        )
    return contents


def _from_cache(name: str, *, progress: bool) -> dict[str, bytearray]:
    from platformdirs import user_cache_dir

    folder = Path(user_cache_dir("mlpgpu"), name)
    contents = {}
    for file in FILES:
        # The cache belongs to mlpgpu, so damaged files are silently downloaded again.
        while (path := find(folder, name, file)) is not None:
            try:
                data = idx.unpack(path)
            except InputError:
                data = bytearray()
            if md5(data) == CHECKSUMS[name][file]:
                contents[file] = data
                break
            try:
                path.unlink()
            except OSError as error:
                raise InputError(f"{path} is damaged and cannot be removed ({error.strerror}); remove it") from None
    wanted = {file: expected for file, expected in CHECKSUMS[name].items() if file not in contents}
    if wanted:
        try:
            contents |= download(MIRRORS[name], wanted, folder, OPENML_IDS[name], progress=progress)
        except UnavailableError as error:
            raise UnavailableError(
                f"{name} is not in a known folder, and {error}; put its four IDX files ({FILES[0]}.gz and so on) "
                f"in a folder and give it as --data-dir or {FOLDER_VARIABLE}"
            ) from None
    return contents
