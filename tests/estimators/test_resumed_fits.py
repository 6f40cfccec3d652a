"""Fits that are stopped, then resumed from a checkpoint."""

import json

import numpy as np
import pytest
from quick import THREE as Y
from quick import X_REG, Y_REG, X
from safetensors.numpy import save_file
from unsealed import unsealed

from mlpgpu import InputError, MLPClassifier, MLPRegressor
from mlpgpu.callbacks import LambdaCallback, RunCheckpoint, TimeLimit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


WAYS = {
    "defaults": {},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 200},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 2, "tol": 0.05},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "dropout": {"dropout": 0.3, "optimizer": "lion", "learning_rate_init": 0.01},
    "by layer": {"hidden_layer_sizes": (8, 5), "dropout": (0.3, 0.1), "normalization": ("none", "batch")},
    "replacement": {"replacement": True, "optimizer": "adamw"},
    "in order": {"shuffle": False},
}


class Fails(Exception):
    pass


def fails_in(epoch):
    def after(run, done, losses):
        if run.epoch == epoch:
            raise Fails

    return LambdaCallback(on_steps=after)


def estimator(kind, way, callbacks=()):
    given = {"hidden_layer_sizes": (8,), "max_iter": 12, "random_state": 3, "batch_size": 20, **WAYS[way]}
    return kind(**given, callbacks=list(callbacks))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_fit_is_resumed_to_the_bit(tmp_path, monkeypatch, kind, way):
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    x, y = (X, Y) if kind is MLPClassifier else (X_REG, Y_REG)
    whole = estimator(kind, way).fit(x, y)
    with pytest.raises(Fails):
        estimator(kind, way, [RunCheckpoint(tmp_path, every=2), fails_in(4)]).fit(x, y)
    again = estimator(kind, way).fit(x, y, resume=tmp_path)
    for ours, theirs in zip([*again.coefs_, *again.intercepts_], [*whole.coefs_, *whole.intercepts_], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in ("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert getattr(again, name) == getattr(whole, name), name
    assert whole.n_iter_ > 4


@pytest.mark.parametrize("way", ["defaults", "early stopping", "dropout"])
@pytest.mark.parametrize("random_state", [None, np.random.RandomState], ids=["none", "generator"])
def test_a_fit_without_a_seed_is_resumed_to_the_bit_and_once_more(tmp_path, monkeypatch, way, random_state):
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")

    def drawn_from(seed, callbacks=()):
        np.random.seed(seed)  # noqa: NPY002
        given = {"random_state": random_state and random_state(seed), "n_iter_no_change": 20}
        return estimator(MLPClassifier, way, callbacks).set_params(**given)

    whole = drawn_from(5).fit(X, Y)
    with pytest.raises(Fails):
        drawn_from(5, [RunCheckpoint(tmp_path, every=2), fails_in(4)]).fit(X, Y)
    for seed, epoch in ((6, 6), (7, 9)):
        with pytest.raises(Fails):
            drawn_from(seed, [RunCheckpoint(tmp_path, every=2), fails_in(epoch)]).fit(X, Y, resume=tmp_path)
    again = drawn_from(8)
    if random_state:
        # It draws two at once.
        again.random_state.normal()
    last = again.random_state and again.random_state.get_state(legacy=False)["gauss"]
    again.fit(X, Y, resume=tmp_path)
    np.testing.assert_array_equal(again.coefs_[0], whole.coefs_[0])
    assert again.loss_curve_ == whole.loss_curve_
    if random_state:
        assert again.random_state.normal() == last
        # A later fit goes on with the user's generator.
        assert again.random_state.random() == whole.random_state.random()
    other = drawn_from(8).fit(X, Y)
    assert other.loss_curve_ != whole.loss_curve_


def rewritten(folder, change):
    """Rewrite the checkpoint in a folder with a changed record of its random generator, and without the digest."""
    path = folder / "last.safetensors"
    tensors, whole = unsealed(path)
    change(whole["estimator"])
    save_file(tensors, path, {"mlpgpu": json.dumps(whole)})


@pytest.mark.parametrize(
    "known",
    [
        3,
        {},
        {"key": [1] * 624},
        {"key": [1] * 624, "position": 10**6},
        {"key": [1] * 624, "position": -1},
        {"key": [1] * 623, "position": 1},
        {"key": [-1] * 624, "position": 1},
        {"key": "1", "position": 1},
    ],
)
def test_what_is_no_generator(tmp_path, known):
    with pytest.raises(Fails):
        estimator(MLPClassifier, "defaults", [RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(X, Y)
    rewritten(tmp_path, lambda estimator: estimator.update(drawn_from=known))
    with pytest.raises(InputError, match="the checkpoint is damaged: it holds no random generator"):
        estimator(MLPClassifier, "defaults").fit(X, Y, resume=tmp_path)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(np.random.PCG64(3))])
def test_a_checkpoint_without_the_random_generator_of_its_fit(tmp_path, random_state):
    """Checkpoints of earlier versions, and of runs with other kinds of generators."""
    unseeded = estimator(MLPClassifier, "defaults").set_params(random_state=random_state)
    with pytest.raises(Fails):
        unseeded.set_params(callbacks=[RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(X, Y)
    rewritten(tmp_path, lambda estimator: estimator.pop("drawn_from", None))
    with pytest.raises(ValueError, match="random_state is .* does not hold the random generator of its fit; start"):
        unseeded.set_params(callbacks=None).fit(X, Y, resume=tmp_path)


def test_a_time_limit_and_a_day_later(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPGPU_LOOP", "numpy")
    whole = estimator(MLPClassifier, "defaults").fit(X, Y)
    stopped = estimator(MLPClassifier, "defaults", [TimeLimit(1e-9), RunCheckpoint(tmp_path, every="none")]).fit(X, Y)
    assert stopped.n_iter_ == 1
    again = estimator(MLPClassifier, "defaults").fit(X, Y, resume=tmp_path / "last.safetensors")
    np.testing.assert_array_equal(again.coefs_[0], whole.coefs_[0])
    assert again.n_iter_ == whole.n_iter_


@pytest.mark.parametrize(
    ("way", "given", "says"),
    [
        (
            "defaults",
            {"hidden_layer_sizes": (9,)},
            r"hidden_layer_sizes is \(9,\), and the run to resume has \(8,\)",
        ),
        ("defaults", {"activation": "tanh"}, "activation is 'tanh', and the run to resume has 'relu'"),
        ("defaults", {"solver": "sgd"}, "solver is 'sgd', and the run to resume has 'adam'"),
        ("defaults", {"learning_rate_init": 0.5}, r"learning_rate_init is 0\.5"),
        ("defaults", {"max_iter": 13}, "max_iter is 13, and the run to resume has 12"),
        ("defaults", {"learning_rate_schedule": "cosine"}, "learning_rate_schedule is 'cosine', and the run .* None"),
        ("defaults", {"shuffle": False}, "shuffle is False"),
        ("defaults", {"tol": 0.5}, r"tol is 0\.5"),
        ("defaults", {"random_state": np.random.RandomState(3)}, "random_state is RandomState.*has 3; give what"),
        ("defaults", {"solver": "lbfgs"}, "resume needs a solver that goes in steps"),
    ],
)
def test_what_does_not_fit(tmp_path, way, given, says):
    with pytest.raises(Fails):
        estimator(MLPClassifier, way, [RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(X, Y)
    with pytest.raises(ValueError, match=says):
        estimator(MLPClassifier, way).set_params(**given).fit(X, Y, resume=tmp_path)


def test_what_may_differ(tmp_path):
    with pytest.raises(Fails):
        estimator(MLPClassifier, "defaults", [RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(X, Y)
    again = estimator(MLPClassifier, "defaults").set_params(device="cpu", backend="numpy", warm_start=True)
    assert again.fit(X, Y, resume=tmp_path).n_iter_ == 12


def test_other_rows_and_no_checkpoint(tmp_path):
    with pytest.raises(Fails):
        estimator(MLPClassifier, "defaults", [RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(X, Y)
    with pytest.raises(InputError, match="training rows are not those of the checkpoint: targets is"):
        estimator(MLPClassifier, "defaults").fit(X, Y[::-1], resume=tmp_path)
    with pytest.raises(InputError, match="class number 0 is 1, and in the run to resume it is 0;"):
        estimator(MLPClassifier, "defaults").fit(X, Y + 1, resume=tmp_path)
    with pytest.raises(InputError, match=r"class number 0 is 0\.0, and in the run to resume it is 0;"):
        estimator(MLPClassifier, "defaults").fit(X, Y.astype(float), resume=tmp_path)
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        estimator(MLPClassifier, "defaults").fit(X, Y, resume=tmp_path / "none")


@pytest.mark.parametrize("began", [True, False], ids=["names", "no names"])
def test_features_under_other_names(tmp_path, began):
    """The names of the fit that goes on would become those of the model."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no tables")
    named = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    given, other = (named, X) if began else (X, named)
    with pytest.raises(Fails):
        estimator(MLPClassifier, "defaults", [RunCheckpoint(tmp_path, every=1), fails_in(2)]).fit(given, Y)
    ours, theirs = ("None", "'f0'") if began else ("'f0'", "None")
    with pytest.raises(InputError, match=f"feature number 0 is {ours}, and in the run to resume it is {theirs};"):
        estimator(MLPClassifier, "defaults").fit(other, Y, resume=tmp_path)
    again = estimator(MLPClassifier, "defaults").fit(given, Y, resume=tmp_path)
    assert hasattr(again, "feature_names_in_") == began
