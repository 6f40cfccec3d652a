"""Batch normalisation against central differences, PyTorch and the formulas of the paper."""

import functools

import numpy as np
import pytest

from mlpgpu.maths import parameters
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, hidden, loss_and_gradient, loss_gradient_and_moments, plain, predict
from mlpgpu.maths.normalization import DECAY, EPSILON, begin, running_moments
from mlpgpu.maths.optimizers import OPTIMIZERS
from mlpgpu.maths.step import Batch, Recipe, State, train_step

SIZES = (4, 6, 5, 3)
WHICH = {"both": (True, True), "the lower": (True, False), "the upper": (False, True)}
BOTH = WHICH["both"]


def constant(xp, done):
    return xp.ones_like(done)


def network_of(which, activation="tanh"):
    return Network(SIZES, (ACTIVATIONS[activation],) * 2, LOSSES["cross_entropy"], normalized=which)


def problem(rng, which, lead=(), rows=8):
    drawn = 0.7 * rng.normal(size=(*lead, parameters.count(SIZES)))
    params = begin(np, drawn, SIZES, which)
    rest = slice(parameters.count(SIZES), None)
    # Scales, means and variances as in a network that has been trained for a while.
    params[..., rest] += rng.uniform(0.1, 0.5, params[..., rest].shape)
    return {
        "params": params,
        "x": rng.normal(size=(*lead, rows, 4)),
        "targets": rng.integers(0, 3, size=(*lead, rows)),
        "weights": rng.uniform(0.1, 2, size=(*lead, rows)) * (np.arange(rows) != 3),
    }


def on(backend, given):
    return [backend.asarray(given[name]) for name in ("params", "x", "targets", "weights")]


def after(backend, network, given, compiled=False):
    """Return the parameters with the running averages after a batch, on the host."""
    xp = backend.xp

    def function(params, x, targets, weights):
        *_, moments = loss_gradient_and_moments(xp, network, params, x, targets, weights)
        return running_moments(xp, params, SIZES, network.normalized, moments, weights)

    last = backend.to_host((backend.compile(function) if compiled else function)(*on(backend, given)))
    return np.concatenate([given["params"][..., : -last.shape[-1]], last], axis=-1)


@pytest.mark.parametrize("which", WHICH.values(), ids=WHICH)
def test_the_gradient_is_that_of_differences(backend, rng, which):
    network, given = network_of(which), problem(rng, which)
    masks = [(rng.random((8, width)) > 0.3) / 0.7 for width in SIZES[:-1]]
    _, ours = loss_and_gradient(
        backend.xp, network, *on(backend, given), [backend.asarray(mask) for mask in masks], 0.3
    )

    def loss_at(params):
        return loss_and_gradient(np, network, params, given["x"], given["targets"], given["weights"], masks, 0.3)[0]

    step, columns = 1e-3, []
    for unit in np.eye(given["params"].size) * step:
        near = loss_at(given["params"] + unit) - loss_at(given["params"] - unit)
        far = loss_at(given["params"] + 2 * unit) - loss_at(given["params"] - 2 * unit)
        columns.append((8 * near - far) / (12 * step))
    ours = backend.to_host(ours)
    assert np.abs(ours - columns).max() < 1e-8 * np.abs(columns).max()
    n_units = parameters.count_normalized(SIZES, which)
    assert not ours[-2 * n_units - 2 :].any()
    assert ours[-3 * n_units - 2 : -2 * n_units - 2].all()


