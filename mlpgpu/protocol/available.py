"""Methods that an estimator has only with some values of its parameters."""

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any


class Available:
    """A method that exists only while ``_check_<name>()`` of the estimator does not raise."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        if estimator is None:
            return self.method
        getattr(estimator, f"_check_{self.method.__name__}")()
        return MethodType(self.method, estimator)


class NotAvailable(AttributeError, ValueError):
    """Raised for a method that the parameters of the estimator rule out."""
