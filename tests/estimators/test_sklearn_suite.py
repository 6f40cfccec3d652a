"""scikit-learn's own tests of its MLP, run against ours."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import sklearn.neural_network

SUITE = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
# The only fixture of scikit-learn's conftest that the suite needs, with its default seed.
CONFTEST = """
import pytest


@pytest.fixture
def global_random_seed():
    return 42
"""
# Tests that use private attributes.
LEFT_OUT = {
    "test_gradient": "calls the private _loss_grad_lbfgs",
    "test_learning_rate_warmstart": "reads the learning rate of the private _optimizer",
    "test_adaptive_learning_rate": "reads the learning rate of the private _optimizer",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run the suite; return the tags and messages in the report entry of each test, none for a test that passed."""
    folder = tmp_path_factory.mktemp("suite")
    text = SUITE.read_text()
    assert text.count(IMPORT) == 1
    (folder / "test_mlp.py").write_text(text.replace(IMPORT, "from mlpgpu import MLPClassifier, MLPRegressor\n"))
    (folder / "conftest.py").write_text(CONFTEST)
    # So that no pytest settings of a parent folder apply.
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert (folder / "report.xml").exists(), ran.stdout + ran.stderr
    cases = ET.parse(folder / "report.xml").iter("testcase")
    return {case.get("name"): [(part.tag, part.get("message")) for part in case] for case in cases}


def name_of(test):
    return test.partition("[")[0]


def test_all_of_scikit_learns_tests_pass_but_those_left_out(results):
    assert {name_of(test) for test in results} == set(re.findall(r"^def (test_\w+)", SUITE.read_text(), re.MULTILINE))
    assert {test: found for test, found in results.items() if found and name_of(test) not in LEFT_OUT} == {}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_those_left_out_are_there_and_fail(name, results):
    found = [parts for test, parts in results.items() if name_of(test) == name]
    assert found
    # A test that passes must not be left out.
    assert all(tag == "failure" for parts in found for tag, _ in parts or [("passed", "")])
