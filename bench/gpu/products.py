"""A graph that holds only the products of an epoch: what cuBLAS alone takes for them."""

import numpy as np
import torch
from floor import Floor

from gpu.graphs import captured, device_of
from gpu.lasting import Lasting


class Graph:
    """The products of each step, forward and back, on arrays made beforehand; the last batch as long as the others."""

    def __init__(self, problem):
        device = device_of(problem)
        floor = Floor(problem.sizes, problem.batch_size, len(problem.labels))
        known = {}

        def on_device(array):
            # A transposed view stays one: cuBLAS takes it as it lies.
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


class Products(Lasting):
    """As many epochs as fill a turn."""

    kind = Graph
