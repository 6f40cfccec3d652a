"""Training steps by hand and against PyTorch, of one model and of many, and counts of correct rows."""

import numpy as np
import pytest

from mlpgpu.maths import parameters
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, loss_and_gradient
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.schedules import SCHEDULES, with_warmup
from mlpgpu.maths.scores import correct, squared_residuals
from mlpgpu.maths.step import Batch, Recipe, State, clip_by_norm, train_step

NETWORK = Network((4, 5, 3), (ACTIVATIONS["tanh"],), LOSSES["cross_entropy"])
N = parameters.count(NETWORK.sizes)


def begin(backend, params, recipe, rate=0.1):
    p = backend.asarray(params)
    return State(
        p,
        recipe.optimizer.init(backend.xp, p),
        backend.asarray(np.zeros((), np.int32)),
        backend.asarray(np.asarray(rate)),
    )


def batches(rng, steps=6, rows=7):
    return [(rng.normal(size=(rows, 4)), rng.integers(0, 3, size=rows), np.ones(rows)) for _ in range(steps)]


def run(backend, recipe, params, data, rate=0.1, network=NETWORK):
    state, losses = begin(backend, params, recipe, rate), []
    for arrays in data:
        batch = Batch(*(backend.asarray(array) for array in arrays))
        state, loss = train_step(backend.xp, network, recipe, state, batch)
        losses.append(backend.to_host(loss))
    return state, np.array(losses)


def test_sgd_by_hand_with_a_schedule(backend, rng):
    recipe = Recipe(OPTIMIZERS["sgd"], with_warmup(SCHEDULES["cosine"], 6), l2=0.1)
    start, data = rng.normal(size=N), batches(rng)
    p = start.copy()
    expected = []
    for t, arrays in enumerate(data):
        loss, gradient = loss_and_gradient(np, NETWORK, p, *arrays, l2=0.1)
        expected.append(loss)
        p = p - 0.1 * (0.5 + 0.5 * np.cos(np.pi * t / 6)) * gradient
    state, losses = run(backend, recipe, start, data)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(backend.to_host(state.params), p, rtol=1e-11, atol=1e-13)
    assert int(backend.to_host(state.step)) == 6


