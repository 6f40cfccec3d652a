import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy import special
from sklearn import metrics

from mlpgpu import Config, Model, inspection
from mlpgpu.backends.numpy import NumpyBackend
from mlpgpu.evaluate import measure
from mlpgpu.maths.activations import ACTIVATIONS
from mlpgpu.maths.losses import LOSSES
from mlpgpu.maths.network import Network
from mlpgpu.maths.parameters import count
from mlpgpu.prepared import prepare
from mlpgpu.training import feed as feeds
from mlpgpu.training.evaluation import Evaluation, in_chunks
from mlpgpu.training.feed import Resident, Rows, Scaled, Streamed, Unscaled, open_feed
from mlpgpu.workflow import train_and_test

SHIFT, FACTOR = np.array([1.0, -2.0, 0.5]), np.array([0.7, 0.3, 1.4])


def opened(backend, loss, n_outputs):
    network = Network((3, 5, n_outputs), (ACTIVATIONS["tanh"],), LOSSES[loss])
    score = "accuracy" if LOSSES[loss].task == "classification" else "r2"
    return Evaluation(backend, network, Scaled(backend, SHIFT, FACTOR, "float64"), score)


def measured(backend, loss, n_outputs, params, rows, feed=Resident):
    evaluation = opened(backend, loss, n_outputs)
    return evaluation.measure(backend.asarray(params), feed(backend, rows, evaluation.placement))


def logits(params, x, n_outputs):
    w1, w2, b1, b2 = np.split(params, np.cumsum([15, 5 * n_outputs, 5]))
    y = np.tanh((x - SHIFT) * FACTOR @ w1.reshape(3, 5) + b1)
    return y @ w2.reshape(5, n_outputs) + b2


def problem(rng, n_outputs, n=23):
    return 2 * rng.normal(size=count((3, 5, n_outputs))), 3 * rng.normal(size=(n, 3))


