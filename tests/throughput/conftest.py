import pytest
from clocked import Machine


@pytest.fixture
def machine(monkeypatch):
    """``machine(cpu=(1, 0.1))`` puts simulated devices in place of those of this machine, and returns them."""
    return lambda **costs: Machine(**costs).install(monkeypatch)
