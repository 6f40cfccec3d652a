"""Importing the package loads no array library; each library is loaded when it is first needed."""

import subprocess
import sys

import pytest

import mlpgpu

HEAVY = {"numpy", "cupy", "torch", "jax", "sklearn", "pandas", "matplotlib", "scipy", "safetensors", "rich", "yaml"}


def loaded_by(code):
    """Return the heavy libraries that a fresh interpreter has loaded after `code`."""
    code += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import mlpgpu; mlpgpu.__version__; dir(mlpgpu)",
        "import mlpgpu; mlpgpu.InputError",
        "import mlpgpu; mlpgpu.Config(hidden='8,4').to_dict()",
        "import mlpgpu.__main__, mlpgpu.commands",
        "import mlpgpu.backends, mlpgpu.callbacks, mlpgpu.files",
        "from mlpgpu.training import dropout, initial, interrupt",
    ],
)
def test_no_library_is_loaded_before_it_is_needed(code):
    assert loaded_by(code) == set()


def test_the_data_are_there_for_the_asking():
    assert "pandas" not in loaded_by("import mlpgpu; mlpgpu.data.read_features")


def test_the_scan_sees_what_it_forbids():
    assert "numpy" in loaded_by("import mlpgpu.backends.numpy")


@pytest.mark.parametrize("name", ["cupy", "torch", "jax", "matplotlib", "pandas"])
def test_choosing_the_cpu_loads_no_other_library(name):
    assert name not in loaded_by("import mlpgpu.workflow; from mlpgpu import backends; backends.select('cpu')")


def test_every_public_name_is_there():
    assert set(mlpgpu.__all__) <= set(dir(mlpgpu))
    for name in mlpgpu.__all__:
        assert getattr(mlpgpu, name).__name__ == name
        assert getattr(mlpgpu, name).__doc__
    assert issubclass(mlpgpu.InputError, ValueError)
    from mlpgpu.workflow import train_and_test

    assert mlpgpu.train_and_test is train_and_test


def test_the_version_is_that_of_the_distribution():
    from importlib import metadata

    try:
        assert metadata.version("mlpgpu") == mlpgpu.__version__
    except metadata.PackageNotFoundError:
        pytest.skip("mlpgpu is used from its folder, not installed")


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'mlpgpu' has no attribute 'nothing'"):
        mlpgpu.nothing  # noqa: B018
    assert not hasattr(mlpgpu, "__wrapped__")
