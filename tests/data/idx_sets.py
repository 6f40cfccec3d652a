"""Small data sets in the format of MNIST, and checks of what is read from them."""

import struct

import numpy as np

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(array):
    """Encode an array as IDX by its specification, without the package's own encoder."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def make_set(seed, n_train=200, n_test=40):
    """Return a set of random 4x5 images in ten classes, as arrays and as IDX bytes by file name."""
    rng = np.random.default_rng(seed)
    x, x_test = (rng.integers(0, 256, (n, 4, 5), np.uint8) for n in (n_train, n_test))
    y, y_test = (rng.permutation(np.arange(n) % 10).astype(np.uint8) for n in (n_train, n_test))
    arrays = (x, y, x_test, y_test)
    return arrays, {file: idx_bytes(array) for file, array in zip(FILES, arrays, strict=True)}


def rows_of(d):
    """Return the rows of a set with their labels, sorted, so that they compare equal whatever the split."""
    x, y = np.concatenate([d.x_train, d.x_validation]), np.concatenate([d.y_train, d.y_validation])
    return sorted(zip(x.tolist(), y.tolist(), strict=True))


def assert_is_tiny(d, tiny):
    x, y, x_test, y_test = tiny.arrays
    assert rows_of(d) == sorted(zip(x.reshape(200, 20).tolist(), y.tolist(), strict=True))
    np.testing.assert_array_equal(d.x_test, x_test.reshape(40, 20))
    np.testing.assert_array_equal(d.y_test, y_test)
    assert d.x_train.dtype == d.x_test.dtype == np.uint8
    assert d.y_train.dtype == d.y_test.dtype == np.int64
    assert d.name == "mnist"
    assert d.scaling.kind == "255"