@pytest.fixture(params=[7, 23, 4096])
def chunk(request, monkeypatch):
    monkeypatch.setattr(feeds, "CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("feed", [Resident, Streamed])
@pytest.mark.parametrize("weighted", [False, True])
def test_classes_as_scikit_learn_scores_them(backend, rng, feed, weighted):
    params, x = problem(rng, 4)
    labels = rng.integers(0, 4, size=len(x))
    weights = rng.uniform(size=len(x)) * (np.arange(len(x)) != 5) if weighted else None
    ours = measured(backend, "cross_entropy", 4, params, Rows(x, labels, weights), feed)
    p = special.softmax(logits(params, x, 4), axis=1)
    assert list(ours) == ["loss", "accuracy"]
    assert ours["loss"] == pytest.approx(metrics.log_loss(labels, p, sample_weight=weights, labels=range(4)), rel=1e-12)
    expected = metrics.accuracy_score(labels, p.argmax(1), sample_weight=weights)
    assert ours["accuracy"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_of_one_output(backend, rng, weighted):
    params, x = problem(rng, 1)
    labels = rng.integers(0, 2, size=len(x))
    weights = rng.uniform(size=len(x)) if weighted else None
    ours = measured(backend, "logistic", 1, params, Rows(x, labels, weights))
    p = special.expit(logits(params, x, 1)[:, 0])
    assert ours["loss"] == pytest.approx(metrics.log_loss(labels, p, sample_weight=weights), rel=1e-12)
    expected = metrics.accuracy_score(labels, p > 0.5, sample_weight=weights)
    assert ours["accuracy"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_values_as_scikit_learn_scores_them(backend, rng, n_outputs):
    params, x = problem(rng, n_outputs)
    targets = rng.normal(size=(len(x), n_outputs)) * 3 + 100
    ours = measured(backend, "squared_error", n_outputs, params, Rows(x, targets), Streamed)
    z = logits(params, x, n_outputs)
    assert list(ours) == ["loss", "r2"]
    assert ours["loss"] == pytest.approx(n_outputs / 2 * metrics.mean_squared_error(targets, z), rel=1e-12)
    assert ours["r2"] == pytest.approx(metrics.r2_score(targets, z), rel=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_values_with_weights(backend, rng, n_outputs):
    params, x = problem(rng, n_outputs)
    targets, weights = rng.normal(size=(len(x), n_outputs)), rng.uniform(size=len(x))
    ours = measured(backend, "squared_error", n_outputs, params, Rows(x, targets, weights))
    z = logits(params, x, n_outputs)
    expected = n_outputs / 2 * metrics.mean_squared_error(targets, z, sample_weight=weights)
    assert ours["loss"] == pytest.approx(expected, rel=1e-12)
    assert ours["r2"] == pytest.approx(metrics.r2_score(targets, z, sample_weight=weights), rel=1e-12)


@pytest.mark.parametrize("loss", [name for name, known in LOSSES.items() if known.task == "regression"])
def test_r2_is_of_the_prediction_whatever_the_loss(backend, rng, loss):
    params, x = problem(rng, 2)
    params = params / 4
    targets = rng.uniform(0, 3, size=(len(x), 2))
    ours = measured(backend, loss, 2, params, Rows(x, targets))
    z = logits(params, x, 2)
    assert ours["r2"] == pytest.approx(metrics.r2_score(targets, np.exp(z) if loss == "poisson" else z), rel=1e-11)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_a_target_that_is_constant(backend, rng, bias):
    """With zero weights, the prediction is the bias: exactly right, or wrong."""
    _, x = problem(rng, 2)
    params = np.zeros(count((3, 5, 2)))
    params[-2:] = 2.0, 3.0 + bias
    targets = np.tile([2.0, 3.0], (len(x), 1))
    ours = measured(backend, "squared_error", 2, params, Rows(x, targets))
    assert ours["r2"] == metrics.r2_score(targets, np.tile([2.0, 3.0 + bias], (len(x), 1)))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_target_that_is_constant_has_no_spread_by_the_rounding_of_its_mean(backend, rng, weighted):
    """With that rounding error, squared, as the spread, R² would be -1e31."""
    _, x = problem(rng, 1)
    targets, weights = np.full((len(x), 1), 0.7), None
    assert targets.mean() != 0.7
    if weighted:
        targets[0], weights = 5.0, np.r_[0, rng.uniform(size=len(x) - 1)]
    ours = measured(backend, "squared_error", 1, np.zeros(count((3, 5, 1))), Rows(x, targets, weights))
    assert ours["r2"] == 0


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_predictions_that_are_not_numbers_have_no_r2(backend, rng):
    _, x = problem(rng, 2)
    params = np.zeros(count((3, 5, 2)))
    params[-2:] = np.nan, 1
    for targets in (np.full((len(x), 2), 0.7), rng.normal(size=(len(x), 2))):
        assert np.isnan(measured(backend, "squared_error", 2, params, Rows(x, targets))["r2"])


def test_a_target_that_is_constant_of_a_model():
    truth = np.tile([0.7, 0.1], (23, 1))
    model = Model(
        np.zeros(4), np.array(0.0), np.array(1.0), (1, 2), (), "squared_error", "regression", targets=("a", "b")
    )
    figures, _ = measure(model, [np.tile([0.2, 0.1], (23, 1))], truth)
    assert figures["r2"] == 0.5
    assert [figures["targets"][name]["r2"] for name in ("a", "b")] == [0, 1]


def test_a_sum_over_many_rows_keeps_its_digits(real_backend, monkeypatch):
    """Chunks in single precision are summed in double precision."""
    monkeypatch.setattr(feeds, "CHUNK", 10)
    rng = np.random.default_rng(0)
    x, targets = np.zeros((5_000, 3)), rng.normal(size=(5_000, 1)) + 1000
    network = Network((3, 5, 1), (ACTIVATIONS["tanh"],), LOSSES["squared_error"])
    scores = Evaluation(real_backend, network, Scaled(real_backend, SHIFT, FACTOR, "float32"), "r2")
    params = real_backend.asarray(np.zeros(count((3, 5, 1))), "float32")
    ours = scores.measure(params, Resident(real_backend, Rows(x, targets), scores.placement))
    assert ours["loss"] == pytest.approx(np.mean(targets**2) / 2, rel=3e-7)


@pytest.mark.parametrize("chunk", [7, 4096], indirect=True)
@pytest.mark.parametrize(
    ("loss", "n_outputs", "link"),
    [
        ("cross_entropy", 4, lambda z: special.softmax(z, axis=1)),
        ("logistic", 1, special.expit),
        ("squared_error", 2, lambda z: z),
        ("poisson", 2, np.exp),
    ],
)
def test_predictions(backend, rng, chunk, loss, n_outputs, link):
    params, x = problem(rng, n_outputs)
    params = params / 2
    on_device = backend.asarray(params)
    evaluation = opened(backend, loss, n_outputs)
    z = evaluation.logits(on_device, x)
    assert type(z) is type(on_device)
    ours = evaluation.network.loss.link(backend.xp, z)
    np.testing.assert_allclose(backend.to_host(ours), link(logits(params, x, n_outputs)), rtol=1e-12, atol=1e-14)


def test_predictions_of_bytes_are_those_of_their_numbers(backend, rng):
    params, _ = problem(rng, 2)
    x = rng.integers(0, 256, size=(9, 3), dtype=np.uint8)
    ours = backend.to_host(opened(backend, "squared_error", 2).logits(backend.asarray(params), x))
    np.testing.assert_allclose(ours, logits(params, x.astype(float), 2), rtol=1e-12)


# --- unscaled rows --------------------------------------------------------------------------------------------------


def sparse_problem(rng, n_outputs, n=23):
    params, x = problem(rng, n_outputs, n)
    return params, x * (rng.random(x.shape) < 0.4)


def unscaled(backend, loss, n_outputs, score_name="score"):
    network = Network((3, 5, n_outputs), (ACTIVATIONS["tanh"],), LOSSES[loss])
    return Evaluation(backend, network, Unscaled(backend, "float64"), score_name)


def unscaled_logits(params, x, n_outputs):
    return logits(params, x / FACTOR + SHIFT, n_outputs)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array, "device"])
def test_rows_that_are_sparse_or_on_the_device(backend, rng, kind):
    params, x = sparse_problem(rng, 4)
    labels, weights = rng.integers(0, 4, size=len(x)), rng.uniform(size=len(x))
    given = backend.asarray(x) if kind == "device" else kind(x)
    evaluation = unscaled(backend, "cross_entropy", 4)
    on_device = backend.asarray(params)
    ours = evaluation.measure(on_device, open_feed(backend, Rows(given, labels, weights), evaluation.placement))
    p = special.softmax(unscaled_logits(params, x, 4), axis=1)
    assert ours["loss"] == pytest.approx(metrics.log_loss(labels, p, sample_weight=weights), rel=1e-12)
    assert ours["score"] == pytest.approx(metrics.accuracy_score(labels, p.argmax(1), sample_weight=weights), rel=1e-12)
    z = backend.to_host(evaluation.logits(on_device, given))
    np.testing.assert_allclose(special.softmax(z, axis=1), p, rtol=1e-11, atol=1e-14)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("weighted", [False, True])
def test_several_labels_a_row_as_scikit_learn_scores_them(backend, rng, weighted):
    params, x = problem(rng, 3)
    z = unscaled_logits(params, x, 3)
    # Close enough to the prediction that all labels of some rows are right.
    labels = z + rng.normal(size=z.shape) > 0
    weights = rng.uniform(size=len(x)) if weighted else None
    evaluation = unscaled(backend, "logistic", 3, "accuracy")
    rows = Rows(x, labels.astype(float), weights)
    ours = evaluation.measure(backend.asarray(params), open_feed(backend, rows, evaluation.placement))
    expected = metrics.accuracy_score(labels, z > 0, sample_weight=weights)
    assert 0 < expected < 1
    assert ours["accuracy"] == pytest.approx(expected, rel=1e-12)
    of_each = [metrics.log_loss(labels[:, i], special.expit(z[:, i]), sample_weight=weights) for i in range(3)]
    assert ours["loss"] == pytest.approx(sum(of_each), rel=1e-12)


@pytest.mark.parametrize(("loss", "n_outputs"), [("cross_entropy", 4), ("squared_error", 2)])
def test_a_score_is_called_as_it_was_asked_for(backend, rng, loss, n_outputs):
    params, x = problem(rng, n_outputs)
    targets = rng.integers(0, 4, size=len(x)) if loss == "cross_entropy" else rng.normal(size=(len(x), n_outputs))
    found = []
    for name in ("score", "skill"):
        evaluation = unscaled(backend, loss, n_outputs, name)
        ours = evaluation.measure(backend.asarray(params), Resident(backend, Rows(x, targets), evaluation.placement))
        assert list(ours) == ["loss", name]
        found.append(ours[name])
    assert found[0] == found[1]


@pytest.mark.parametrize("chunk", [7, 23, 4096], indirect=True)
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array, np.asarray, "device"])
def test_a_function_of_rows_a_chunk_at_a_time(backend, rng, chunk, kind):
    x = rng.normal(size=(23, 3))
    sizes, twice = [], backend.asarray(2 * np.eye(3))

    def double(part):
        sizes.append(part.shape[0])
        return backend.xp.matmul(part, twice)

    given = backend.asarray(x) if kind == "device" else kind(x)
    ours = in_chunks(backend, double, Unscaled(backend, "float64"), given)
    assert type(ours) is type(backend.asarray(x))
    np.testing.assert_array_equal(backend.to_host(ours), 2 * x)
    assert sum(sizes) == 23
    assert max(sizes) <= feeds.CHUNK


