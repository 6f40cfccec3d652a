"""What a fitted estimator shows: its hidden activations, its summary, its parameters and names of features."""

import numpy as np
import pytest
from quick import THREE, X, classifier
from scipy import special
from sklearn.base import clone

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_hidden_activations_are_a_forward_pass_by_hand():
    fitted = classifier(activation=["tanh", "logistic"]).fit(X, THREE)
    first = np.tanh(X @ fitted.coefs_[0] + fitted.intercepts_[0])
    second = special.expit(first @ fitted.coefs_[1] + fitted.intercepts_[1])
    np.testing.assert_allclose(fitted.hidden_activations(X, 0), first, rtol=1e-12)
    np.testing.assert_allclose(fitted.hidden_activations(X), second, rtol=1e-12)
    np.testing.assert_array_equal(fitted.hidden_activations(X, np.array(-2)), fitted.hidden_activations(X, 0))
    for other in (-3, 10**30, 0.0, "0", slice(1), np.array([0])):
        with pytest.raises(ValueError, match=r"^layer is .* allowed: -2 to 1\.$"):
            fitted.hidden_activations(X, other)
    with pytest.raises(ValueError, match="layer is 2, and the network has 2 hidden layers; allowed: -2 to 1"):
        fitted.hidden_activations(X, 2)
    with pytest.raises(ValueError, match="layer is 'last', and the network has 2 hidden layers; allowed: -2 to 1"):
        fitted.hidden_activations(X, "last")


def test_a_summary_adds_up():
    summary = classifier(activation=["tanh", "gelu"]).fit(X, THREE).summary()
    # As a prompt and a notebook show it.
    assert repr(summary) == str(summary)
    lines = summary.splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[2:]]
    assert counts[-1] == sum(counts[:-1]) == 4 * 8 + 8 + 8 * 5 + 5 + 5 * 3 + 3
    assert [line.split()[-2] for line in lines[2:5]] == ["tanh", "gelu", "softmax"]


def test_names_of_features():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame(X, columns=list("abcd"))
    fitted = classifier(early_stopping=True, scoring="roc_auc_ovr").fit(table, THREE, X_val=table, y_val=THREE)
    assert fitted.feature_names_in_.tolist() == list("abcd")
    assert fitted.score(table, THREE) == (fitted.predict(table) == THREE).mean()
    for other in (table[list("bacd")], table.rename(columns={"a": "e"})):
        with pytest.raises(ValueError, match="feature names should match"):
            fitted.predict(other)
        with pytest.raises(ValueError, match="feature names should match"):
            classifier().fit(table, THREE, X_val=other, y_val=THREE)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(X)


def test_html_and_parameters():
    assert "MLPClassifier" in classifier()._repr_html_()
    assert clone(classifier(dropout=0.3)).get_params()["dropout"] == 0.3
    requests = classifier().get_metadata_routing()
    assert set(requests.fit.requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val", "resume"}