def test_training_and_prediction_are_torchs(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network, given = network_of(BOTH), problem(rng, BOTH)
    given |= {"weights": np.ones(8), "params": begin(np, given["params"][: parameters.count(SIZES)], SIZES, BOTH)}
    modules, norms, linears = [], [], []
    for w, b in parameters.split(np, given["params"], SIZES):
        linear = torch.nn.Linear(*w.shape, bias=len(norms) == 2, dtype=torch.float64)
        linear.weight.data = torch.tensor(w.T.copy())
        linears.append(linear)
        modules.append(linear)
        if len(norms) < 2:
            norms.append(torch.nn.BatchNorm1d(len(b), eps=EPSILON, momentum=1 - DECAY, dtype=torch.float64))
            norms[-1].bias.data = torch.tensor(b.copy())
            modules += [norms[-1], torch.nn.Tanh()]
        else:
            linear.bias.data = torch.tensor(b.copy())
    theirs = torch.nn.Sequential(*modules)

    arrays = [given[name] for name in ("params", "x", "targets", "weights")]
    loss, gradient = loss_and_gradient(np, network, *arrays)
    expected = torch.nn.functional.cross_entropy(theirs(torch.tensor(given["x"])), torch.tensor(given["targets"]))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    biases = [*(norm.bias.grad for norm in norms), linears[-1].bias.grad]
    by_torch = [*(linear.weight.grad.T for linear in linears), *biases, *(norm.weight.grad for norm in norms)]
    by_torch = np.concatenate([part.numpy().ravel() for part in by_torch])
    np.testing.assert_allclose(gradient[: by_torch.size], by_torch, rtol=1e-9, atol=1e-12)

    for _ in range(4):
        *_, moments = loss_gradient_and_moments(np, network, *arrays)
        last = running_moments(np, arrays[0], SIZES, BOTH, moments, arrays[3])
        arrays[0] = np.concatenate([arrays[0][: -last.size], last])
        arrays[1] = rng.normal(size=(8, 4)) + 1
        theirs(torch.tensor(arrays[1]))
    *_, moments = loss_gradient_and_moments(np, network, *arrays)
    last = running_moments(np, arrays[0], SIZES, BOTH, moments, arrays[3])
    arrays[0] = np.concatenate([arrays[0][: -last.size], last])
    # PyTorch's averages start at 0 and 1, which still have this weight.
    left = DECAY**5
    for unit, norm in zip(parameters.split_units(arrays[0], SIZES, BOTH), norms, strict=False):
        np.testing.assert_allclose((1 - left) * unit.mean, norm.running_mean, rtol=1e-12)
        # PyTorch's variances are unbiased.
        np.testing.assert_allclose((1 - left) * 8 / 7 * unit.variance + left, norm.running_var, rtol=1e-12)
        norm.running_mean, norm.running_var = torch.tensor(unit.mean.copy()), torch.tensor(unit.variance.copy())
    theirs.eval()
    expected = torch.softmax(theirs(torch.tensor(given["x"])), -1).detach()
    np.testing.assert_allclose(predict(np, network, arrays[0], given["x"]), expected, rtol=1e-10)


def test_folded_weights_predict_as_the_formula(backend, rng):
    network, given = network_of(BOTH), problem(rng, BOTH)
    x, units = given["x"], parameters.split_units(given["params"], SIZES, BOTH)
    *layers, (w, b) = parameters.split(np, given["params"], SIZES)
    for (w_below, b_below), unit in zip(layers, units, strict=False):
        n = (x @ w_below - unit.mean) / np.sqrt(unit.variance + EPSILON)
        x = np.tanh(unit.scale * n + b_below)
    z = np.exp(x @ w + b)
    xp, (params, rows, *_) = backend.xp, on(backend, given)
    ours = backend.to_host(predict(xp, network, params, rows))
    np.testing.assert_allclose(ours, z / z.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(backend.to_host(hidden(xp, network, params, rows, 1)), x, rtol=1e-11, atol=1e-14)
    folded = plain(xp, network, params)
    assert folded.shape == (parameters.count(SIZES),)
    assert plain(xp, network, folded) is folded


def test_units_are_normalised_over_the_rows_that_count(rng):
    """Over the weighted rows, each unit has its bias as mean and its scale as standard deviation."""
    network = Network((4, 6, 3), (ACTIVATIONS["identity"],), LOSSES["cross_entropy"], normalized=(True,))
    params = begin(np, rng.normal(size=parameters.count((4, 6, 3))), (4, 6, 3), (True,))
    params[-20:-14] = rng.uniform(1, 2, 6)
    x, weights = rng.normal(size=(8, 4)), rng.uniform(0.5, 2, 8)
    (w, b), (w_out, b_out) = parameters.split(np, params, (4, 6, 3))
    u = x @ w
    centred = u - np.average(u, axis=0, weights=weights)
    z = params[-20:-14] * centred / np.sqrt(np.average(centred**2, axis=0, weights=weights) + EPSILON) + b
    logits = z @ w_out + b_out
    targets = rng.integers(0, 3, 8)
    rows = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), targets]
    loss, _ = loss_and_gradient(np, network, params, x, targets, weights)
    assert loss == pytest.approx(np.average(rows, weights=weights), rel=1e-12)


