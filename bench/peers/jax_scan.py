"""JAX: an epoch as one compiled scan, with donated state and the rows on the device."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


def mean_loss(params, x, labels):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    z = x @ w + b
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0])


def adam(params, grads, means, squares, t, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Update by Adam, with the bias corrections folded into two scalars to save work per weight."""
    means = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, means, grads)
    squares = jax.tree.map(lambda s, g: beta_2 * s + (1 - beta_2) * g * g, squares, grads)
    root = jnp.sqrt(-jnp.expm1(t * math.log(beta_2)))
    rate, epsilon = rate * root / -jnp.expm1(t * math.log(beta_1)), epsilon * root
    params = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + epsilon), params, means, squares)
    return params, means, squares


def epoch(state, rows, labels, order, *, batch_size, unroll=1):
    """Train one epoch; a short last batch is a separate step, not padded."""

    def step(state, picked):
        params, means, squares, t = state
        x = rows[picked].astype(jnp.float32) * np.float32(1 / 255)
        loss, grads = jax.value_and_grad(mean_loss)(params, x, labels[picked])
        t = t + 1
        return (*adam(params, grads, means, squares, t), t), loss * len(picked)

    n_full = len(order) // batch_size
    full, rest = jnp.split(order, [n_full * batch_size])
    state, losses = jax.lax.scan(step, state, full.reshape(n_full, batch_size), unroll=unroll)
    total = jnp.sum(losses)
    if len(rest):
        state, loss = step(state, rest)
        total += loss
    return state, total / len(order)


def start(problem):
    """Return parameters, moments and step count before the first step."""
    params = jax.tree.map(jnp.asarray, problem.weights)
    means, squares = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return params, means, squares, jnp.zeros((), jnp.float32)


class Scan:
    """One call per epoch."""

    def __init__(self, problem):
        self.problem = problem
        self.rows, self.labels = jax.device_put(problem.rows), jax.device_put(problem.labels.astype(np.int32))
        self.state = start(problem)
        self.epoch = jax.jit(functools.partial(epoch, batch_size=problem.batch_size), donate_argnums=0)

    def turn(self, number):
        order = self.problem.order(number).astype(np.int32)
        self.state, loss = self.epoch(self.state, self.rows, self.labels, order)
        jax.block_until_ready(self.state)
        return float(loss)
