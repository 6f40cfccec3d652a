"""mlpgpu, epoch by epoch, and the matmul floor."""

import dataclasses

import numpy as np
from floor import Floor

from mlpgpu import backends
from mlpgpu.maths import parameters
from mlpgpu.maths.normalization import begin
from mlpgpu.settings.config import Config
from mlpgpu.training.epoch import Training
from mlpgpu.training.feed import Rows, Scaled
from mlpgpu.training.plan import make_plan


class MatmulFloor:
    """The matrix products of an epoch, and nothing else."""

    def __init__(self, problem):
        self.floor = Floor(problem.sizes, problem.batch_size, len(problem.labels))

    def turn(self, number):
        self.floor.epoch()


class Epochs:
    """Training as by the command, without its work between epochs."""

    def __init__(self, problem, capture=True):
        n_features, *hidden, n_outputs = problem.sizes
        config = Config(
            hidden=tuple(hidden),
            dropout=0,
            input_dropout=0,
            batch_size=problem.batch_size,
            learning_rate=0.001,
            schedule="constant",
            device=problem.device,
            precision=problem.precision,
            normalization=problem.normalization,
            capture=capture,
        )
        rows = Rows(problem.rows, problem.labels)
        plan = make_plan(config, n_rows=len(rows), n_features=n_features, n_outputs=n_outputs, task="classification")
        params = begin(np, parameters.join(np, problem.weights), problem.sizes, plan.network.normalized)
        plan = dataclasses.replace(plan, params=params, order=problem.order)
        backend, _ = backends.select(config.device, config.backend, config.dtype, config.precision)
        self.setting = backend.description
        scaled = Scaled(backend, np.array(0.0), np.array(1 / 255), plan.dtype)
        self.training = Training(backend, plan, rows, scaled)

    def turn(self, number):
        losses, counts = self.training.epoch(number)
        return float(np.average(losses, weights=counts))
