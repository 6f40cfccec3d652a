"""PyTorch: rows as one tensor without a DataLoader; eager with fused Adam, and with the whole step compiled."""

import math
import time

import torch
from torch.func import grad_and_value
from torch.nn import functional


class Steps:
    """Eager steps from the initial weights of the problem."""

    def __init__(self, x, labels, problem):
        self.x, self.labels = x, labels
        *hidden, last = problem.weights
        layers = [layer for w, b in hidden for layer in _hidden(w, b, problem.normalization)]
        self.network = torch.nn.Sequential(*layers, _linear(*last))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.001, fused=True)

    def __call__(self, picked):
        self.optimizer.zero_grad(set_to_none=True)
        z = self.network(self.x.index_select(0, picked))
        loss = functional.cross_entropy(z, self.labels.index_select(0, picked))
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class CompiledSteps:
    """Compiled steps from the initial weights of the problem."""

    def __init__(self, x, labels, problem):
        self.x, self.labels = x, labels
        params = [torch.from_numpy(part.T.copy()) for pair in problem.weights for part in pair]
        means, squares = ([torch.zeros_like(param) for param in params] for _ in range(2))
        self.state = params, means, squares, torch.zeros(())
        torch.compiler.reset()
        # The last batch of an epoch may be short; each of the two shapes is compiled separately.
        self.step = torch.compile(step, mode="max-autotune", dynamic=False)

    @torch.no_grad()
    def __call__(self, picked):
        return self.step(*self.state, self.x, self.labels, picked)


class Eager:
    """The usual step: gather, forward, backward, fused Adam."""

    kind = Steps

    def __init__(self, problem):
        # Moments of weights with rarely nonzero inputs decay to denormal numbers, which are slow.
        torch.set_flush_denormal(True)
        self.problem, x, labels = problem, torch.from_numpy(problem.x), torch.from_numpy(problem.labels)
        best_threads(lambda: Steps(x, labels, problem), self.batches(0))
        self.setting = f"{torch.get_num_threads()} threads"
        self.steps = self.kind(x, labels, problem)

    def batches(self, number):
        return torch.from_numpy(self.problem.order(number)).split(self.problem.batch_size)

    def turn(self, number):
        batches = self.batches(number)
        losses = torch.stack([self.steps(picked) for picked in batches])
        counts = torch.tensor([len(picked) for picked in batches], dtype=losses.dtype)
        return ((losses @ counts) / counts.sum()).item()


class Compiled(Eager):
    """One compiled graph of forward, backward and a handwritten Adam."""

    kind = CompiledSteps


def step(params, means, squares, t, x, labels, picked, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Perform a training step with Adam, in place."""
    grads, loss = grad_and_value(mean_loss)(params, x.index_select(0, picked), labels.index_select(0, picked))
    t.add_(1)
    root = torch.sqrt(-torch.expm1(t * math.log(beta_2)))
    rate, epsilon = rate * root / -torch.expm1(t * math.log(beta_1)), epsilon * root
    for param, grad, mean, square in zip(params, grads, means, squares, strict=True):
        mean.lerp_(grad, 1 - beta_1)
        square.mul_(beta_2).addcmul_(grad, grad, value=1 - beta_2)
        param.sub_(rate * mean / (square.sqrt() + epsilon))
    return loss


def mean_loss(params, x, labels):
    *hidden, last = zip(params[::2], params[1::2], strict=True)
    for pair in hidden:
        x = functional.relu(functional.linear(x, *pair))
    return functional.cross_entropy(functional.linear(x, *last), labels)


def best_threads(make, batches, tries=5):
    """Set PyTorch's number of threads to the fastest for these steps, which may be fewer than all for small steps."""
    most, some, steps = torch.get_num_threads(), batches[: max(2, 4096 // len(batches[0]))], make()
    seconds = {threads: [] for threads in sorted({2**power for power in range(most.bit_length())} | {most})}
    # In turn, so that other load on the machine affects all alike; the first try is a warm-up.
    for _ in range(tries + 1):
        for threads, times in seconds.items():
            torch.set_num_threads(threads)
            began = time.perf_counter()
            for picked in some:
                steps(picked)
            times.append(time.perf_counter() - began)
    torch.set_num_threads(min(seconds, key=lambda threads: min(seconds[threads][1:])))


def _hidden(w, b, normalization):
    if normalization == "none":
        return _linear(w, b), torch.nn.ReLU()
    # The bias of BatchNorm1d, which also starts at 0, replaces that of the layer.
    return _linear(w), torch.nn.BatchNorm1d(len(b)), torch.nn.ReLU()


def _linear(w, b=None):
    layer = torch.nn.Linear(*w.shape, bias=b is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w.T))
        if b is not None:
            layer.bias.copy_(torch.from_numpy(b))
    return layer
