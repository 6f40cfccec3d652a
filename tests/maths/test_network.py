"""The gradient of the whole network against central differences, for every loss and activation."""

import numpy as np
import pytest

from mlpgpu.maths import network as maths
from mlpgpu.maths import parameters
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network, loss_and_gradient

TRAINABLE = [name for name, activation in ACTIVATIONS.items() if activation.derivative]
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


def compute(backend, network, given, masks=(), l2=0.0):
    loss, gradient = loss_and_gradient(
        backend.xp,
        network,
        *(backend.asarray(given[name]) for name in ("params", "x", "targets", "weights")),
        [backend.asarray(mask) for mask in masks],
        l2,
    )
    return backend.to_host(loss), backend.to_host(gradient)


def numerical_gradient(network, given, masks=(), l2=0.0):
    """Central differences of fourth order of the loss alone, on NumPy."""

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
    """Whether a pre-activation or residual lies so near a kink that a difference would step over it."""
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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", TRAINABLE)
def test_gradient_of_every_loss_and_activation(backend, loss, name):
    network = Network(SIZES, (ACTIVATIONS[name],) * 2, LOSSES[loss])
    smooth = name not in {"relu", "leaky_relu", "elu", "selu"} and loss not in {"absolute_error", "huber"}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        given, masks = problem(rng, loss), masks_of(rng)
        if smooth or not kinks_near(network, given, masks):
            break
    else:
        pytest.fail("no problem found whose kinks are far enough away")
    _, gradient = compute(backend, network, given, masks, l2=0.3)
    assert relative_error(gradient, numerical_gradient(network, given, masks, l2=0.3)) < 1e-7


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
    losses, gradients = compute(backend, network, many)
    for model in range(2):
        alone = compute(backend, network, given | {"params": many["params"][model]})
        np.testing.assert_allclose(losses[model], alone[0], rtol=1e-13)
        np.testing.assert_allclose(gradients[model], alone[1], rtol=1e-11, atol=1e-15)


def test_a_weight_is_a_repeated_row_and_a_weight_of_zero_none(backend, rng):
    network = Network(SIZES, (ACTIVATIONS["logistic"],) * 2, LOSSES["cross_entropy"])
    given = problem(rng, "cross_entropy")
    counts = np.array([1, 2, 0, 3, 1, 0, 2, 1])
    weighted = compute(backend, network, given | {"weights": counts.astype(float)}, l2=0.2)
    repeated = {name: np.repeat(given[name], counts, axis=0) for name in ("x", "targets")}
    repeated |= {"params": given["params"], "weights": np.ones(counts.sum())}
    for ours, expected in zip(weighted, compute(backend, network, repeated, l2=0.2), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)


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
    ours = maths.predict(backend.xp, network, backend.asarray(params), backend.asarray(x))
    np.testing.assert_allclose(backend.to_host(ours), theirs.predict_proba(x), rtol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_float32_stays_float32(backend, rng, loss):
    network = Network(SIZES, (ACTIVATIONS["gelu"],) * 2, LOSSES[loss])
    given = {k: v.astype("float32") if v.dtype.kind == "f" else v for k, v in problem(rng, loss).items()}
    loss_value, gradient = compute(backend, network, given, [m.astype("float32") for m in masks_of(rng)], l2=0.1)
    assert loss_value.dtype == gradient.dtype == np.float32
