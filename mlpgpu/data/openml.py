"""MNIST-like sets from OpenML, converted back to the IDX files that they were made from."""

import importlib.util
import socket
import warnings
from http.client import HTTPException

import numpy as np

from mlpgpu.data import idx
from mlpgpu.data.download import DownloadError, probe

SERVER = "https://www.openml.org/"
# Training rows, which come first; the others are for testing.
TRAIN_ROWS = 60_000

# Long, since OpenML answers slowly; it applies only after `probe` has shown that the server is there.
_IDLE_SECONDS = 10.0


def fetch(data_id: int, seconds: float) -> dict[str, bytearray]:
    """Download a set, and return the IDX files that it was made from.

    Parameters
    ----------
    data_id : int
        OpenML's ID of the set, which has rows of square images, and labels as text.
    seconds : float
        Timeout of connecting.

    Returns
    -------
    dict of str to bytearray
        The bytes of each file, keyed by its name in MNIST.

    Raises
    ------
    DownloadError
        If the set cannot be downloaded.
    """
    probe(SERVER, seconds)
    from sklearn.datasets import fetch_openml

    # The parser in plain Python is far slower, but needs nothing installed.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    timeout_before = socket.getdefaulttimeout()
    # scikit-learn opens URLs without a timeout.
    socket.setdefaulttimeout(_IDLE_SECONDS)
    try:
        with warnings.catch_warnings():
            # The checksums decide whether the set is good, so warnings about it would be noise.
            warnings.simplefilter("ignore")
            # scikit-learn's cache would be a second copy.
            bunch = fetch_openml(data_id=data_id, as_frame=False, parser=parser, n_retries=1, cache=False)
        images = np.asarray(bunch.data).astype(np.uint8)
        labels = np.asarray(bunch.target).astype(np.uint8)
        side = round(images.shape[1] ** 0.5)
        images = images.reshape(len(labels), side, side)
    except (TimeoutError, ConnectionError):
        raise DownloadError("no answer", unreachable=True) from None
    except (OSError, ValueError, HTTPException):
        raise DownloadError("no usable answer") from None
    finally:
        socket.setdefaulttimeout(timeout_before)
    return {
        "train-images-idx3-ubyte": idx.encode(images[:TRAIN_ROWS]),
        "train-labels-idx1-ubyte": idx.encode(labels[:TRAIN_ROWS]),
        "t10k-images-idx3-ubyte": idx.encode(images[TRAIN_ROWS:]),
        "t10k-labels-idx1-ubyte": idx.encode(labels[TRAIN_ROWS:]),
    }
