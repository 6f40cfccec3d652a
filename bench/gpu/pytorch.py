"""PyTorch with CUDA graphs and fused Adam: a graph of one step, of an epoch, or of an epoch of compiled steps."""

import time
from functools import partial

import torch
from peers import pytorch

from gpu.graphs import captured, device_of
from gpu.lasting import Lasting


class Steps:
    """Steps as an expert writes them for a graph: gradients set to None, not zeroed, and Adam fused and capturable.

    Parameters
    ----------
    x, labels : tensor
        All rows, on the device; the step scales bytes.
    problem : Problem
    """

    def __init__(self, x, labels, problem):
        self.x, self.labels = x, labels
        self.start = [torch.from_numpy(part.T.copy()).to(x.device) for pair in problem.weights for part in pair]
        self.params = [part.clone().requires_grad_() for part in self.start]
        on_gpu = x.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.params, lr=0.001, fused=True, capturable=on_gpu)

    def __call__(self, picked):
        self.optimizer.zero_grad(set_to_none=True)
        x = self.x.index_select(0, picked)
        x = x.float() * (1 / 255) if x.dtype == torch.uint8 else x
        loss = pytorch.mean_loss(self.params, x, self.labels.index_select(0, picked))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def begin(self):
        """Reset parameters and optimizer in place."""
        for param, part in zip(self.params, self.start, strict=True):
            param.copy_(part)
        for slots in self.optimizer.state.values():
            for slot in slots.values():
                slot.zero_()


class CompiledSteps(pytorch.CompiledSteps):
    """Compiled steps that can be reset."""

    def __init__(self, x, labels, problem):
        super().__init__(x, labels, problem)
        params, means, squares, self.t = self.state
        self.state = *([part.to(x.device) for part in group] for group in (params, means, squares)), self.t.to(x.device)
        self.start = [part.clone() for part in self.state[0]]
        # Compiled without CUDA graphs of its own, because it becomes part of one.
        self.step = torch.compile(pytorch.step, dynamic=False)

    @torch.no_grad()
    def begin(self):
        """Reset parameters and optimizer in place."""
        params, means, squares, t = self.state
        for param, part in zip(params, self.start, strict=True):
            param.copy_(part)
        for slot in (*means, *squares, t):
            slot.zero_()


class StepGraph:
    """A graph of one step, whose rows a counter on the device selects, and another graph for a short last batch."""

    def __init__(self, steps, n_rows, batch_size, device):
        n_full = n_rows // batch_size
        self.order = torch.arange(n_rows, device=device)
        self.where = torch.zeros(1, dtype=torch.int64, device=device)
        counts = [batch_size] * n_full + [n_rows % batch_size] * (n_rows % batch_size > 0)
        self.losses = torch.zeros(len(counts), device=device)
        self.counts = torch.tensor(counts, dtype=torch.float32, device=device)
        table, rest = self.order[: n_full * batch_size].view(n_full, batch_size), self.order[n_full * batch_size :]

        def full():
            loss = steps(table.index_select(0, self.where).view(-1))
            self.losses.index_copy_(0, self.where, loss.view(1))
            # The counter must stay within the table during the warm-up.
            self.where.add_(1).remainder_(n_full)

        def short():
            self.losses[-1] = steps(rest)

        self.replays = [captured(full, device)] * n_full + [captured(short, device)] * (len(rest) > 0)

    def __call__(self, order):
        self.order.copy_(order)
        self.where.zero_()
        for replay in self.replays:
            replay()
        return ((self.losses @ self.counts) / self.counts.sum()).item()


class EpochGraph:
    """A graph of all steps of an epoch."""

    def __init__(self, steps, n_rows, batch_size, device):
        self.order = torch.arange(n_rows, device=device)
        self.loss = torch.zeros((), device=device)
        batches = self.order.split(batch_size)

        def epoch():
            losses = torch.stack([steps(picked) * len(picked) for picked in batches])
            self.loss.copy_(losses.sum() / n_rows)

        self.replay = captured(epoch, device)

    def __call__(self, order):
        self.order.copy_(order)
        self.replay()
        return self.loss.item()


class Graphs:
    """Epochs by graphs, with rows as floats or as bytes, whichever a trial finds faster."""

    def __init__(self, problem, steps=Steps, way=StepGraph, kinds=("float32", "uint8")):
        self.problem, self.device = problem, device_of(problem)
        self.steps, self.way = steps, way
        labels = torch.from_numpy(problem.labels).to(self.device)
        tried = {kind: self._prepare(kind, labels) for kind in kinds}
        seconds = {kind: self._seconds(epoch) for kind, (_, epoch) in tried.items()}
        best = min(seconds, key=seconds.get)
        self.setting = f"rows as {best}"
        steps, self.epoch = tried[best]
        steps.begin()

    def turn(self, number):
        if number:
            # Shuffled on the device; the first epoch has the same order for all contestants.
            return self.epoch(torch.randperm(len(self.problem.labels), device=self.device))
        return self.epoch(torch.from_numpy(self.problem.order(number)))

    def _prepare(self, kind, labels):
        rows = torch.from_numpy(self.problem.rows if kind == "uint8" else self.problem.x).to(self.device)
        steps = self.steps(rows, labels, self.problem)
        return steps, self.way(steps, len(labels), self.problem.batch_size, self.device)

    def _seconds(self, epoch):
        """Return the seconds of the fastest of several epochs."""
        order, taken = torch.arange(len(self.problem.labels), device=self.device), []
        for _ in range(4):
            began = time.perf_counter()
            epoch(order)
            taken.append(time.perf_counter() - began)
        return min(taken)


Step = partial(Lasting, Graphs)
Epoch = partial(Lasting, partial(Graphs, way=EpochGraph))
CompiledEpoch = partial(Lasting, partial(Graphs, steps=CompiledSteps, way=EpochGraph, kinds=("float32",)))
