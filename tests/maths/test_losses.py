"""Losses, gradients and links, by formula and against SciPy's, PyTorch's and scikit-learn's."""

import numpy as np
import pytest
from scipy import special, stats

from mlpgpu.maths.losses import LOSSES, cross_entropy, huber, log_softmax, logistic_loss, pinball


def targets_for(name, rng, shape):
    t = rng.normal(size=shape)
    if name == "cross_entropy":
        return special.softmax(t, axis=-1)
    if name == "logistic":
        return rng.uniform(size=shape)
    return np.exp(t) if name == "poisson" else t


def row_losses(backend, name, z, t):
    rows, dz = LOSSES[name].rows(backend.xp, backend.asarray(z), backend.asarray(t))
    return backend.to_host(rows), backend.to_host(dz)


def expected_rows(name, z, t):
    """Return the loss of each row by the textbook formula or by SciPy."""
    if name == "cross_entropy":
        return -(t * np.log(special.softmax(z, axis=-1))).sum(-1)
    if name == "logistic":
        p = special.expit(z)
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(-1)
    if name == "squared_error":
        return ((z - t) ** 2).sum(-1) / 2
    if name == "absolute_error":
        return np.abs(z - t).sum(-1)
    if name == "huber":
        return special.huber(1.0, z - t).sum(-1)
    if name == "quantile":
        return np.abs(z - t).sum(-1) / 2
    return special.kl_div(t, np.exp(z)).sum(-1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("lead", [(), (3,)])
def test_rows_are_the_formula_and_gradient_its_central_difference(backend, rng, name, lead):
    shape = (*lead, 6, 4)
    z, t = 2 * rng.normal(size=shape), targets_for(name, rng, shape)
    rows, dz = row_losses(backend, name, z, t)
    np.testing.assert_allclose(rows, expected_rows(name, z, t), rtol=1e-12, atol=1e-13)
    step = 1e-5
    for output in range(4):
        bump = step * (np.arange(4) == output)
        slope = (expected_rows(name, z + bump, t) - expected_rows(name, z - bump, t)) / (2 * step)
        np.testing.assert_allclose(dz[..., output], slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["cross_entropy", "logistic", "poisson"])
def test_link_inverts_the_gradient(backend, rng, name):
    # For a canonical link the gradient at the logits is prediction minus target.
    z, t = rng.normal(size=(5, 3)), targets_for(name, rng, (5, 3))
    _, dz = row_losses(backend, name, z, t)
    prediction = backend.to_host(LOSSES[name].link(backend.xp, backend.asarray(z)))
    np.testing.assert_allclose(prediction - t, dz, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_integer_one_hot_and_soft_labels_are_one(backend, rng, lead):
    labels = rng.integers(0, 4, size=(*lead, 7))
    z = rng.normal(size=(*lead, 7, 4))
    by_label = row_losses(backend, "cross_entropy", z, labels)
    by_one_hot = row_losses(backend, "cross_entropy", z, np.eye(4)[labels])
    np.testing.assert_array_equal(by_label[0], by_one_hot[0])
    np.testing.assert_array_equal(by_label[1], by_one_hot[1])


def test_labels_shared_by_many_models(backend, rng):
    labels, z = rng.integers(0, 3, size=5), rng.normal(size=(2, 5, 3))
    rows, _ = row_losses(backend, "cross_entropy", z, labels)
    for model in range(2):
        np.testing.assert_allclose(rows[model], row_losses(backend, "cross_entropy", z[model], labels)[0], rtol=1e-15)


def test_binary_labels_stand_for_themselves(backend, rng):
    labels, z = rng.integers(0, 2, size=9), rng.normal(size=(9, 1))
    rows, _ = row_losses(backend, "logistic", z, labels)
    np.testing.assert_allclose(rows, -stats.bernoulli.logpmf(labels, special.expit(z[:, 0])), rtol=1e-12)


def test_label_smoothing_against_torch(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z, labels = rng.normal(size=(8, 5)), rng.integers(0, 5, size=8)
    leaf = torch.tensor(z, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels), label_smoothing=0.1, reduction="none")
    loss.sum().backward()
    rows, dz = cross_entropy(np, z, labels, label_smoothing=0.1)
    np.testing.assert_allclose(rows, loss.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dz, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_label_smoothing_of_one_output_spreads_over_two_classes():
    z = np.array([[0.3], [-2.0]])
    as_two = np.hstack([-z / 2, z / 2])
    np.testing.assert_allclose(
        logistic_loss(np, z, np.array([0, 1]), label_smoothing=0.2)[0],
        cross_entropy(np, as_two, np.array([0, 1]), label_smoothing=0.2)[0],
        rtol=1e-14,
    )


def test_label_smoothing_of_several_labels_against_torch(rng):
    """Each label has two classes, however many labels there are."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    z, labels = rng.normal(size=(6, 4)), rng.integers(0, 2, size=(6, 4)).astype(float)
    leaf = torch.tensor(z, requires_grad=True)
    smoothed = torch.tensor(0.8 * labels + 0.1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(leaf, smoothed, reduction="none").sum(dim=1)
    loss.sum().backward()
    rows, dz = logistic_loss(np, z, labels, label_smoothing=0.2)
    np.testing.assert_allclose(rows, loss.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(dz, leaf.grad.numpy(), rtol=1e-12)


def test_stable_where_exp_overflows(backend):
    z = np.array([[1e4, -1e4], [-1e5, 1e5]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        rows, dz = row_losses(backend, "cross_entropy", z, np.array([1, 1]))
        binary, slope = row_losses(backend, "logistic", z[:, :1], np.array([0, 0]))
        log_p = backend.to_host(log_softmax(backend.xp, backend.asarray(z)))
    np.testing.assert_array_equal(rows, [2e4, 0])
    np.testing.assert_array_equal(dz, [[1, -1], [0, 0]])
    np.testing.assert_array_equal(binary, [1e4, 0])
    np.testing.assert_array_equal(slope, [[1], [0]])
    np.testing.assert_array_equal(log_p, [[0, -2e4], [-2e5, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logistic_keeps_the_digits_of_small_losses_of_both_classes(backend, dtype):
    z = np.array([[5.0], [12.0], [17.0], [40.0], [80.0]], dtype)
    for sign, label in ((1, 1), (-1, 0)):
        labels = np.full(len(z), label)
        for t in (labels, labels[:, None].astype(dtype)):
            rows, _ = row_losses(backend, "logistic", sign * z, t)
            np.testing.assert_allclose(rows, np.log1p(np.exp(-z[:, 0].astype(float))), rtol=10 * np.finfo(dtype).eps)


def test_poisson_takes_a_count_of_zero(backend):
    rows, dz = row_losses(backend, "poisson", np.array([[0.5]]), np.array([[0.0]]))
    np.testing.assert_allclose(rows, np.exp(0.5))
    np.testing.assert_allclose(dz, [[np.exp(0.5)]])


def test_poisson_is_scikit_learns(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z, t = rng.normal(size=(50, 1)), rng.poisson(2.0, size=(50, 1)).astype(float)
    ours = LOSSES["poisson"].rows(np, z, t)[0].mean()
    assert ours == pytest.approx(metrics.mean_poisson_deviance(t[:, 0], np.exp(z[:, 0])) / 2, rel=1e-12)


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_of_any_delta(rng, delta):
    z, t = 3 * rng.normal(size=(20, 1)), rng.normal(size=(20, 1))
    np.testing.assert_allclose(huber(np, z, t, huber_delta=delta)[0], special.huber(delta, z - t)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("quantile", [0.01, 0.25, 0.5, 0.9])
def test_pinball_is_scikit_learns(backend, rng, quantile):
    metrics = pytest.importorskip("sklearn.metrics")
    z, t = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    rows, dz = LOSSES["quantile"].having(quantile=quantile).rows(backend.xp, backend.asarray(z), backend.asarray(t))

    def theirs(z, **how):
        return metrics.mean_pinball_loss(t.T, z.T, alpha=quantile, **how)

    # Transposed, so that each of their outputs is one of our rows; ours are sums over three outputs, theirs means.
    np.testing.assert_allclose(backend.to_host(rows), 3 * theirs(z, multioutput="raw_values"), rtol=1e-13)
    step = 1e-6
    for output in range(3):
        bump = step * (np.arange(3) == output)
        up, down = (theirs(z + sign * bump, multioutput="raw_values") for sign in (1, -1))
        np.testing.assert_allclose(backend.to_host(dz)[:, output], 3 * (up - down) / (2 * step), rtol=1e-7)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.75])
def test_pinball_is_least_at_the_quantile(rng, quantile):
    t = rng.normal(size=(41, 1))
    at = np.quantile(t, quantile, method="inverted_cdf")
    losses = [pinball(np, np.full_like(t, value), t, quantile=quantile)[0].sum() for value in np.sort(t[:, 0])]
    assert np.sort(t[:, 0])[np.argmin(losses)] == at


def test_pinball_does_not_pull_from_the_target_itself(backend):
    rows, dz = row_losses(backend, "quantile", np.array([[2.0, 3.0]]), np.array([[2.0, 1.0]]))
    np.testing.assert_array_equal(rows, [1.0])
    np.testing.assert_array_equal(dz, [[0.0, 0.5]])


@pytest.mark.parametrize("lead", [(), (2,)])
def test_logarithms_of_probabilities_are_scipys(backend, rng, lead):
    z = 5 * rng.normal(size=(*lead, 6, 4))
    for name, expected in (("cross_entropy", special.log_softmax(z, axis=-1)), ("logistic", special.log_expit(z))):
        ours = backend.to_host(LOSSES[name].log_link(backend.xp, backend.asarray(z)))
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)
        probabilities = backend.to_host(LOSSES[name].link(backend.xp, backend.asarray(z)))
        np.testing.assert_allclose(np.exp(ours), probabilities, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithms_of_probabilities_that_round_to_zero_are_finite(backend, dtype):
    z = np.array([[1e4, -1e4], [-1e5, 1e5], [-750.0, 0.0]], dtype)
    for name, theirs in (
        ("cross_entropy", special.log_softmax(z.astype(float), axis=1)),
        ("logistic", special.log_expit(z)),
    ):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            ours = LOSSES[name].log_link(backend.xp, backend.asarray(z))
            p = LOSSES[name].link(backend.xp, backend.asarray(z))
        assert (backend.to_host(p) == 0).any()
        assert backend.to_host(ours).dtype == dtype
        assert np.isfinite(backend.to_host(ours)).all()
        np.testing.assert_allclose(backend.to_host(ours), theirs, rtol=1e-7)


def test_only_probabilities_have_logarithms():
    assert {name for name, loss in LOSSES.items() if loss.log_link} == {
        name for name, loss in LOSSES.items() if loss.task == "classification"
    }


def test_own_settings_and_a_loss_that_has_others(rng):
    assert {name: loss.settings for name, loss in LOSSES.items() if loss.settings} == {
        "cross_entropy": {"label_smoothing": 0.0},
        "logistic": {"label_smoothing": 0.0},
        "huber": {"huber_delta": 1.0},
        "quantile": {"quantile": 0.5},
    }
    z, t = 3 * rng.normal(size=(20, 1)), rng.normal(size=(20, 1))
    changed = LOSSES["huber"].having(huber_delta=0.3)
    np.testing.assert_allclose(changed.rows(np, z, t)[0], special.huber(0.3, z - t)[:, 0], rtol=1e-12)
    # The last value counts, and the loss in the table stays unchanged.
    again = changed.having(huber_delta=2.0)
    np.testing.assert_allclose(again.rows(np, z, t)[0], special.huber(2.0, z - t)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(LOSSES["huber"].rows(np, z, t)[0], special.huber(1.0, z - t)[:, 0], rtol=1e-12)
    assert (again.link, again.task) == (LOSSES["huber"].link, LOSSES["huber"].task)
    assert LOSSES["poisson"].having() is LOSSES["poisson"]


@pytest.mark.parametrize(
    ("name", "setting"), [("cross_entropy", "label_smoothing"), ("quantile", "quantile"), ("huber", "huber_delta")]
)
def test_a_setting_that_is_a_number_of_numpy_promotes_nothing(backend, rng, name, setting):
    # No other test may have this number: a loss is kept for later calls with numbers that are equal.
    loss = LOSSES[name].having(**{setting: np.float64(0.34375)})
    z = backend.asarray(rng.normal(size=(6, 3)).astype(np.float32))
    t = backend.asarray(rng.integers(3, size=6) if name == "cross_entropy" else np.ones((6, 3), np.float32))
    assert {backend.to_host(array).dtype for array in loss.rows(backend.xp, z, t)} == {np.dtype(np.float32)}
