"""Keras: compiled ``fit``, on JAX if that is installed, else on PyTorch."""

import importlib.util
import os

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "torch")

import keras


class Fit:
    """One call of ``fit`` per epoch, on rows that NumPy has put in order."""

    def __init__(self, problem):
        keras.backend.clear_session()
        self.setting = f"on {keras.backend.backend()}"
        self.problem = problem
        n_features, *hidden, n_outputs = problem.sizes
        layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
        dense = [*layers, keras.layers.Dense(n_outputs)]
        images = keras.Input((n_features,), dtype="uint8")
        self.model = keras.Sequential([images, keras.layers.Rescaling(1 / 255), *dense])
        for layer, pair in zip(dense, problem.weights, strict=True):
            layer.set_weights(pair)
        self.model.compile(
            optimizer=keras.optimizers.Adam(0.001, epsilon=1e-8),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
            steps_per_execution=32 if keras.backend.backend() == "jax" else 1,
        )
        self.ordered = np.empty_like(problem.rows)

    def turn(self, number):
        problem, order = self.problem, self.problem.order(number)
        # In the default mode, "raise", NumPy would buffer the output.
        x, labels = np.take(problem.rows, order, axis=0, out=self.ordered, mode="clip"), problem.labels[order]
        history = self.model.fit(x, labels, batch_size=problem.batch_size, shuffle=False, verbose=0)
        return history.history["loss"][0]
