"""Code in docs/models.md does what the page says, where needed without mlpgpu."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpgpu import MLPClassifier, commands, train

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
BLOCKED = """
import sys
class Blocked:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "mlpgpu":
            raise ImportError("mlpgpu is blocked")
sys.meta_path.insert(0, Blocked)
"""


def block(words):
    """Return the only block of code with these words."""
    (found,) = (code for code in BLOCKS if words in code)
    return found


def test_images_that_a_model_gets_wrong(tmp_path, monkeypatch, capsys):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    monkeypatch.chdir(tmp_path)
    scope = {"np": np}
    exec(block("flatnonzero"), scope)
    outcome, said = scope["outcome"], capsys.readouterr().out.splitlines()
    accuracy = outcome.metrics["test_accuracy"]
    assert len(said) == len(scope["images"]) == round((1 - accuracy) * len(outcome.truth)) > 0
    pairs = zip(outcome.truth, outcome.predictions, strict=True)
    assert [line.split(" with ")[0] for line in said] == [f"{a}, taken for {b}" for a, b in pairs if a != b]
    outcome.model.save("model.safetensors")
    first = scope["images"][0].astype(np.uint8)
    image.fromarray(first).save("three.png")
    exec(block("Image.open").replace("runs/mnist-20260101-120000", "model.safetensors"), scope)
    assert capsys.readouterr().out == f"{outcome.model.predict_proba(first.reshape(1, 64))}\n"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Variables of the first block, after it has written ``digits.safetensors`` and ``rows.npy``."""
    monkeypatch.chdir(tmp_path)
    scope = {}
    with pytest.warns(UserWarning, match="Maximum iterations"):
        exec(block("classifier.save"), scope)
    return scope


def run_alone(code):
    """Return the probabilities that a block computes in a process without mlpgpu."""
    code = BLOCKED + code + "\nnp.save('p.npy', probabilities)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return np.load("p.npy")


def test_what_is_blocked_is_not_there():
    with pytest.raises(AssertionError, match="is blocked"):
        run_alone("import mlpgpu")


def test_an_estimator_comes_back(saved):
    exec(block("MLPClassifier.load"), saved)
    assert saved["again"] is not saved["classifier"]


def test_ten_lines_of_numpy(saved):
    code = block("known[")
    assert code.count("\n") < 18
    expected = saved["classifier"].predict_proba(np.load("rows.npy"))
    np.testing.assert_allclose(run_alone(code), expected, rtol=1e-5)


def test_onnxruntime(saved):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    assert train.run_command(commands.app, ["export", "digits.safetensors", "--to", "onnx"]) == 0
    code = block("onnxruntime.InferenceSession") + "\nassert label.tolist() == [0, 1, 2, 3, 4]"
    expected = saved["classifier"].predict_proba(np.load("rows.npy"))
    np.testing.assert_allclose(run_alone(code), expected, rtol=0, atol=1e-6)


def test_skops(saved):
    pytest.importorskip("skops.io", reason="skops is not installed")
    exec(block("skops.io.dump"), saved)
    assert saved["unknown"] == ["mlpgpu.estimators.classifier.MLPClassifier", "mlpgpu.protocol.labels.Labels"]
    assert type(saved["again"]) is MLPClassifier
