"""Simulated devices with known step times, so that tests know what is measured on them."""

import numpy as np

from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.errors import InputError


class Machine:
    """Simulated devices, each with its seconds per step and per row, and a clock that only they advance."""

    def __init__(self, **costs):
        self.costs = {name.replace("_", ":"): cost for name, cost in costs.items()}
        self.now, self.current = 0.0, None
        # Called with the device and the batch size before each call of a loop.
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
            # As with CuPy, which allocates arrays on the thread's current device.
            assert machine.current == self.device
            n_steps, batch_size = items[0].shape
            seconds_per_step, seconds_per_row = machine.costs[self.device]
            machine.on_step(self.device, batch_size)
            machine.now += n_steps * (seconds_per_step + seconds_per_row * batch_size)
            return state, np.zeros(n_steps)

        return loop
