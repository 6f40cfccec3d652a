"""Figures of a regression that only its loss has, against scikit-learn's, from the arrays to the screen."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_files import metrics_in
from sklearn import metrics

from mlpgpu import MLPRegressor, Model, commands, evaluate
from mlpgpu.results.regression_figures import measure

D2 = {
    "absolute_error": metrics.d2_absolute_error_score,
    "quantile": lambda y, p, **w: metrics.d2_pinball_score(y, p, alpha=0.9, **w),
    "poisson": lambda y, p, **w: metrics.d2_tweedie_score(y, p, power=1, **w),
}
NAMES = {"absolute_error": "d2_absolute_error", "quantile": "d2_pinball", "poisson": "d2_poisson"}
COMMON = {"rmse", "mae", "r2"}
QUICK = "--hidden 4 --epochs 3 --dropout 0 --quiet --task regression"


def settings_of(loss):
    return {"quantile": 0.9} if loss == "quantile" else {}


@pytest.fixture
def pairs(rng):
    """Counts of two targets, predictions of them, and weights of which some are 0."""
    outputs = rng.uniform(0.5, 4, (60, 2))
    return rng.poisson(outputs).astype(float), outputs, rng.integers(0, 4, 60).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", D2)
def test_measured_as_scikit_learn_does(pairs, loss, weighted):
    truth, outputs, weights = pairs
    weights = weights if weighted else None
    found = measure(truth, outputs, ("a", "b"), weights, loss=loss, **settings_of(loss))
    expected = [D2[loss](y, p, sample_weight=weights) for y, p in zip(truth.T, outputs.T, strict=True)]
    assert [found["targets"][name][NAMES[loss]] for name in "ab"] == pytest.approx(expected, rel=1e-12)
    assert found[NAMES[loss]] == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_coverage_counts_the_rows_at_or_below(pairs, weighted):
    truth, outputs, weights = pairs
    outputs[:7, 0] = truth[:7, 0]
    found = measure(truth, outputs, ("a", "b"), weights if weighted else None, loss="quantile", quantile=0.9)
    times = weights.astype(int) if weighted else np.ones(60, int)
    expected = [np.mean(np.repeat(y, times) <= np.repeat(p, times)) for y, p in zip(truth.T, outputs.T, strict=True)]
    assert [found["targets"][name]["coverage"] for name in "ab"] == pytest.approx(expected, rel=1e-12)
    assert found["coverage"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert found["quantile"] == 0.9


@pytest.mark.parametrize("loss", ["squared_error", "huber", *D2])
def test_each_loss_has_its_own(pairs, loss):
    truth, outputs, _ = pairs
    own = {NAMES.get(loss), *(["coverage", "quantile"] if loss == "quantile" else [])} - {None}
    found = measure(truth[:, :1], outputs[:, :1], ("a",), loss=loss, **settings_of(loss))
    assert found.keys() == COMMON | own


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", D2)
def test_a_single_row_has_no_best_constant(pairs, loss):
    truth, outputs, _ = pairs
    found = measure(truth[:1], outputs[:1], ("a", "b"), loss=loss, **settings_of(loss))
    assert found["r2"] is found[NAMES[loss]] is found["targets"]["a"][NAMES[loss]] is None
    assert found.get("coverage", 0) is not None
    weights = np.zeros(60)
    weights[3] = 2
    assert measure(truth, outputs, ("a", "b"), weights, loss=loss, **settings_of(loss))[NAMES[loss]] is None


@pytest.mark.filterwarnings("error")
def test_poisson_means_of_0():
    """scikit-learn refuses them."""
    truth, outputs = np.array([[1.0], [0.0], [2.0], [1.0]]), np.array([[0.0], [0.0], [2.0], [1.0]])
    assert -np.inf < measure(truth, outputs, ("a",), loss="poisson")["d2_poisson"] < -100


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("constant", [0.0, 3.0, 0.7])
@pytest.mark.parametrize("loss", ["squared_error", *D2])
def test_a_constant_target_is_met_or_not(loss, constant, weighted):
    """scikit-learn's rule for R², whose mean may round, and for most D²; that of Poisson it divides by 0."""
    truth, outputs, weights = np.full((6, 2), constant), np.full((6, 2), constant), None
    outputs[3, 1] += 0.5
    if weighted:
        truth[5], outputs[5, 0], weights = 7.0, 9.0, np.array([1.0, 2.0, 1.0, 0.5, 1.0, 0.0])
    found = measure(truth, outputs, ("met", "not"), weights, loss=loss, **settings_of(loss))
    for name in {"r2", NAMES.get(loss, "r2")}:
        assert [found["targets"][target][name] for target in ("met", "not")] == [1, 0]
        assert found[name] == 0.5
    if constant == 3:
        theirs = metrics.r2_score if loss in ("squared_error", "poisson") else D2[loss]
        assert [theirs(truth[:5, i], outputs[:5, i]) for i in range(2)] == [1, 0]


