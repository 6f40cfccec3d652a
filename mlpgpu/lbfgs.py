"""L-BFGS: SciPy's solver on the flat parameter vector, with loss and gradient computed on the device."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, finalised
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import Feed, Placement, Rows, chunks, open_feed
from mlpgpu.interrupt import interruptible
from mlpgpu.maths.network import loss_and_gradient
from mlpgpu.plan import Plan
from mlpgpu.trainer import Record, Run

if TYPE_CHECKING:
    from mlpgpu.model import Model

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
        See `mlpgpu.trainer.fit`.

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
            params = on_device(intermediate_result.x)
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

        found = minimize(
            evaluated,
            np.asarray(backend.to_host(backend.asarray(plan.params)), np.float64),
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration,
            options={"maxfun": max_fun, "maxiter": plan.epochs, "gtol": tol},
        )
    run.write_checkpoints()
    run.signal = interrupted()
    run.epoch = min(found.nit, plan.epochs)
    if found.status != 0 and not run.stopped:
        run.unconverged = (
            f"lbfgs failed to converge after {run.epoch} iteration(s) (status={found.status}): {found.message}. "
            f"Increase max_iter (now {plan.epochs}) or max_fun (now {max_fun}), or scale the data, such as with "
            "StandardScaler."
        )
    return on_device(found.x), run, float(found.fun)


def _objective(backend: Backend, plan: Plan, feed: Feed) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the function for SciPy that sums loss and gradient over chunks of the rows."""
    rows, weights = feed.rows, feed.rows.weight_of_each()
    shares = {
        part: share for part in chunks(*rows.x.shape) if (share := weights[slice(*part)].sum() / weights.sum()) > 0
    }
    # Each chunk adds the same penalty to the total, since its share cancels the division by its weights.
    l2 = plan.recipe.l2 / len(shares)
    evaluate = backend.compile(partial(loss_and_gradient, backend.xp, plan.network, l2=l2))

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        params = backend.asarray(x, plan.dtype)
        loss, gradient = 0.0, np.zeros_like(x)
        parts: Iterator[Any] = ((share, evaluate(params, *feed.chunk(*part))) for part, share in shares.items())
        # Each chunk is fetched after the next one is launched, so that the device stays busy meanwhile.
        for (share, of_part), _ in itertools.pairwise(itertools.chain(parts, [None])):
            of_loss, of_gradient = (backend.to_host(array).astype(np.float64) for array in of_part)
            loss, gradient = loss + share * float(of_loss), gradient + share * of_gradient
        return loss, gradient

    return objective
