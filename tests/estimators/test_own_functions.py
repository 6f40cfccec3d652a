"""Checks of custom activations and losses: they report errors before training, and take almost no time."""

import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from mlpgpu import MLPClassifier, MLPRegressor, OwnFunctionWarning
from mlpgpu.maths.activations import ACTIVATIONS, TRAINABLE, Activation
from mlpgpu.maths.losses import LOSSES, Loss, log_softmax, one_hot, softmax
from mlpgpu.protocol import arrays, own

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, THREE = load_iris(return_X_y=True)
X_REG, Y_REG = load_diabetes(return_X_y=True)
Y_REG = scale(Y_REG)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}


def squares(xp, z, t):
    return xp.sum((z - t) ** 2, axis=-1)


def slope_of_squares(xp, z, t):
    return 2 * (z - t)


def hold(y, **given):
    kind, x = (MLPClassifier, X) if len(y) == len(X) else (MLPRegressor, X_REG)
    return kind(**QUICK | given).fit(x, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_warnings_point_to_the_line_that_calls(solver):
    """By default, Python shows the same warning only once per line, so the line must be the caller's."""
    straight = (lambda xp, z: xp.sign(z), lambda xp, z, y: xp.ones_like(z))
    with pytest.warns((OwnFunctionWarning, ConvergenceWarning)) as caught:
        hold(THREE, activation=straight, solver=solver)
    assert [each.category for each in caught] == [OwnFunctionWarning, ConvergenceWarning]
    assert {each.filename for each in caught} == {__file__}


def test_warnings_of_a_range_test_point_to_the_line_that_calls():
    def outer():
        return MLPClassifier(**QUICK, batch_size=1000).find_learning_rate(X, THREE, steps=10)

    with pytest.warns(UserWarning, match="batch_size") as caught:
        outer()
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, outer.__code__.co_firstlineno + 1)]


@pytest.mark.parametrize("batch_size", [3, 150])
@pytest.mark.parametrize(
    ("y", "said"),
    [
        (
            THREE,
            r"the loss, squares\(xp, z, t\), of made-up z of shape \(8, 3\), float64, and t of shape \(8,\), int64,",
        ),
        (THREE == 1, r"the gradient of the loss, slope_of_squares.*gives an array of shape \(8, 8\), not of \(8, 1\)"),
        # As many classes as rows in the first or second trial, so that z and t broadcast in that trial.
        (np.arange(150) % own.ROWS, rf"z of shape \({own.FEWER}, {own.ROWS}\)"),
        (np.arange(150) % own.FEWER, rf"z of shape \({own.ROWS}, {own.FEWER}\)"),
    ],
)
def test_class_numbers_are_no_columns(y, said, batch_size):
    with pytest.raises(ValueError, match=rf"{said}.*one_hot\(xp, t, z\)"):
        hold(y, loss=(squares, slope_of_squares), batch_size=batch_size)


def unsaid(xp, z, t):
    raise AssertionError


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            (lambda xp, z, t: (z - t) ** 4, lambda xp, z, t: 4 * (z - t) ** 3),
            r"gives an array of shape \(8, 1\), not of",
        ),
        ((lambda xp, z, t: xp.mean((z - t) ** 2), slope_of_squares), r"gives an array of shape \(\), not of \(8,\)"),
        ((lambda xp, z, t: 0.0, slope_of_squares), r"gives an array of shape \(\), not of \(8,\)"),
        ((squares, lambda xp, z, t: z[:, 0]), r"the gradient of the loss, .* of shape \(8,\), not of \(8, 1\)"),
        ((squares, lambda z, t: z - t), r"<lambda>\(z, t\), is called with \(xp, z, t\); define it with these"),
        ((lambda xp, z: z, slope_of_squares), r"the loss, <lambda>\(xp, z\), is called with \(xp, z, t\)"),
        ((lambda xp, z, t: squares(xp, z, t) / 0 * np.inf, slope_of_squares), "gives no finite number"),
        ((lambda xp, z, t: xp.no_such(z), slope_of_squares), "fails: .*no_such"),
        ((unsaid, slope_of_squares), r"the loss, unsaid\(xp, z, t\), .*fails: AssertionError; "),
        (Loss(squares, LOSSES["squared_error"].link, "regression"), r"the loss, squares\(xp, z, t\), .* fails"),
    ],
)
def test_a_wrong_loss(loss, said, caplog):
    with pytest.raises(ValueError, match=said) as caught:
        hold(Y_REG, loss=loss)
    assert "class numbers" not in str(caught.value)
    assert "line by line" not in caplog.text


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        (
            (lambda xp, z: xp.sum(z, axis=-1), lambda xp, z, y: z),
            r"the activation, .* of shape \(8,\), not of \(8, 4\)",
        ),
        ((lambda xp, z: z, lambda xp, z, y: 1), r"derivative of the activation, .* of shape \(\), not of \(8, 4\)"),
        ((lambda xp, z: z, lambda xp, z: z), r"<lambda>\(xp, z\), is called with \(xp, z, y\); define it with these"),
        ((lambda z: z, lambda xp, z, y: z), r"the activation, <lambda>\(z\), is called with \(xp, z\)"),
    ],
)
def test_a_wrong_activation(activation, said, caplog):
    with pytest.raises(ValueError, match=said):
        hold(THREE, activation=["tanh", activation], hidden_layer_sizes=(4, 4))
    assert "line by line" not in caplog.text


