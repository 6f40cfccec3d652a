"""PyTorch's steps as CUDA graphs: captured once, replayed on the same memory, many steps a launch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from mlpgpu.backends import live_bytes
from mlpgpu.backends.collection import without_collection
from mlpgpu.backends.live_bytes import Bytes
from mlpgpu.errors import one_line
from mlpgpu.fusion.trace import leaves, rebuild

log = logging.getLogger(__name__)

# Steps of the longer graph; each that is left over has the graph of one.
STEPS = 16


class Graphs(Protocol):
    """What a loop needs of CUDA.

    Attributes
    ----------
    device : str
    """

    device: str

    def warm_up(self, function: Callable[[], None]) -> None:
        """Call `function` so often that libraries are open and algorithms chosen."""

    def capture(self, function: Callable[[], None]) -> Callable[[], Any]:
        """What does again all that `function` asks of the device, which is not done now."""


class CudaGraphs:
    """`Graphs` of a device.

    Parameters
    ----------
    torch : module
    device : str
        ``cuda:N``.
    """

    def __init__(self, torch: Any, device: str) -> None:
        self.torch, self.device = torch, device
        # Graphs share it, for they run one after the other and none reads what another has left there.
        self._pool = torch.cuda.graph_pool_handle()
        # The one that PyTorch would take lies on the device of the process's first capture: of another device's work
        # its graphs hold nothing.
        self._side = torch.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """See `Graphs.warm_up`: three times beside the stream in use, as PyTorch's manual has it."""
        cuda = self.torch.cuda
        with cuda.device(self.device):
            self._side.wait_stream(cuda.current_stream())
            with cuda.stream(self._side):
                for _ in range(3):
                    function()
            cuda.current_stream().wait_stream(self._side)

    def capture(self, function: Callable[[], None]) -> Callable[[], Any]:
        """See `Graphs.capture`."""
        cuda = self.torch.cuda
        # A capture that fails leaves its own stream as the current one; the outer context brings back that of before.
        with cuda.device(self.device), cuda.stream(cuda.current_stream()):
            graph = cuda.CUDAGraph()
            # Other threads, such as one that reads rows into pinned memory, may go on.
            capture = cuda.graph(graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local")
            try:
                with capture, without_collection():
                    function()
            except RuntimeError as error:
                # PyTorch raises another over the first where it ends a capture that has failed.
                raise error.__context__ or error from None
        replay: Callable[[], Any] = graph.replay
        return replay


class Captured:
    """A step on tensors of some shapes: the memory that it runs on, and graphs of it.

    Parameters
    ----------
    torch : module
    graphs : Graphs
    step : callable
        ``step(state, data, item) -> (state, loss)``, pure.
    state, data, items : tuple of tensor
        As the loop is first called with. The data are read where they are.
    """

    def __init__(self, torch: Any, graphs: Graphs, step: Callable[..., Any], state: Any, data: Any, items: Any) -> None:
        self.torch, self.step, self.data = torch, step, data
        self.state = rebuild(state, (leaf.clone() for leaf in leaves(state)))
        self.items = rebuild(items, (leaf.clone() for leaf in leaves(items)))
        n_steps, device = len(next(leaves(items))), next(leaves(state)).device
        # Which rows of the items are next: on the device, for a number of the host would be the same in each replay.
        self._first = torch.arange(STEPS, device=device)
        self._next = self._first.clone()
        new, loss = step(self.state, data, rebuild(items, (leaf[0] for leaf in leaves(self.items))))
        if _shapes(new) != _shapes(self.state):
            raise TypeError(f"a state of {_shapes(self.state)} becomes one of {_shapes(new)}")
        self.losses = loss.new_empty((n_steps, *loss.shape))
        graphs.warm_up(self._try)
        self._step = graphs.capture(lambda: self._steps(1))
        self._many_steps = graphs.capture(lambda: self._steps(STEPS)) if n_steps >= STEPS else None

    def suits(self, state: Any, data: Any, items: Any) -> bool:
        """Whether it was made for these data, a state and items of these shapes and types, and so many of them."""
        rows = [(leaf.shape[1:], leaf.dtype) for leaf in leaves(items)]
        return (
            all(mine is leaf for mine, leaf in zip(leaves(self.data), leaves(data), strict=True))
            and _shapes(state) == _shapes(self.state)
            and rows == [(leaf.shape[1:], leaf.dtype) for leaf in leaves(self.items)]
            and len(next(leaves(items))) <= len(self.losses)
        )

    def __call__(self, state: Any, items: Any) -> tuple[Any, Any]:
        """As `Backend.compile_loop` has it; the state that comes back is written over by the next call."""
        self._take(state)
        n_steps = len(next(leaves(items)))
        for own, rows in zip(leaves(self.items), leaves(items), strict=True):
            own[:n_steps].copy_(rows)
        self._next.copy_(self._first)
        many, rest = divmod(n_steps, STEPS)
        for replay in [self._many_steps] * many + [self._step] * rest:
            assert replay is not None
            replay()
        return self.state, self.losses[:n_steps].clone()

    def _try(self) -> None:
        self._steps(1)
        self._next.copy_(self._first)

    def _steps(self, n_steps: int) -> None:
        """What a graph holds: the next steps, one after the other."""
        places = self._next[:n_steps]
        rows = [own.index_select(0, places) for own in leaves(self.items)]
        state, losses = self.state, []
        for i in range(n_steps):
            state, loss = self.step(state, self.data, rebuild(self.items, (part[i] for part in rows)))
            losses.append(loss)
        self._take(state)
        self.losses.index_copy_(0, places, self.torch.stack(losses))
        self._next.add_(n_steps)

    def _take(self, state: Any) -> None:
        """Have `state` in the memory of the loop."""
        own = list(leaves(self.state))
        pairs = [(mine, leaf) for mine, leaf in zip(own, leaves(state), strict=True) if mine is not leaf]
        # What lies in that memory already, in another place, would be written over before it is read.
        places = {mine.untyped_storage().data_ptr() for mine in own}
        inside = [leaf.untyped_storage().data_ptr() in places for _, leaf in pairs]
        news = [leaf.clone() if is_own else leaf for (_, leaf), is_own in zip(pairs, inside, strict=True)]
        for (mine, _), new in zip(pairs, news, strict=True):
            mine.copy_(new)


def needs(step: Callable[..., Any], state: Any, data: Any, items: Any) -> Bytes:
    """Memory of a loop by graphs, which keep what their steps work in; see `Backend.loop_bytes`."""
    steps = live_bytes.of_loop(step, state, data, items)
    own_state, own_items = (live_bytes.total(leaves(tree)) for tree in (state, items))
    return Bytes(steps.kept + steps.call + own_items, 0, own_state)


class Loop:
    """A loop of a step by graphs, or line by line where it cannot be captured.

    Parameters
    ----------
    torch : module
    graphs : Graphs
    step : callable
        ``step(state, data, item) -> (state, loss)``.
    eager : callable
        The loop of `step` line by line.
    """

    def __init__(self, torch: Any, graphs: Graphs, step: Callable[..., Any], eager: Callable[..., Any]) -> None:
        self.torch, self.graphs, self.step, self.eager = torch, graphs, step, eager
        self._captured: Captured | None = None
        self._refused = False

    def __call__(self, state: Any, data: Any, items: Any) -> tuple[Any, Any]:
        """As `Backend.compile_loop` has it."""
        if not self._refused and (self._captured is None or not self._captured.suits(state, data, items)):
            self._capture(state, data, items)
        return self._captured(state, items) if self._captured else self.eager(state, data, items)

    def _capture(self, state: Any, data: Any, items: Any) -> None:
        try:
            # What was captured before may still run; it goes when the next one, which waits for the device, is there.
            self._captured = Captured(self.torch, self.graphs, self.step, state, data, items)
        except Exception as error:
            # A function of the user may do what no graph can hold, and what is wrong with it shows line by line.
            self._captured, self._refused = None, True
            where, why = self.graphs.device, one_line(error)
            log.warning("the step runs line by line on %s, for it cannot be captured: %s", where, why)


def _shapes(tree: Any) -> list[tuple[Any, Any]]:
    return [(tuple(leaf.shape), leaf.dtype) for leaf in leaves(tree)]
