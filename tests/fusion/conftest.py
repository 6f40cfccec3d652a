import pytest

from mlpgpu.fusion import compiled

NUMBA = pytest.param(
    "numba", marks=pytest.mark.skipif(not compiled.has_numba(), reason="numba is not installed: nothing is compiled")
)


@pytest.fixture(autouse=True, scope="session")
def _compiled_elsewhere(tmp_path_factory):
    """What is compiled here leaves the user's folder alone."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "folder", lambda: folder)
        yield


@pytest.fixture(params=["numpy", NUMBA])
def way(request):
    """Each way but that of line by line."""
    return request.param
