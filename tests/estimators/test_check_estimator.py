"""scikit-learn's estimator checks, and agreement with its signatures, tags and parameter constraints."""

import dataclasses
import inspect

import check_grid
import numpy as np
import pytest
from sklearn import neural_network
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils._param_validation import (
    InvalidParameterError,
    StrOptions,
    generate_invalid_param_val,
    generate_valid_param,
    make_constraint,
    validate_parameter_constraints,
)

KINDS = check_grid.KINDS
THEIRS = {"classifier": neural_network.MLPClassifier, "regressor": neural_network.MLPRegressor}
# The slow ones run in scripts/estimator_checks.py only.
CHECKED_HERE = [
    ("defaults", "classifier"),
    ("defaults", "regressor"),
    ('solver="lbfgs"', "classifier"),
    ("early_stopping=True, validation_fraction=0.5", "classifier"),
    ("dropout=0.2", "regressor"),
]


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger than sample size:UserWarning")
@pytest.mark.parametrize(("setting", "kind"), CHECKED_HERE)
def test_scikit_learns_checks_pass(setting, kind):
    estimator = KINDS[kind](**check_grid.GRID[setting])
    results = check_grid.run_checks(estimator)
    by_status = {
        status: {result["check_name"] for result in results if result["status"] == status}
        for status in ("passed", "failed", "xfail", "skipped")
    }
    assert {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"} == {}
    # Exactly these, so that the declared failures stay true.
    assert by_status["xfail"] == set(check_grid.expected_failures(estimator))
    # Libraries and devices that are not present, and a method that scikit-learn's MLPClassifier lacks too.
    assert by_status["skipped"] <= {
        "check_array_api_input",
        "check_array_api_mixed_inputs",
        "check_classifiers_multilabel_output_format_decision_function",
    }
    assert "check_array_api_input" in by_status["passed"]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_param_validation,
        estimator_checks.check_dataframe_column_names_consistency,
        estimator_checks.check_n_features_in_after_fitting,
        estimator_checks.check_all_zero_sample_weights_error,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learns_common_tests_pass(check, kind, early_stopping):
    """The checks of scikit-learn's own estimators; its MLP with early stopping is exempt from that of column names."""
    estimator = KINDS[kind](max_iter=5, n_iter_no_change=1, early_stopping=early_stopping)
    check(type(estimator).__name__, estimator)


@pytest.mark.parametrize("kind", KINDS)
def test_tags_are_scikit_learns_but_for_other_arrays(kind):
    ours, theirs = (get_tags(kinds[kind]()) for kinds in (KINDS, THEIRS))
    assert ours.array_api_support
    assert dataclasses.replace(ours, array_api_support=theirs.array_api_support) == theirs


def parameters(function):
    """Return the name, kind and default of each parameter."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructor_begins_with_scikit_learns(kind):
    ours, theirs = (parameters(kinds[kind]) for kinds in (KINDS, THEIRS))
    assert ours[: len(theirs)] == theirs
    assert {how for _, how, _ in ours[len(theirs) :]} == {KEYWORD_ONLY}


@pytest.mark.parametrize("kind", KINDS)
def test_methods_take_what_scikit_learns_take(kind):
    names = [name for name, _ in inspect.getmembers(THEIRS[kind], callable) if not name.startswith("_")]
    assert {"fit", "partial_fit", "predict", "score", "set_params", "set_fit_request"} <= set(names)
    for name in names:
        ours, theirs = (parameters(getattr(kinds[kind], name)) for kinds in (KINDS, THEIRS))
        positional = [parameter for parameter in theirs if parameter[1] != KEYWORD_ONLY]
        assert ours[: len(positional)] == positional, name
        assert {how for _, how, _ in ours[len(positional) :]} <= {KEYWORD_ONLY}, name
        assert set(theirs) <= set(ours), name


SHARED = [(kind, name) for kind in KINDS for name in THEIRS[kind]._parameter_constraints]


def constraints(estimator, name):
    return [make_constraint(constraint) for constraint in estimator._parameter_constraints[name]]


def rules(found):
    """Return constraints in a form that can be compared: the options of a constraint have no fixed order."""
    return {frozenset(one.options) if isinstance(one, StrOptions) else str(one) for one in found}


def made_up(kind, name, generate):
    """Yield the values that scikit-learn generates for its constraints on a parameter."""
    for constraint in constraints(THEIRS[kind], name):
        try:
            yield generate(constraint)
        except NotImplementedError:
            continue


@pytest.mark.parametrize(("kind", "name"), SHARED)
def test_shared_parameters_take_what_scikit_learns_take(kind, name):
    ours, theirs = (constraints(kinds[kind], name) for kinds in (KINDS, THEIRS))
    if name in {"activation", "loss"}:
        # Ours accept more names, and the user's functions.
        assert theirs[0].options < ours[0].options
    else:
        assert rules(ours) == rules(theirs)
    for value in made_up(kind, name, generate_valid_param):
        validate_parameter_constraints(KINDS[kind]._parameter_constraints, {name: value}, "here")


@pytest.mark.parametrize(("kind", "name"), SHARED)
def test_shared_parameters_refuse_what_scikit_learns_refuse(kind, name):
    for bad in [*made_up(kind, name, generate_invalid_param_val), object()]:
        for kinds in (KINDS, THEIRS):
            # Only fit refuses it: a search may set one parameter after the other.
            assert kinds[kind](**{name: bad}).get_params()[name] is bad
            estimator = kinds[kind]().set_params(**{name: bad})
            with pytest.raises(InvalidParameterError, match=f"^The '{name}' parameter of {kinds[kind].__name__} must"):
                estimator.fit(np.eye(4), [0, 1, 0, 1])
