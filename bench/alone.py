"""A call in a process of its own, so that its peak memory can be measured."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def alone(function, *args, **kwargs):
    """Call a function in a new process, and return its result.

    On Linux, that process inherits the peak memory of this one, which should therefore not import NumPy.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()
