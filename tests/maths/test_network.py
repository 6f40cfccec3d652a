"""The gradient of the whole network against central differences, for every loss and activation."""

import functools
import itertools

import numpy as np
import pytest
from scipy import special

from mlpgpu.maths import network as maths
from mlpgpu.maths import parameters
from mlpgpu.maths.activations import ACTIVATIONS, TRAINABLE
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, hidden, logits, loss_and_gradient

SIZES = (4, 6, 5, 3)


def problem(rng, loss, lead=()):
    rows = 8
    targets = {
        "cross_entropy": rng.integers(0, 3, size=(*lead, rows)),
        "logistic": rng.integers(0, 2, size=(*lead, rows, 3)).astype(float),
        "poisson": rng.poisson(2.0, size=(*lead, rows, 3)).astype(float),
    }.get(loss, 2 * rng.normal(size=(*lead, rows, 3)))
    return {
        "params": 0.7 * rng.normal(size=(*lead, parameters.count(SIZES))),
        "x": rng.normal(size=(*lead, rows, 4)),
        "targets": targets,
        "weights": rng.uniform(0, 2, size=(*lead, rows)) * (np.arange(rows) != 3),
    }


def masks_of(rng, rows=8):
    return [(rng.random((rows, width)) > 0.3) / 0.7 for width in SIZES[:-1]]


def compute(backend, network, given, masks=(), l2=0.0, compiled=False):
    """Return loss and gradient; `compiled` takes less time on JAX where no other test has such shapes and dtypes."""

    def function(*arrays):
        return loss_and_gradient(backend.xp, network, *arrays, l2)

    loss, gradient = (backend.compile(function) if compiled else function)(
        *(backend.asarray(given[name]) for name in ("params", "x", "targets", "weights")),
        tuple(backend.asarray(mask) for mask in masks),
    )
    return backend.to_host(loss), backend.to_host(gradient)


def numerical_gradient(network, given, masks=(), l2=0.0):
    """Return the central differences of fourth order of the loss, on NumPy."""

    def loss_at(params):
        arrays = (given["x"], given["targets"], given["weights"])
        return loss_and_gradient(np, network, params, *arrays, masks, l2)[0]

    step = 1e-3
    columns = []
    for unit in np.eye(given["params"].shape[-1]) * step:
        near = loss_at(given["params"] + unit) - loss_at(given["params"] - unit)
        far = loss_at(given["params"] + 2 * unit) - loss_at(given["params"] - 2 * unit)
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


def relative_error(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def kinks_near(network, given, masks):
    """Return whether a pre-activation or residual is so close to a kink that a difference would step over it."""
    p, arrays = given["params"], (given["x"], given["targets"], given["weights"])
    step = 2e-3
    signs = []
    for unit in np.vstack([np.zeros(p.shape[-1]), np.eye(p.shape[-1]) * step, np.eye(p.shape[-1]) * -step]):
        z, x = [], given["x"]
        layers = parameters.split(np, p + unit, network.sizes)
        for i, (w, b) in enumerate(layers):
            x = x * masks[i] if len(masks) else x
            pre = x @ w + b[..., None, :]
            z.append(np.sign(pre).ravel())
            x = network.activations[i].value(np, pre) if i < len(network.activations) else pre
        if arrays[1].dtype.kind == "f" and arrays[1].shape == x.shape:
            error = x - arrays[1]
            z += [np.sign(error).ravel(), np.sign(np.abs(error) - 1).ravel()]
        signs.append(np.concatenate(z))
    return any((s != signs[0]).any() for s in signs)


@functools.cache
def far_from_kinks(name, loss):
    """Return a network, a problem whose kinks are far enough away, its masks, and the numerical gradient there."""
    network = Network(SIZES, (ACTIVATIONS[name],) * 2, LOSSES[loss])
    smooth = name not in {"relu", "leaky_relu", "elu", "selu"} and loss not in {"absolute_error", "huber", "quantile"}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        given, masks = problem(rng, loss), masks_of(rng)
        if smooth or not kinks_near(network, given, masks):
            return network, given, masks, numerical_gradient(network, given, masks, l2=0.3)
    return pytest.fail("no problem found whose kinks are far enough away")


# Losses and activations share no code: each activation with one loss, and each loss with one or two activations.
@pytest.mark.parametrize(("name", "loss"), list(zip(TRAINABLE, itertools.cycle(LOSSES), strict=False)))
def test_gradient_of_every_loss_and_activation(backend, loss, name):
    network, given, masks, expected = far_from_kinks(name, loss)
    _, gradient = compute(backend, network, given, masks, l2=0.3)
    assert relative_error(gradient, expected) < 1e-7


@pytest.mark.parametrize("frozen", [1, 2])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_frozen_layers_have_no_gradient_and_the_others_keep_theirs(backend, rng, frozen, l2):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES["cross_entropy"], frozen)
    given, masks = problem(rng, "cross_entropy"), masks_of(rng)
    loss, gradient = compute(backend, network, given, masks, l2)
    expected = numerical_gradient(network, given, masks, l2)
    blocks = parameters.layout(SIZES)
    for held in (*blocks[:frozen], *blocks[3 : 3 + frozen]):
        assert not gradient[held.start : held.stop].any()
        expected[held.start : held.stop] = 0
    assert relative_error(gradient, expected) < 1e-7
    penalty = sum((given["params"][block.start : block.stop] ** 2).sum() for block in blocks[frozen:3])
    plain, _ = compute(backend, network, given, masks)
    assert loss - plain == pytest.approx(l2 / 2 * penalty / given["weights"].sum(), abs=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_leading_axes_are_many_models_at_once(backend, rng, loss):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES[loss])
    given, masks = problem(rng, loss, lead=(2, 3)), masks_of(rng)
    losses, gradients = compute(backend, network, given, masks, l2=0.1)
    assert losses.shape == (2, 3)
    assert gradients.shape == given["params"].shape
    for model in np.ndindex(2, 3):
        one = {name: array[model] for name, array in given.items()}
        loss_alone, gradient_alone = compute(backend, network, one, masks, l2=0.1)
        np.testing.assert_allclose(losses[model], loss_alone, rtol=1e-13)
        np.testing.assert_allclose(gradients[model], gradient_alone, rtol=1e-11, atol=1e-14)


