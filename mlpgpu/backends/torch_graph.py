"""PyTorch's steps as CUDA graphs: captured once and replayed on the same memory, many steps per launch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from mlpgpu.backends import live_bytes
from mlpgpu.backends.captures import shapes, suits, tell_refused, without_collection
from mlpgpu.backends.live_bytes import Bytes
from mlpgpu.fusion.trace import leaves, rebuild

# Number of steps in the longer graph. The remaining steps of a call replay a graph of one step.
STEPS = 16
# PyTorch allows one capture at a time in a process: each begins by waiting for the device, which ends any other.
CAPTURING = threading.Lock()


class CudaGraphs:
    """Captures CUDA graphs on a device.

    Parameters
    ----------
    torch : module
    device : str
        ``cuda:N``.
    """

    def __init__(self, torch: Any, device: str) -> None:
        self.torch, self.device = torch, device
        # Graphs can share a memory pool: they run one after the other, and none reads what another left there.
        self._pool = torch.cuda.graph_pool_handle()
        # PyTorch's default capture stream is on the device of the process's first capture, and would record nothing of
        # the work on another device.
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """Load kernels and choose algorithms by a call on the side stream: a capture must do neither."""
        cuda = self.torch.cuda
        with cuda.device(self.device):
            self._stream.wait_stream(cuda.current_stream())
            with cuda.stream(self._stream):
                function()
            cuda.current_stream().wait_stream(self._stream)

    def capture(self, function: Callable[[], None]) -> Callable[[], Any]:
        """Record the device work of `function` without running it, and return a function that replays it."""
        cuda = self.torch.cuda
        # A failed capture leaves its own stream as the current one; the outer context restores the previous one.
        with CAPTURING, cuda.device(self.device), cuda.stream(cuda.current_stream()):
            graph = cuda.CUDAGraph()
            # Lets other threads use CUDA meanwhile, such as one that reads rows into pinned memory.
            capture = cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
            try:
                with capture, without_collection():
                    function()
            except RuntimeError as error:
                # Ending a failed capture raises a second error; the first is its context.
                raise error.__context__ or error from None
        replay: Callable[[], Any] = graph.replay
        return replay


class Captured:
    """A step captured for given shapes: its static buffers and its graphs.

    Parameters
    ----------
    torch : module
    graphs : CudaGraphs
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    state, data, items : tuple of tensor
        Arguments of the loop's first call. State and items are copied, the data are read in place.
    """

    def __init__(
        self, torch: Any, graphs: CudaGraphs, step: Callable[..., Any], state: Any, data: Any, items: Any
    ) -> None:
        self.torch, self.step, self.data = torch, step, data
        self.state = rebuild(state, (leaf.clone() for leaf in leaves(state)))
        self.items = rebuild(items, (leaf.clone() for leaf in leaves(items)))
        n_steps, device = len(next(leaves(items))), next(leaves(state)).device
        # Indices of the next items. They are on the device, since a host number would be the same in each replay.
        self._first = torch.arange(STEPS, device=device)
        self._next = self._first.clone()
        new, loss = step(self.state, data, rebuild(items, (leaf[0] for leaf in leaves(self.items))))
        if shapes(new) != shapes(self.state):
            raise TypeError(f"a state of {shapes(self.state)} becomes one of {shapes(new)}")
        self.losses = loss.new_empty((n_steps, *loss.shape))
        del new, loss
        counts = (1, STEPS) if n_steps >= STEPS else (1,)
        # Each graph has kernels of its own to load. All are loaded before the first capture: the graphs keep the memory
        # of their steps, and loading takes as much once more.
        for n in counts:
            graphs.warm_up(partial(self._steps, n))
            self._next.copy_(self._first)
        self._graphs = {n: graphs.capture(partial(self._steps, n)) for n in counts}

    def __call__(self, state: Any, items: Any) -> tuple[Any, Any]:
        """Run the loop: see `Backend.compile_loop`. The next call overwrites the returned state."""
        self._copy_in(state)
        n_steps = len(next(leaves(items)))
        for own, rows in zip(leaves(self.items), leaves(items), strict=True):
            own[:n_steps].copy_(rows)
        self._next.copy_(self._first)
        many, rest = divmod(n_steps, STEPS)
        for n in [STEPS] * many + [1] * rest:
            self._graphs[n]()
        return self.state, self.losses[:n_steps].clone()

    def _steps(self, n_steps: int) -> None:
        """Run the next steps, one after the other: the content of a graph."""
        indices = self._next[:n_steps]
        rows = [own.index_select(0, indices) for own in leaves(self.items)]
        state, losses = self.state, []
        for i in range(n_steps):
            state, loss = self.step(state, self.data, rebuild(self.items, (part[i] for part in rows)))
            losses.append(loss)
        self._copy_in(state)
        self.losses.index_copy_(0, indices, self.torch.stack(losses))
        self._next.add_(n_steps)

    def _copy_in(self, state: Any) -> None:
        """Copy `state` into the buffers of the loop."""
        own = list(leaves(self.state))
        pairs = [(mine, leaf) for mine, leaf in zip(own, leaves(state), strict=True) if mine is not leaf]
        # A tensor that aliases another buffer of the state is cloned, or it might be overwritten before it is read.
        storages = {mine.untyped_storage().data_ptr() for mine in own}
        aliases = [leaf.untyped_storage().data_ptr() in storages for _, leaf in pairs]
        news = [leaf.clone() if is_alias else leaf for (_, leaf), is_alias in zip(pairs, aliases, strict=True)]
        for (mine, _), new in zip(pairs, news, strict=True):
            mine.copy_(new)


def needs(step: Callable[..., Any], state: Any, data: Any, items: Any) -> Bytes:
    """Estimate the memory of a loop by graphs, which keep their workspace: see `Backend.loop_bytes`."""
    steps = live_bytes.of_loop(step, state, data, items)
    # The loop has a copy of the items, of which a graph gathers those of its steps.
    own_state, own_items = live_bytes.total(leaves(state)), live_bytes.total(leaves(items))
    gathered = live_bytes.total(leaf[:STEPS] for leaf in leaves(items))
    return Bytes(steps.kept + steps.call + own_items + gathered, 0, own_state)


class Loop:
    """A loop by CUDA graphs, or an eager one if the step cannot be captured.

    Parameters
    ----------
    torch : module
    graphs : CudaGraphs
    step : callable
        ``step(state, data, item) -> (state, loss)``.
    eager : callable
        Eager loop of `step`.
    """

    def __init__(self, torch: Any, graphs: CudaGraphs, step: Callable[..., Any], eager: Callable[..., Any]) -> None:
        self.torch, self.graphs, self.step, self.eager = torch, graphs, step, eager
        self._captured: Captured | None = None
        self._refused = False

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Any]:
        """Run the loop: see `Backend.compile_loop`."""
        if not self._refused and (self._captured is None or not suits(self._captured, state, data, items)):
            self._capture(state, data, items)
        return self._captured(state, items) if self._captured else self.eager(state, data, items)

    def _capture(self, state: Any, data: Any, items: Any) -> None:
        try:
            # The previous graphs may still be running. They are freed after this capture, which waits for the device.
            self._captured = Captured(self.torch, self.graphs, self.step, state, data, items)
        except Exception as error:
            # A user's function may do what cannot be captured, and any error of its own shows in the eager loop.
            self._captured, self._refused = None, True
            tell_refused("the step", self.graphs.device, error)