def times(factor):
    return lambda xp, z, t: factor * slope_of_squares(xp, z, t)


@pytest.mark.parametrize(
    "loss",
    [
        *((squares, times(factor)) for factor in (-1, 0.5, 1.1, 0)),
        (squares, lambda xp, z, t: slope_of_squares(xp, z, t) / len(z)),
        # Wrong for the true class only.
        (lambda xp, z, t: -xp.sum(t * log_softmax(xp, z), axis=-1), lambda xp, z, t: softmax(xp, z)),
        # Wrong for some classes only, and not for that of the first row.
        (squares, lambda xp, z, t: slope_of_squares(xp, z, t) * (1 + xp.sum(t[:, 5:], axis=-1, keepdims=True))),
    ],
)
def test_a_gradient_that_is_not_that_of_the_value(loss):
    y = np.eye(10)[np.arange(len(X_REG)) % 10]
    with pytest.warns(OwnFunctionWarning, match=r"is not that of its value at \d of 8 made-up places: .* differences"):
        hold(y, loss=loss)


def test_a_gradient_that_is_wrong_near_the_targets_alone():
    def huber(xp, z, t):
        off = xp.abs(z - t)
        return xp.sum(xp.where(off < 5, off**2 / 2, 5 * (off - 2.5)), axis=-1)

    with pytest.warns(OwnFunctionWarning, match=r"is not that of its value at \d of 8 made-up places"):
        hold(1e3 + Y_REG, loss=(huber, lambda xp, z, t: xp.where(xp.abs(z - t) < 5, 2, 1) * xp.clip(z - t, -5, 5)))


def test_by_how_much_a_gradient_is_off():
    with pytest.warns(OwnFunctionWarning) as caught:
        hold(Y_REG, loss=(squares, times(0.5)))
    said, differences = map(float, re.search(r"places: (\S+) at .* give (\S+);", str(caught[0].message)).groups())
    assert said == pytest.approx(differences / 2, rel=1e-3)


def errors_from_the_mean(xp, z, t):
    return z - xp.mean(z) - t


@pytest.mark.parametrize(
    "loss",
    [
        (lambda xp, z, t: squares(xp, z, t) / len(z), lambda xp, z, t: slope_of_squares(xp, z, t) / len(z)),
        (
            lambda xp, z, t: errors_from_the_mean(xp, z, t)[:, 0] ** 2,
            lambda xp, z, t: 2 * errors_from_the_mean(xp, z, t) - 2 * xp.mean(errors_from_the_mean(xp, z, t)),
        ),
    ],
)
def test_a_row_whose_loss_depends_on_others(loss):
    """The gradient is right for the sum over rows, so this is the only warning."""
    with pytest.warns(OwnFunctionWarning, match="gives a row a value that depends on others"):
        hold(Y_REG, loss=loss)


def test_a_loss_from_which_nothing_is_learned():
    """The softmax of a single output is 1."""
    with pytest.warns(OwnFunctionWarning, match=r"the loss cross_entropy is the same for all made-up z"):
        hold(Y_REG, loss=LOSSES["cross_entropy"])


