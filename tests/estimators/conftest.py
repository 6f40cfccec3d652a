import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture
def one_thread():
    """Limit BLAS to one thread: more do not speed up products this small, and wait for each other under load."""
    with threadpool_limits(1):
        yield
