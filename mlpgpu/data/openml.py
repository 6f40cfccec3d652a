"""MNIST-like sets from OpenML, turned back into the IDX bytes that they were made from."""

import importlib.util
import socket
import warnings
from http.client import HTTPException

import numpy as np

from mlpgpu.data import idx
from mlpgpu.data.download import DownloadError, probe

__all__ = ["SERVER", "fetch"]

SERVER = "https://www.openml.org/"

# It answers slowly, but has shown that it is there by the time that this counts.
_IDLE_SECONDS = 10.0


def fetch(data_id: int, train_rows: int, seconds: float) -> dict[str, bytearray]:
    """The IDX files that a set was made from.

    Parameters
    ----------
    data_id : int
        Number of the set at OpenML: rows of square images, labels as text.
    train_rows : int
        How many of the first rows are for training; the others are for testing.
    seconds : float
        Longest wait for a connection.

    Returns
    -------
    dict of str to bytearray
        The bytes of each file, by the name that MNIST has for it.

    Raises
    ------
    DownloadError
        Where the set cannot be fetched.
    """
    probe(SERVER, seconds)
    from sklearn.datasets import fetch_openml

    # The parser in plain Python is far slower, but needs nothing installed.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    timeout_before = socket.getdefaulttimeout()
    # scikit-learn opens addresses without a timeout of its own.
    socket.setdefaulttimeout(_IDLE_SECONDS)
    try:
        with warnings.catch_warnings():
            # The checksums say whether the set is good, so remarks on it would only be noise.
            warnings.simplefilter("ignore")
            # Its cache would be a second copy beside ours.
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
        "train-images-idx3-ubyte": idx.encode(images[:train_rows]),
        "train-labels-idx1-ubyte": idx.encode(labels[:train_rows]),
        "t10k-images-idx3-ubyte": idx.encode(images[train_rows:]),
        "t10k-labels-idx1-ubyte": idx.encode(labels[train_rows:]),
    }
