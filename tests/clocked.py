"""Devices that compute nothing and say how long it took: what is measured on them is known beforehand."""

import numpy as np

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.errors import InputError


class Machine:
    """Devices, each with its seconds a step and its seconds a row, and a clock that only they move."""

    def __init__(self, **costs):
        self.costs = {name.replace("_", ":"): cost for name, cost in costs.items()}
        self.now, self.current = 0.0, None
        # What is called with the device and the batch size of each step.
        self.on_step = lambda device, batch_size: None

    def clock(self):
        return self.now

    def select(self, device="auto", backend="auto", dtype="float32", precision="float32"):
        if device not in self.costs:
            raise InputError(f"device {device!r} is not there; use another")
        self.current = device
        return Clocked(self, device), ""

    def install(self, monkeypatch):
        monkeypatch.setattr("mlpgpu.backends.select", self.select)
        monkeypatch.setattr("mlpgpu.throughput.measure.perf_counter", self.clock)
        return self


class Clocked(NumpyBackend):
    def __init__(self, machine, device):
        self.machine, self.device, self.description = machine, device, f"{device}, Fake"

    def compile_loop(self, step, n_steps=None):
        machine = self.machine

        def loop(state, data, items):
            # As with CuPy, whose arrays are made on the current device of the thread.
            assert machine.current == self.device
            n_steps, batch_size = items[0].shape
            seconds_a_step, seconds_a_row = machine.costs[self.device]
            machine.on_step(self.device, batch_size)
            machine.now += n_steps * (seconds_a_step + seconds_a_row * batch_size)
            return state, np.zeros(n_steps)

        return loop