def test_soft_labels_are_rows_of_each_class_with_weights():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((40, 3)), rng.dirichlet([1, 1, 1], 40)
    ours = MLPRegressor(LOSSES["cross_entropy"], (), solver="lbfgs", alpha=0, tol=1e-12, max_iter=1000, random_state=0)
    ours.fit(x, t)
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    theirs.fit(np.repeat(x, 3, axis=0), np.tile([0, 1, 2], 40), t.ravel())
    # L-BFGS ends once the loss falls by less than 2e-9 of it, and the loss is quadratic there.
    np.testing.assert_allclose(ours.predict(x), theirs.predict_proba(x), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*is not that of its value")
@pytest.mark.parametrize(
    "activation",
    [
        (softmax, lambda xp, z, y: y * (1 - y)),
        # Depends on other rows.
        (lambda xp, z: z - xp.mean(z, axis=0), lambda xp, z, y: xp.ones_like(z)),
    ],
)
def test_an_element_whose_activation_depends_on_others(activation):
    with pytest.warns(OwnFunctionWarning, match="gives an element a value that depends on others"):
        hold(THREE, activation=activation)


def test_a_gradient_that_is_not_finite_and_a_value():
    """Where the value is finite, the gradient must be too; where it is not, there is nothing to compare."""
    lost = (squares, lambda xp, z, t: slope_of_squares(xp, z, t) * xp.where(z > 0, np.nan, 1))
    with pytest.warns(OwnFunctionWarning, match="places: nan at one of them"):
        own.check_loss(lost, Y_REG[:, None], 1, arrays.HOST, "float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logarithm = Activation(lambda xp, z: xp.log(z), lambda xp, z, y: 1 / z)
        own.check_activation(logarithm, arrays.HOST, "float64")


def rounded(xp, z):
    return xp.round(z)


def straight_through(xp, z, y):
    return xp.ones_like(z)


@pytest.mark.parametrize(
    "activation",
    [
        (rounded, straight_through),
        (lambda xp, z: xp.tanh(z), lambda xp, z, y: y * y - 1),
        (ACTIVATIONS["relu"].value, straight_through),
    ],
)
def test_a_derivative_that_is_not_that_of_the_value(activation):
    with pytest.warns(OwnFunctionWarning, match=r"is not that of its value at \d+ of 32 made-up places"):
        hold(THREE, activation=activation)


def test_what_is_wrong_on_purpose_is_trained_all_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        warnings.filterwarnings("ignore", category=OwnFunctionWarning)
        fitted = hold(THREE, activation=(rounded, straight_through))
    kept = fitted.hidden_activations(X)
    np.testing.assert_array_equal(kept, np.round(kept))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRAINABLE)
def test_the_activations_that_are_there_are_right(name, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own._try_activation(arrays.HOST, dtype, ACTIVATIONS[name], np.random.default_rng(0).normal(size=(8, 4)))
        own.check_activation(ACTIVATIONS[name], arrays.HOST, dtype)


@pytest.mark.parametrize("columns", [1, 3, 400])
@pytest.mark.parametrize("spread", [1e-8, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("middle", [0, 1, 1e6, -1e9])
def test_the_losses_that_are_there_are_right_for_targets_of_any_size(middle, spread, columns):
    """The kinks of the losses are as close to each other as the targets."""
    targets = middle + spread * np.random.default_rng(0).normal(size=(50, columns))
    more = {"huber": {"huber_delta": spread / 2}, "quantile": {"quantile": 0.3}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, loss in LOSSES.items():
            if loss.task == "regression":
                t = abs(targets) if name == "poisson" else targets
                own.check_loss(loss.having(**more.get(name, {})), t, columns, arrays.HOST, "float64")


@pytest.mark.parametrize("n_classes", [2, 3, 1000])
def test_the_losses_of_classes_are_right(n_classes):
    codes = np.arange(1500) % n_classes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own.check_loss(LOSSES["cross_entropy"], codes, n_classes, arrays.HOST, "float64")
        own.check_loss(LOSSES["logistic"], np.eye(n_classes)[codes], n_classes, arrays.HOST, "float64")
        own.check_loss(LOSSES["logistic"], codes % 2, 1, arrays.HOST, "float64")


def brier(xp, z, t):
    return xp.sum((softmax(xp, z) - one_hot(xp, t, z)) ** 2, axis=-1)


def slope_of_brier(xp, z, t):
    p = softmax(xp, z)
    error = p - one_hot(xp, t, z)
    return 2 * p * (error - xp.sum(p * error, axis=-1, keepdims=True))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_trial_changes_nothing(solver, monkeypatch):
    state = np.random.RandomState(3)
    given = QUICK | {"loss": (brier, slope_of_brier), "solver": solver, "random_state": state}
    np.random.seed(0)  # noqa: NPY002
    tried, after = MLPClassifier(**given).fit(X, THREE), state.uniform()
    assert np.random.uniform() == np.random.RandomState(0).uniform()  # noqa: NPY002
    monkeypatch.setattr("mlpgpu.protocol.fitting.Fit._try_own_functions", lambda fit: None)
    given["random_state"] = again = np.random.RandomState(3)
    plain = MLPClassifier(**given).fit(X, THREE)
    assert after == again.uniform()
    np.testing.assert_array_equal(tried.coefs_[0], plain.coefs_[0])


def test_the_trial_takes_a_few_rows():
    lengths = []

    def counted(function):
        return lambda xp, z, *more: lengths.append(len(z)) or function(xp, z, *more)

    own.check_loss((counted(brier), counted(slope_of_brier)), np.resize(THREE, 10_000), 3, arrays.HOST, "float64")
    value, derivative, _ = ACTIVATIONS["gelu"]
    gelu = ACTIVATIONS["gelu"]._replace(value=counted(value), derivative=counted(derivative))
    own.check_activation(gelu, arrays.HOST, "float64")
    assert max(lengths) == own.ROWS
    assert len(lengths) < 50


def test_the_first_of_many_calls_tries_alone():
    calls = []

    def counted(xp, z, t):
        calls.append(z.shape)
        return squares(xp, z, t)

    fitted = MLPRegressor(loss=(counted, slope_of_squares), **QUICK).partial_fit(X_REG, Y_REG)
    assert (own.FEWER, 1) in calls
    calls.clear()
    fitted.partial_fit(X_REG, Y_REG)
    assert (own.FEWER, 1) not in calls


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_constants_of_an_own_function_do_not_widen_the_network(solver):
    """NumPy's ``where`` returns float64 for two Python floats, and int64 for two Python ints."""
    given = QUICK | {"hidden_layer_sizes": (4, 4), "solver": solver, "dtype": "float32"}
    leak = (lambda xp, z: xp.where(z > 0, z, 0.01 * z), lambda xp, z, y: xp.where(z > 0, 1.0, 0.01))
    ramp = (lambda xp, z: z * xp.where(z > 0, 1, 0), lambda xp, z, y: xp.where(z > 0, 1, 0))
    absolute = (lambda xp, z, t: xp.sum(xp.abs(z - t), axis=-1), lambda xp, z, t: xp.where(z > t, 1.0, -1.0))
    wide = MLPRegressor(absolute, activation=[leak, ramp], **given).fit(X_REG, Y_REG)
    known = MLPRegressor("absolute_error", activation=["leaky_relu", "relu"], **given).fit(X_REG, Y_REG)
    assert {array.dtype.name for array in (*wide.coefs_, wide.predict(X_REG))} == {"float32"}
    np.testing.assert_allclose(wide.predict(X_REG), known.predict(X_REG), rtol=1e-4, atol=1e-6)


def test_functions_of_another_library_are_tried_there():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
    right = (lambda xp, z: softplus(z), lambda xp, z, y: sigmoid(z))
    wrong = (lambda xp, z: softplus(z[:, 0]), right[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", OwnFunctionWarning)
        ours = hold(THREE, activation=right, backend="torch", device="cpu")
    np.testing.assert_allclose(ours.coefs_[0], hold(THREE, activation="softplus").coefs_[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"of shape \(8,\), not of \(8, 4\)"):
        hold(THREE, activation=wrong, backend="torch", device="cpu")
    with pytest.warns(OwnFunctionWarning):
        hold(
            THREE,
            activation=(right[0], lambda xp, z, y: 2 * sigmoid(z)),
            backend="torch",
            device="cpu",
            dtype="float32",
        )
