"""L-BFGS: SciPy's solver on the flat vector, with loss and gradient from the device."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpgpu.backends import Backend
from mlpgpu.callbacks import Callback, finalised
from mlpgpu.evaluation import Evaluation
from mlpgpu.feed import Placement, Rows, chunks, open_feed
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
    """Train a network on all rows at once (Byrd et al., 1995; Zhu et al., 1997).

    Parameters
    ----------
    backend : Backend
    plan : Plan
        Its epochs are the most iterations, its L2 penalty that of the recipe.
    train : Rows
    watched : mapping of str to Rows
    placement : Placement
    callbacks : sequence of Callback
        An iteration is an epoch to them.
    tol : float
        Largest component of the gradient at which it ends.
    max_fun : int
        Most evaluations of loss and gradient.
    verbose : bool
        Whether each iteration prints its loss.
    score, as_model : callable or None
        See `mlpgpu.trainer.fit`.

    Returns
    -------
    params : array of shape (n_parameters,)
        On the device.
    run : Run
    loss : float
        At the end, with the penalty.
    """
    from scipy.optimize import OptimizeResult, minimize

    feed = open_feed(backend, train, placement)
    evaluation = Evaluation(backend, plan.network, placement, plan.score_name)
    feeds = {name: open_feed(backend, rows, placement) for name, rows in watched.items()}

    def on_device(x: np.ndarray) -> Array:
        return backend.asarray(x, plan.dtype)

    latest = {"params": on_device(plan.params)}
    run = Run(plan, len(train), fetch=lambda: backend.to_host(latest["params"]), as_model=as_model)
    objective = _objective(backend, plan, feed)
    began = time.perf_counter()

    with interruptible() as interrupted, finalised(callbacks, run):

        def begin_iteration() -> None:
            if run.epoch == len(run.history):
                run.epoch += 1
                for callback in callbacks:
                    callback.on_epoch_begin(run)

        def evaluated(x: np.ndarray) -> tuple[float, np.ndarray]:
            # Whether another iteration comes is known where it asks for its first value.
            begin_iteration()
            return objective(x)

        def after_iteration(intermediate_result: OptimizeResult) -> None:
            nonlocal began
            # One whose step is rounded to nothing asks for none.
            begin_iteration()
            params = latest["params"] = on_device(intermediate_result.x)
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
    run.signal = interrupted()
    run.epoch = min(found.nit, plan.epochs)
    if found.status != 0 and not run.stopped:
        run.unconverged = (
            f"lbfgs failed to converge after {run.epoch} iteration(s) (status={found.status}): {found.message}. "
            f"Increase max_iter (now {plan.epochs}) or max_fun (now {max_fun}), or scale the data, such as with "
            "StandardScaler."
        )
    return on_device(found.x), run, float(found.fun)


def _objective(backend: Backend, plan: Plan, feed: Any) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Loss and gradient of all rows, of chunks of them added up, as SciPy wants them."""
    rows: Rows = feed.rows
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    shares = {
        part: share for part in chunks(*rows.x.shape) if (share := weights[slice(*part)].sum() / weights.sum()) > 0
    }
    # The penalty is divided by the weights of a chunk, as the loss is.
    l2 = plan.recipe.l2 / len(shares)
    evaluate = backend.compile(
        lambda params, x, targets, weights: loss_and_gradient(
            backend.xp, plan.network, params, x, targets, weights, l2=l2
        )
    )

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        params = backend.asarray(x, plan.dtype)
        loss, gradient = 0.0, np.zeros_like(x)
        parts: Iterator[Any] = ((share, evaluate(params, *feed.chunk(*part))) for part, share in shares.items())
        # A chunk is fetched when the next has been begun, so that the device is at work meanwhile.
        for (share, of_part), _ in itertools.pairwise(itertools.chain(parts, [None])):
            of_loss, of_gradient = (backend.to_host(array).astype(np.float64) for array in of_part)
            loss, gradient = loss + share * float(of_loss), gradient + share * of_gradient
        return loss, gradient

    return objective