def test_adamw_is_torchs_with_biases_free(real_backend, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    recipe = Recipe(OPTIMIZERS["adamw"], with_warmup(SCHEDULES["constant"], 10), weight_decay=0.3)
    start, data = rng.normal(size=N), batches(rng, steps=10)
    leaves = [
        torch.tensor(part.copy(), requires_grad=True)
        for pair in parameters.split(np, start, NETWORK.sizes)
        for part in pair
    ]
    weights, biases = leaves[::2], leaves[1::2]
    theirs = torch.optim.AdamW([{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}], 0.1)
    for x, labels, _ in data:
        theirs.zero_grad()
        z = torch.tanh(torch.tensor(x) @ weights[0] + biases[0]) @ weights[1] + biases[1]
        torch.nn.functional.cross_entropy(z, torch.tensor(labels)).backward()
        theirs.step()
    state, _ = run(real_backend, recipe, start, data)
    expected = np.concatenate([leaf.detach().numpy().ravel() for leaf in (*weights, *biases)])
    np.testing.assert_allclose(real_backend.to_host(state.params), expected, rtol=1e-10, atol=1e-12)


def test_clipping_is_torchs(backend, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for scale in (0.01, 1.0, 100.0):
        gradient = scale * rng.normal(size=20)
        leaf = torch.zeros(20, dtype=torch.float64)
        leaf.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([leaf], 1.5)
        ours = backend.to_host(clip_by_norm(backend.xp, backend.asarray(gradient), 1.5))
        # PyTorch adds 1e-6 to the norm before it divides.
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=2e-6)
        assert np.linalg.norm(ours) <= 1.5 * (1 + 1e-15) or scale == 0.01


def test_clipping_is_of_each_model_alone(backend, rng):
    gradients = np.array([[0.1], [50.0]]) * rng.normal(size=(2, 9))
    ours = backend.to_host(clip_by_norm(backend.xp, backend.asarray(gradients), 2.0))
    np.testing.assert_array_equal(ours[0], gradients[0])
    assert np.linalg.norm(ours[1]) == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_layers_stay_and_the_norm_is_that_of_the_others(backend, rng, name):
    recipe = Recipe(OPTIMIZERS[name], with_warmup(SCHEDULES["constant"], 6), weight_decay=0.3, l2=0.1, clip_norm=0.01)
    start, data = rng.normal(size=N), batches(rng)
    frozen = Network(NETWORK.sizes, NETWORK.activations, NETWORK.loss, frozen=1)
    state, _ = run(backend, recipe, start, data, network=frozen)
    (w, b), (w2, b2) = parameters.split(np, start, NETWORK.sizes)
    ends = parameters.split(np, backend.to_host(state.params), NETWORK.sizes)
    np.testing.assert_array_equal(ends[0][0], w)
    np.testing.assert_array_equal(ends[0][1], b)
    # The rest is a network of the last layer alone, on the outputs of the first.
    alone = Network((5, 3), (), NETWORK.loss)
    above = [(np.tanh(x @ w + b), *others) for x, *others in data]
    expected, _ = run(backend, recipe, parameters.join(np, [(w2, b2)]), above, network=alone)
    np.testing.assert_allclose(parameters.join(np, ends[1:]), backend.to_host(expected.params), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_models_with_a_rate_each(backend, rng, name):
    recipe = Recipe(
        OPTIMIZERS[name], with_warmup(SCHEDULES["one_cycle"], 6, 2), weight_decay=0.1, l2=0.01, clip_norm=1.0
    )
    starts, rates, data = rng.normal(size=(3, N)), np.array([0.001, 0.01, 0.1]), batches(rng)
    together, losses = run(backend, recipe, starts, data, rates)
    assert losses.shape == (6, 3)
    for model in range(3):
        alone, loss = run(backend, recipe, starts[model], data, rates[model])
        np.testing.assert_allclose(losses[:, model], loss, rtol=1e-10)
        np.testing.assert_allclose(
            backend.to_host(together.params)[model], backend.to_host(alone.params), rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_state_stays_float32(backend, rng, name):
    recipe = Recipe(
        OPTIMIZERS[name], with_warmup(SCHEDULES["one_cycle"], 6, 2), weight_decay=0.1, l2=0.01, clip_norm=1.0
    )
    data = [tuple(a.astype("float32") if a.dtype.kind == "f" else a for a in arrays) for arrays in batches(rng, 2)]
    state, losses = run(backend, recipe, rng.normal(size=N).astype("float32"), data, np.float32(0.01))
    assert losses.dtype == np.float32
    for array in (state.params, *state.slots, state.learning_rate):
        assert backend.to_host(array).dtype == np.float32
    assert backend.to_host(state.step).dtype == np.int32


def test_a_changed_learning_rate_reaches_a_compiled_loop(backend, rng):
    recipe = Recipe(OPTIMIZERS["sgd"], with_warmup(SCHEDULES["constant"], 10))
    x, labels, weights = batches(rng, 1)[0]
    items = tuple(backend.asarray(array[None]) for array in (x, labels, weights))

    def step(state, data, item):
        return train_step(backend.xp, NETWORK, recipe, state, Batch(*item))

    loop = backend.compile_loop(step, 1000)
    start = rng.normal(size=N)
    moved = []
    for rate in (0.1, 0.2):
        state, _ = loop(begin(backend, start, recipe, rate), (), items)
        moved.append(backend.to_host(state.params) - start)
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-9, atol=1e-14)


def test_correct_counts_as_scikit_learn_does(backend, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, labels = rng.normal(size=(50, 3)), rng.integers(0, 3, size=50)
    ours = backend.to_host(correct(backend.xp, backend.asarray(z), backend.asarray(labels)))
    assert ours.mean() == metrics.accuracy_score(labels, z.argmax(1))
    binary = backend.to_host(correct(backend.xp, backend.asarray(z[:, :1]), backend.asarray(labels % 2)))
    assert binary.mean() == metrics.accuracy_score(labels % 2, z[:, 0] > 0)


@pytest.mark.parametrize("kind", ["int64", "float64"])
def test_several_outputs_are_right_together_as_scikit_learn_has_it(backend, rng, kind):
    metrics = pytest.importorskip("sklearn.metrics")
    z = rng.normal(size=(60, 3))
    labels = (z + rng.normal(size=z.shape) > 0).astype(kind)
    ours = backend.to_host(correct(backend.xp, backend.asarray(z), backend.asarray(labels)))
    assert ours.shape == (60,)
    assert ours.dtype == z.dtype
    np.testing.assert_array_equal(ours, (labels == (z > 0)).all(axis=1))
    assert ours.mean() == metrics.accuracy_score(labels.astype(int), (z > 0).astype(int))
    assert 0 < ours.sum() < 60
    # A single output for two classes, with the labels as a column.
    column = backend.to_host(correct(backend.xp, backend.asarray(z[:, :1]), backend.asarray(labels[:, :1])))
    np.testing.assert_array_equal(column, labels[:, 0] == (z[:, 0] > 0))


def test_several_outputs_of_many_models(backend, rng):
    z, labels = rng.normal(size=(2, 20, 3)), rng.integers(0, 2, size=(2, 20, 3)).astype(float)
    ours = backend.to_host(correct(backend.xp, backend.asarray(z), backend.asarray(labels)))
    np.testing.assert_array_equal(ours, ((z > 0) == labels).all(axis=-1))


def test_a_batch_without_weight_moves_nothing(backend, rng):
    """Plain gradient descent with a penalty does not change the parameters; it only counts the step."""
    recipe = Recipe(OPTIMIZERS["sgd"], with_warmup(SCHEDULES["constant"], 10), l2=0.5, clip_norm=1.0)
    start = rng.normal(size=N)
    data = [(x, labels, np.zeros_like(weights)) for x, labels, weights in batches(rng, 2)]
    state, losses = run(backend, recipe, start, data)
    np.testing.assert_array_equal(losses, [0.0, 0.0])
    np.testing.assert_array_equal(backend.to_host(state.params), start)
    assert int(backend.to_host(state.step)) == 2


def test_squared_residuals(backend, rng):
    prediction, target = rng.normal(size=(2, 6, 2))
    ours = squared_residuals(backend.xp, backend.asarray(prediction), backend.asarray(target))
    np.testing.assert_allclose(backend.to_host(ours).mean(), np.linalg.norm(prediction - target) ** 2 / 12, rtol=1e-13)