def test_a_weight_is_a_repeated_row_and_padding_is_none(backend, rng):
    network, given = network_of(BOTH), problem(rng, BOTH)
    given["weights"] = np.array([1.0, 2, 0, 1, 3, 0, 0, 1])
    repeated = np.repeat(np.arange(8), given["weights"].astype(int))
    other = given | {name: given[name][repeated] for name in ("x", "targets")} | {"weights": np.ones(8)}
    ours, theirs = (loss_and_gradient(backend.xp, network, *on(backend, each)) for each in (given, other))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(backend.to_host(one), backend.to_host(two), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(after(backend, network, given), after(backend, network, other), rtol=1e-9, atol=1e-13)


def test_running_averages_by_hand(backend, rng):
    """After the first batch they are its own mean and variance; a batch of half the weight counts half as much."""
    network, given = network_of(BOTH), problem(rng, BOTH)
    given["params"] = begin(np, given["params"][: parameters.count(SIZES)], SIZES, BOTH)
    w = parameters.split(np, given["params"], SIZES)[0][0]
    weights = np.ones(8)
    params, mean, variance, total = given["params"], 0.0, 0.0, 0.0
    for share in (1, 0.5, 1):
        x = rng.normal(size=(8, 4))
        weights[int(8 * share) :] = 0
        params = after(backend, network, given | {"params": params, "x": x, "weights": weights})
        u, rate = (x @ w)[weights > 0], (1 - DECAY) * share
        mean = (1 - rate) * mean + rate * u.mean(axis=0)
        variance = (1 - rate) * variance + rate * u.var(axis=0)
        total = (1 - rate) * total + rate
        unit = parameters.split_units(params, SIZES, BOTH)[0]
        np.testing.assert_allclose(unit.mean, mean / total, rtol=1e-12)
        np.testing.assert_allclose(unit.variance, variance / total, rtol=1e-12)
        assert params[-2:] == pytest.approx([total, 8])
        weights[:] = 1


@pytest.mark.parametrize("seen", [(0.0, 0.0), (0.4, 2.0)])
def test_a_batch_without_rows_changes_nothing(backend, rng, seen):
    network, given = network_of(BOTH), problem(rng, BOTH)
    given["params"][-2:] = seen
    given["weights"] = np.zeros(8)
    np.testing.assert_array_equal(after(backend, network, given), given["params"])
    loss, gradient = loss_and_gradient(backend.xp, network, *on(backend, given))
    assert float(loss) == 0
    assert not backend.to_host(gradient).any()


def test_a_batch_of_one_row_has_no_variance_to_tell_of(rng):
    network, given = network_of(BOTH), problem(rng, BOTH, rows=1)
    given |= {"weights": np.ones(1), "params": begin(np, given["params"][: parameters.count(SIZES)], SIZES, BOTH)}
    loss, gradient = loss_and_gradient(np, network, *(given[k] for k in ("params", "x", "targets", "weights")))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_leading_axes_are_many_networks_at_once(backend, rng):
    network, given = network_of(BOTH), problem(rng, BOTH, lead=(3, 2))
    # No other test has such shapes, and JAX takes less time to compile all operations on them at once.
    loss, output = (backend.compile(functools.partial(f, backend.xp, network)) for f in (loss_and_gradient, predict))
    found = [backend.to_host(a) for a in loss(*on(backend, given))]
    outputs = backend.to_host(output(*on(backend, given)[:2]))
    new = after(backend, network, given, compiled=True)
    for place in np.ndindex(3, 2):
        alone = {name: array[place] for name, array in given.items()}
        expected = loss_and_gradient(np, network, *(alone[k] for k in ("params", "x", "targets", "weights")))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours[place], theirs, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(outputs[place], predict(np, network, alone["params"], alone["x"]), rtol=1e-12)
        np.testing.assert_allclose(new[place], after(backend, network, alone), rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_steps_the_averages(rng, name):
    """Nor do clipping, decay and penalty; all trained parameters move, scales included."""
    network, given = network_of(BOTH), problem(rng, BOTH)
    rule = OPTIMIZERS[name]
    recipe = Recipe(rule, constant, {}, weight_decay=0.1, l2=0.1, clip_norm=1e-3)
    params = given["params"]
    state = State(params, rule.init(np, params), np.asarray(0, np.int32), np.asarray(0.1))
    averages = next(block.start for block in parameters.layout(SIZES, BOTH) if block.name == "mean1")
    for _ in range(3):
        batch = Batch(rng.normal(size=(8, 4)), given["targets"], given["weights"])
        *_, moments = loss_gradient_and_moments(np, network, state.params, *batch)
        expected = running_moments(np, state.params, SIZES, BOTH, moments, batch.weights)
        before, (state, _) = state, train_step(np, network, recipe, state, batch)
        np.testing.assert_array_equal(state.params[averages:], expected)
        assert (state.params[:averages] != before.params[:averages]).all()


def test_a_clipped_gradient_is_that_of_what_is_trained(rng):
    """Means and variances do not count in its norm, however large they are."""
    network, given = network_of(BOTH), problem(rng, BOTH)
    recipe = Recipe(OPTIMIZERS["sgd"], constant, {}, clip_norm=0.5)
    params = given["params"].copy()
    params[-24:] *= 1e6
    state = State(params, (), np.asarray(0, np.int32), np.asarray(1.0))
    new, _ = train_step(np, network, recipe, state, Batch(20 * given["x"], given["targets"], given["weights"]))
    assert np.linalg.norm((new.params - params)[:-24]) == pytest.approx(0.5)
