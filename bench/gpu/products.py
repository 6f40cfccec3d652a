"""A graph of only the matrix products of an epoch, to time cuBLAS alone."""

import functools

import numpy as np
import torch
from floor import Floor

from gpu.graphs import captured, device_of
from gpu.lasting import Lasting


class Graph:
    """The products of each step, forward and backward, on preallocated arrays; the last batch is a full one."""

    def __init__(self, problem):
        device = device_of(problem)
        floor = Floor(problem.sizes, problem.batch_size, len(problem.labels))
        known = {}

        def on_device(array):
            # A transposed view stays one, since cuBLAS accepts it without a copy.
            if array.base is not None and array.base.shape == array.shape[::-1]:
                return on_device(array.base).T
            return known.setdefault(id(array), torch.from_numpy(np.ascontiguousarray(array)).to(device))

        products = [tuple(map(on_device, product)) for product in floor.products]

        def epoch():
            for _ in range(floor.steps):
                for a, b, out in products:
                    torch.mm(a, b, out=out)

        self.device, self.replay = device, captured(epoch, device)

    def turn(self, number):
        self.replay()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


Products = functools.partial(Lasting, Graph)
