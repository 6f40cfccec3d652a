import pytest

from mlpgpu.fusion import compiled, loop
from mlpgpu.fusion.loops import NotCompiled

NUMBA = pytest.param(
    "numba", marks=pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed: nothing is compiled")
)


@pytest.fixture(autouse=True, scope="session")
def _compiled_elsewhere(tmp_path_factory):
    """Leave the user's cache of compiled functions alone."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "folder", lambda: folder)
        yield


@pytest.fixture(params=["numpy", NUMBA])
def way(request):
    """Each way to run a step but eagerly."""
    return request.param


@pytest.fixture
def sources(monkeypatch):
    """Sources that would be compiled, in a list; steps run by NumPy calls instead."""
    pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")
    kept = []

    def refuse(text):
        kept.append(text)
        raise NotCompiled("kept")

    monkeypatch.setattr(loop, "function_of", refuse)
    return kept