def test_the_results_of_chunks_are_in_memory_only_once():
    n_rows, n_outputs = 64 * feeds.CHUNK, 16
    x, backend = np.zeros((n_rows, 1)), NumpyBackend()
    tracemalloc.start()
    try:
        found = in_chunks(backend, lambda part: part + np.arange(n_outputs), Unscaled(backend, "float64"), x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, np.tile(np.arange(n_outputs), (n_rows, 1)))
    assert found.nbytes <= peak <= 1.25 * found.nbytes


def test_wide_rows_are_evaluated_a_few_at_a_time(backend, rng, monkeypatch):
    """By the elements that they have on the device, where rows that are sparse on the host may be dense."""
    monkeypatch.setattr(feeds, "CHUNK_ELEMENTS", 16)
    params, x = sparse_problem(rng, 4)
    labels = rng.integers(0, 4, size=len(x))
    placement, sizes = Unscaled(backend, "float64"), []
    place = placement.place
    monkeypatch.setattr(placement, "place", lambda x: sizes.append(x.shape) or place(x))
    network = Network((3, 5, 4), (ACTIVATIONS["tanh"],), LOSSES["cross_entropy"])
    evaluation = Evaluation(backend, network, placement)
    rows = Rows(scipy.sparse.csr_array(x), labels)
    ours = evaluation.measure(backend.asarray(params), open_feed(backend, rows, placement))
    at_once = 16 // -(-np.count_nonzero(x) // 23) if backend.name == "numpy" else 16 // 3
    assert sizes == [(min(at_once, 23 - start), 3) for start in range(0, 23, at_once)]
    expected = metrics.log_loss(labels, special.softmax(unscaled_logits(params, x, 4), axis=1))
    assert ours["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_row_too_large_for_the_model_does_not_end_its_run(command, capsys, not_compiled):
    """It is a test row, and these are used last, when training is over."""
    x = np.random.default_rng(0).normal(size=(60, 3))
    line = "--dataset rows.npz --target y --scale none --hidden 4 --epochs 2 --run-dir run"
    np.savez("rows.npz", x=x, y=x[:, 0])
    tested = prepare(Config(dataset="rows.npz", target="y")).data.y_test[0, 0]
    np.savez("rows.npz", x=np.where(x[:, :1] == tested, [1, 1e39, 1], x), y=x[:, 0])
    code, out, err = command(line)
    assert (code, err) == (0, "")
    assert "RMSE nan, MAE nan" in out
    assert np.isfinite(Model.load("run").params).all()

    def refuse(word):
        raise ValueError(word)

    # JSON has no NaN, and other JSON readers would fail on it.
    assert inspection.inspect("run", json=True) == 0
    for text in (Path("run/metrics.json").read_text(), capsys.readouterr().out):
        found = json.loads(text, parse_constant=refuse)
        assert found.get("metrics", found)["test_rmse"] is None
    assert inspection.inspect("run") == 0
    assert "RMSE nan, MAE nan" in capsys.readouterr().out


def test_probabilities_of_many_classes_are_not_held_all_at_once(monkeypatch, rng):
    """Apart from the logits, only one chunk of probabilities is in memory at a time."""
    monkeypatch.setattr(feeds, "CHUNK", 50)
    n, k = 4000, 400
    z, y = rng.normal(size=(n, k)).astype(np.float32), rng.integers(0, k + 1, size=n)
    one, params = np.array(1.0), np.zeros(2 * k, np.float32)
    model = Model(params, one, one, (1, k), (), "cross_entropy", "classification", classes=tuple(range(k)))
    tracemalloc.start()
    try:
        figures, _ = measure(model, [z[:1234], z[1234:]], y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < z.nbytes
    known = y < k
    assert figures["accuracy"] == metrics.accuracy_score(y, z.argmax(axis=1))
    expected = metrics.log_loss(y[known], special.softmax(z[known].astype(float), axis=1), labels=range(k))
    assert figures["loss"] == pytest.approx(expected, rel=1e-12)
    assert figures["unknown_labels"] == {str(k): n - known.sum()}


def test_a_run_predicts_its_test_rows_in_chunks(monkeypatch, not_compiled):
    monkeypatch.setattr(feeds, "CHUNK", 16)
    sizes, logits = [], Evaluation.logits
    monkeypatch.setattr(Evaluation, "logits", lambda self, params, x: sizes.append(len(x)) or logits(self, params, x))
    for dataset in ("iris", "diabetes", "breast-cancer"):
        prepared = prepare(Config(dataset=dataset, epochs=1, hidden=(3,), dtype="float64", device="cpu"))
        outcome = train_and_test(prepared)
        assert sum(sizes) == len(outcome.predictions) == len(prepared.data.x_test)
        assert max(sizes) == 16
        expected = outcome.model.predict(prepared.data.x_test)
        found = outcome.model.labelled(outcome.predictions)
        assert np.array_equal(found, expected) if outcome.model.classes else np.allclose(found, expected, rtol=1e-12)
        sizes.clear()
