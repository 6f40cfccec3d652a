"""L-BFGS: SciPy's solver on the flat parameter vector, with loss and gradient computed on the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.backends.base import eager_loop
from mlpgpu.blas_threads import OF_SCIPY
from mlpgpu.callbacks import Callback
from mlpgpu.callbacks.base import finalised
from mlpgpu.data.batches import batches
from mlpgpu.maths.network import loss_and_gradient
from mlpgpu.training.epoch import is_captured
from mlpgpu.training.evaluation import Evaluation
from mlpgpu.training.feed import Feed, Placement, Rows, Streamed, chunk_rows, open_feed
from mlpgpu.training.interrupt import interruptible
from mlpgpu.training.plan import Plan
from mlpgpu.training.run import Record, Run

if TYPE_CHECKING:
    from mlpgpu.models.model import Model

Array = Any


def fit(
    backend: Backend,
    plan: Plan,
    train: Rows,
    watched: Mapping[str, Rows],
    placement: Placement,
    callbacks: Sequence[Callback] = (),
    *,
    tol: float,
    max_fun: int,
    verbose: bool = False,
    score: Callable[[Array], float] | None = None,
    as_model: Callable[[np.ndarray], Model] | None = None,
) -> tuple[Array, Run, float]:
    """Train a network by L-BFGS-B on all rows at once (Byrd et al., 1995; Zhu et al., 1997).

    Parameters
    ----------
    backend : Backend
    plan : Plan
        Its number of epochs limits the iterations; its recipe has the L2 penalty.
    train : Rows
    watched : mapping of str to Rows
    placement : Placement
    callbacks : sequence of Callback
        Each iteration counts as an epoch.
    tol : float
        Training ends when no component of the gradient is larger in magnitude.
    max_fun : int
        Maximum number of evaluations of loss and gradient.
    verbose : bool
        Whether to print the loss of each iteration.
    score, as_model : callable or None
        See `mlpgpu.training.trainer.fit`.

    Returns
    -------
    params : array of shape (n_parameters,)
        Trained parameters, on the device.
    run : Run
    loss : float
        Final loss, including the penalty.
    """
    from scipy.optimize import OptimizeResult, minimize

    feed = open_feed(backend, train, placement)
    evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
    feeds = {name: open_feed(backend, rows, placement) for name, rows in watched.items()}

    def on_device(x: np.ndarray) -> Array:
        return backend.asarray(x, plan.dtype)

    params = on_device(plan.params)
    run = Run(plan, len(train), fetch=lambda: backend.to_host(params), as_model=as_model)
    objective = _objective(backend, plan, feed)
    began = time.perf_counter()

    with interruptible() as interrupted, finalised(callbacks, run):

        def begin_iteration() -> None:
            if run.epoch == len(run.history):
                run.epoch += 1
                for callback in callbacks:
                    callback.on_epoch_begin(run)

        def evaluated(x: np.ndarray) -> tuple[float, np.ndarray]:
            # SciPy does not announce an iteration: its first evaluation shows that it has begun.
            begin_iteration()
            return objective(x)

        def after_iteration(intermediate_result: OptimizeResult) -> None:
            nonlocal began, params
            # An iteration whose step rounds to zero has no evaluation.
            begin_iteration()
            # A copy: SciPy moves on in place.
            params = on_device(intermediate_result.x.copy())
            record: Record = {"epoch": run.epoch, "loss": float(intermediate_result.fun)}
            record |= evaluation.watch(params, feeds, score)
            began, seconds = time.perf_counter(), time.perf_counter() - began
            run.history.append(record | {"seconds": seconds, "samples_per_second": len(train) / seconds})
            if verbose:
                print(f"Iteration {run.epoch}, loss = {record['loss']:.8f}")  # noqa: T201
            for callback in callbacks:
                callback.on_epoch_end(run, run.history[-1])
            run.write_checkpoints()
            if number := interrupted():
                run.signal = number
                run.stop("interrupted")
            if run.stopped:
                raise StopIteration

        start = np.asarray(backend.to_host(backend.asarray(plan.params)), np.float64)
        if run.stopped:
            # SciPy would do an iteration even with a limit of none.
            found = OptimizeResult(x=start, fun=objective(start)[0], nit=0, status=0)
        else:
            # The solver calls SciPy's BLAS between the products of the network. Its idle threads would then wait busily
            # on the cores that the products need: on two cores, a fit takes two to four times as long.
            with OF_SCIPY.one_thread():
                found = minimize(
                    evaluated,
                    start,
                    method="L-BFGS-B",
                    jac=True,
                    callback=after_iteration,
                    options={"maxfun": max_fun, "maxiter": plan.epochs, "gtol": tol},
                )
    run.write_checkpoints()
    run.signal = interrupted()
    run.epoch = min(found.nit, plan.epochs)
    # With a high tolerance, SciPy takes an infinite loss for that of a minimum.
    finite = math.isfinite(found.fun)
    if not run.stopped and (found.status != 0 or not finite):
        todo = f"Increase max_iter (now {plan.epochs}) or max_fun (now {max_fun}), or scale the data"
        if not finite:
            todo = f"The loss is {found.fun}: give smaller weights of rows, or scale the data"
        run.unconverged = (
            f"lbfgs failed to converge after {run.epoch} iteration(s) (status={found.status}): {found.message}. "
            f"{todo}, such as with StandardScaler."
        )
    return on_device(found.x), run, float(found.fun)


def _objective(backend: Backend, plan: Plan, feed: Feed) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the function for SciPy: a loop over the rows in batches of one size, which adds up loss and gradient."""
    xp, weights = backend.xp, feed.rows.weight_of_each()
    counted = np.flatnonzero(weights)
    n_batches = -(-len(counted) // chunk_rows(feed.width))
    rows, present = batches(counted, -(-len(counted) // n_batches))
    # In float64, whatever the type of the weights: the device adds those of each batch in the type of the network.
    total = float(weights.sum(dtype=np.float64))
    pick, l2 = feed.items(rows, present), plan.recipe.l2 / n_batches
    # Streamed rows are copied to the device again for each evaluation, batch by batch.
    resident = None if isinstance(feed, Streamed) else [pick(0, n_batches)]

    def step(state: tuple[Array, Array], data: Any, item: Any) -> tuple[tuple[Array, Array], Array]:
        params, gradient = state
        batch = feed.batch(data, item)
        loss, of_batch = loss_and_gradient(xp, plan.network, params, *batch, l2=l2)
        # The share cancels the division by the weights of the batch, so that each batch adds the same penalty.
        share = xp.sum(batch.weights) / total
        return (params, gradient + share * of_batch), share * loss

    loop = backend.compile_loop(step, plan.epochs * n_batches) if is_captured(plan) else eager_loop(xp, step)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        params, losses = backend.asarray(x, plan.dtype), []
        state: tuple[Array, Array] = (params, xp.zeros_like(params))
        for items in resident or (pick(i, i + 1) for i in range(n_batches)):
            state, loss = loop(state, feed.data, items)
            losses.append(loss)
        loss, gradient = (backend.to_host(array).astype(np.float64) for array in (xp.concat(losses), state[1]))
        return float(loss.sum()), gradient

    return objective