@pytest.fixture
def rows(tmp_path, rng):
    """``rows.npz`` with counts, a second target and weights."""
    x = rng.normal(size=(120, 2))
    y = rng.poisson(np.exp(1 + 0.5 * x[:, 0])).astype(float)
    np.savez(tmp_path / "rows.npz", x=x, y=y, two=np.column_stack([y, x[:, 1]]), w=rng.integers(1, 4, 120))
    return x, y


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ("quantile --quantile 0.9", "coverage {coverage} (0.9 asked), D² {d2}"),
        ("poisson", "D² {d2}"),
        ("absolute_error", "D² {d2}"),
    ],
)
def test_a_run_and_the_evaluation_of_its_model_show_them(drawing_command, rows, monkeypatch, loss, line):
    drawn = []
    monkeypatch.setattr("mlpgpu.plots.predictions", lambda *_, **given: drawn.append(given))
    monkeypatch.setattr("mlpgpu.plots.curves", lambda *_, **__: None)
    x, y = rows
    out = drawing_command(f"--dataset rows.npz --target y --loss {loss} --run-dir run {QUICK}")[1]
    found = metrics_in(Path("run"))
    loss = loss.split()[0]
    coverage, d2 = f"{found.get('test_coverage', 0):.4f}", f"{found[f'test_{NAMES[loss]}']:.4f}"
    shown = line.format(coverage=coverage, d2=d2)
    assert re.search(rf"^Test .*, R² \S+, {re.escape(shown)} on 24 rows of rows$", out, re.MULTILINE)
    (given,) = drawn
    assert given["title"] == f"rows, 2-4-1: test {shown}"
    assert (given["loss"], given.get("quantile")) == (loss, settings_of(loss).get("quantile"))
    assert found.get("test_quantile") == settings_of(loss).get("quantile")

    out = drawing_command("run rows.npz --json", evaluate.app)[1]
    p = Model.load("run").predict(x)[:, 0]
    ours = json.loads(out)
    assert ours[NAMES[loss]] == pytest.approx(D2[loss](y, p), rel=1e-6)
    if loss == "poisson":
        assert 2 * ours["loss"] == pytest.approx(metrics.mean_poisson_deviance(y, p), rel=1e-6)
    if loss == "quantile":
        assert (ours["coverage"], ours["quantile"]) == (np.mean(y <= p), 0.9)
    shown = line.format(coverage=f"{ours.get('coverage', 0):.4f}", d2=f"{ours[NAMES[loss]]:.4f}")
    assert f", {shown} on 120 rows" in drawing_command("run rows.npz", evaluate.app)[1]


@pytest.mark.usefixtures("rows", "unrendered")
def test_folds_have_their_mean_and_spread(drawing_command, monkeypatch):
    titles = []
    monkeypatch.setattr("mlpgpu.results.run_folder.draw_tested", lambda *_, title: titles.append(title))
    line = f"--dataset rows.npz --target two --sample-weight w --loss quantile --quantile 0.25 {QUICK}"
    out = drawing_command(f"cross-validate --folds 3 --out folds {line}", commands.app)[1]
    found = metrics_in(Path("folds"))
    each = [one["test_coverage"] for one in found["by_fold"]]
    assert len(set(each)) > 1
    mean, std = np.mean(each), np.std(each)
    shown = f"coverage {mean:.4f} ± {std:.4f} (0.25 asked), D² "
    assert re.search(f"^Mean .*{re.escape(shown)}", out, re.MULTILINE)
    assert shown in titles[0]
    assert found["mean"]["test_targets"].keys() == {"two0", "two1"}
    assert np.mean([t["coverage"] for t in found["mean"]["test_targets"].values()]) == pytest.approx(mean)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_saved_estimator_is_judged_by_its_own_quantile(drawing_command, rows):
    x, y = rows
    regressor = MLPRegressor("quantile", (4,), quantile=0.9, max_iter=3, random_state=0).fit(x, y)
    regressor.save("saved.safetensors")
    found = json.loads(drawing_command("saved.safetensors rows.npz --target y --json", evaluate.app)[1])
    p = regressor.predict(x)
    assert found["quantile"] == 0.9
    assert found["loss"] == pytest.approx(metrics.mean_pinball_loss(y, p, alpha=0.9), rel=1e-12)
    assert found["d2_pinball"] == pytest.approx(metrics.d2_pinball_score(y, p, alpha=0.9), rel=1e-12)