def test_models_share_the_rows(backend, rng):
    network = Network(SIZES, (ACTIVATIONS["relu"],) * 2, LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy")
    many = given | {"params": np.stack([given["params"], -given["params"]])}
    losses, gradients = compute(backend, network, many, compiled=True)
    for model in range(2):
        alone = compute(backend, network, given | {"params": many["params"][model]})
        np.testing.assert_allclose(losses[model], alone[0], rtol=1e-13)
        np.testing.assert_allclose(gradients[model], alone[1], rtol=1e-11, atol=1e-15)


def test_a_weight_is_a_repeated_row_and_a_weight_of_zero_none(backend, rng):
    network = Network(SIZES, (ACTIVATIONS["logistic"],) * 2, LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy")
    # Eight in all, as in other tests: JAX compiles each operation for each shape.
    counts = np.array([1, 2, 0, 3, 1, 0, 0, 1])
    weighted = compute(backend, network, given | {"weights": counts.astype(float)}, l2=0.2)
    repeated = {name: np.repeat(given[name], counts, axis=0) for name in ("x", "targets")}
    repeated |= {"params": given["params"], "weights": np.ones(counts.sum())}
    for ours, expected in zip(weighted, compute(backend, network, repeated, l2=0.2), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_logits_are_what_the_link_takes(backend, rng, lead):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy", lead)
    p, x = given["params"], given["x"]
    arrays = backend.asarray(p), backend.asarray(x)
    z = backend.to_host(logits(backend.xp, network, *arrays))
    y = np.tanh(x @ p[..., :24].reshape(*lead, 4, 6) + p[..., None, 69:75])
    y = np.tanh(y @ p[..., 24:54].reshape(*lead, 6, 5) + p[..., None, 75:80])
    np.testing.assert_allclose(z, y @ p[..., 54:69].reshape(*lead, 5, 3) + p[..., None, 80:], rtol=1e-12, atol=1e-14)
    prediction = backend.to_host(maths.predict(backend.xp, network, *arrays))
    np.testing.assert_allclose(prediction, special.softmax(z, axis=-1), rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_weights_that_are_all_zero_give_no_loss_and_no_gradient(backend, rng, loss, lead):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES[loss])
    given = problem(rng, loss, lead)
    with np.errstate(divide="raise", invalid="raise"):
        value, gradient = compute(backend, network, given | {"weights": np.zeros((*lead, 8))}, masks_of(rng), l2=0.3)
    assert value.shape == lead
    assert (value == 0).all()
    assert gradient.shape == given["params"].shape
    assert (gradient == 0).all()


def test_weights_that_are_all_zero_are_those_of_one_model_alone(backend, rng):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES["squared_error"])
    given = problem(rng, "squared_error", lead=(2,))
    given["weights"][0] = 0
    losses, gradients = compute(backend, network, given, l2=0.3)
    assert losses[0] == 0
    assert (gradients[0] == 0).all()
    alone = compute(backend, network, {name: array[1] for name, array in given.items()}, l2=0.3)
    np.testing.assert_allclose(losses[1], alone[0], rtol=1e-13)
    np.testing.assert_allclose(gradients[1], alone[1], rtol=1e-11, atol=1e-14)


def test_weights_count_by_their_ratio_alone(backend, rng):
    """Without a penalty, and down to the smallest weights that lose no digits."""
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy")
    expected = compute(backend, network, given)
    for scale in (1e-290, 1e-3, 1e290):
        ours = compute(backend, network, given | {"weights": scale * given["weights"]})
        np.testing.assert_allclose(ours[0], expected[0], rtol=1e-13)
        np.testing.assert_allclose(ours[1], expected[1], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_hidden_layers_by_hand(backend, rng, name, lead):
    values = {
        "tanh": np.tanh,
        "relu": lambda z: z * (z > 0),
        "gelu": lambda z: z * special.expit(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)),
    }
    network = Network(SIZES, (ACTIVATIONS[name], ACTIVATIONS["logistic"]), LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy", lead)
    p, x = given["params"], given["x"]
    w1, w2 = p[..., :24].reshape(*lead, 4, 6), p[..., 24:54].reshape(*lead, 6, 5)
    b1, b2 = p[..., 69:75], p[..., 75:80]
    first = values[name](x @ w1 + b1[..., None, :])
    second = special.expit(first @ w2 + b2[..., None, :])
    for layer, expected in enumerate((first, second)):
        ours = backend.to_host(hidden(backend.xp, network, backend.asarray(p), backend.asarray(x), layer))
        assert ours.shape == (*lead, 8, (6, 5)[layer])
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


def test_hidden_layers_of_many_models_that_share_the_rows(backend, rng):
    network = Network(SIZES, (ACTIVATIONS["tanh"],) * 2, LOSSES["cross_entropy"])
    params, x = rng.normal(size=(2, parameters.count(SIZES))), backend.asarray(rng.normal(size=(8, 4)))
    many = backend.to_host(hidden(backend.xp, network, backend.asarray(params), x, 1))
    for model in range(2):
        alone = hidden(backend.xp, network, backend.asarray(params[model]), x, 1)
        np.testing.assert_allclose(many[model], backend.to_host(alone), rtol=1e-13)


def test_no_hidden_layer_is_logistic_regression(backend, rng):
    # The closed form: gradient X^T (softmax(X W + b) - T) / n.
    network = Network((4, 3), (), LOSSES["cross_entropy"])
    x, labels = rng.normal(size=(9, 4)), rng.integers(0, 3, size=9)
    params = rng.normal(size=15)
    given = {"params": params, "x": x, "targets": labels, "weights": np.ones(9)}
    _, gradient = compute(backend, network, given)
    e = np.exp(x @ params[:12].reshape(4, 3) + params[12:])
    dz = (e / e.sum(1, keepdims=True) - np.eye(3)[labels]) / 9
    np.testing.assert_allclose(gradient, np.r_[(x.T @ dz).ravel(), dz.sum(0)], rtol=1e-12, atol=1e-15)


def test_loss_and_gradient_are_torchs(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network = Network(SIZES, (ACTIVATIONS["relu"], ACTIVATIONS["tanh"]), LOSSES["cross_entropy"])
    given, masks = problem(rng, "cross_entropy"), masks_of(rng)
    loss, gradient = loss_and_gradient(np, network, *(given[k] for k in ("params", "x", "targets", "weights")), masks)
    leaf = torch.tensor(given["params"], requires_grad=True)
    (w1, b1), (w2, b2), (w3, b3) = parameters.split(torch, leaf, SIZES)
    x, m = torch.tensor(given["x"]), [torch.tensor(mask) for mask in masks]
    hidden = torch.tanh(torch.relu(x * m[0] @ w1 + b1) * m[1] @ w2 + b2) * m[2]
    rows = torch.nn.functional.cross_entropy(hidden @ w3 + b3, torch.tensor(given["targets"]), reduction="none")
    weights = torch.tensor(given["weights"])
    theirs = (rows * weights).sum() / weights.sum()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-11, atol=1e-15)


def test_prediction_is_scikit_learns(backend, rng):
    neural_network = pytest.importorskip("sklearn.neural_network")
    x, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    theirs = neural_network.MLPClassifier((6, 5), max_iter=5, random_state=0, tol=0.0, n_iter_no_change=99)
    with pytest.warns(UserWarning, match="iterations"):
        theirs.fit(x, y)
    params = np.concatenate([part.ravel() for part in (*theirs.coefs_, *theirs.intercepts_)])
    network = Network(SIZES, (ACTIVATIONS["relu"],) * 2, LOSSES["cross_entropy"])
    ours = maths.predict(backend.xp, network, backend.asarray(params), backend.asarray(x[:8]))
    np.testing.assert_allclose(backend.to_host(ours), theirs.predict_proba(x[:8]), rtol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_float32_stays_float32(backend, rng, loss):
    network = Network(SIZES, (ACTIVATIONS["gelu"],) * 2, LOSSES[loss])
    given = {k: v.astype("float32") if v.dtype.kind == "f" else v for k, v in problem(rng, loss).items()}
    masks = [mask.astype("float32") for mask in masks_of(rng)]
    loss_value, gradient = compute(backend, network, given, masks, l2=0.1, compiled=True)
    assert loss_value.dtype == gradient.dtype == np.float32
