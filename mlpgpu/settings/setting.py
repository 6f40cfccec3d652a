"""Types and ranges of settings, and parsing of their values."""

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mlpgpu.errors import InputError, did_you_mean
from mlpgpu.figures import counted


@dataclass(frozen=True)
class Setting:
    """Type, range, default and help text of a setting, or type and range of an argument.

    Attributes
    ----------
    kind : type
        ``int``, ``float``, ``str`` or ``bool``; with `many`, the type of each item.
    within : str
        Interval of the allowed numbers, such as ``"[0, 1)"``; empty for no limit.
    choices : tuple of str
        The allowed words. For a number, words allowed in place of it.
    many : bool
        Whether the value is a tuple. The word ``none`` stands for the empty tuple, unless it is one of the choices.
    may_be_empty : bool
        Whether the tuple may be empty.
    default : object
    help : str
        Help text, with units.
    group : str
        Heading under which ``--help`` lists it.
    """

    kind: type
    within: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    may_be_empty: bool = True
    default: Any = None
    help: str = ""
    group: str = ""

    def allowed(self) -> str:
        """Describe the allowed values."""
        kind = {
            int: "a whole number",
            float: "a number",
            str: "a text in UTF-8, not empty, such as a name or a path",
            bool: "true or false",
        }
        number = " ".join(filter(None, [kind[self.kind], _in_words(self.within) if self.within else ""]))
        words = ", ".join(self.choices)
        allowed = words if self.choices and self.kind is str else " or ".join(filter(None, [number, words]))
        if not self.many:
            return allowed
        has_none = self.may_be_empty and "none" not in self.choices
        return f"{allowed}; several with commas{', or none' if has_none else ''}"

    def parse(self, given: Any) -> Any:
        """Convert `given`, a word from the command line or a value from a file or Python, to a value of the setting.

        Raises
        ------
        ValueError, TypeError, OverflowError
            If `given` is not allowed.
        """
        if not self.many:
            return self._item(given)
        # Items have an order, which a mapping or a set does not give.
        if isinstance(given, Mapping | Set):
            raise TypeError
        items = [given] if isinstance(given, str | numbers.Real) else list(given)
        words = [w for item in items for w in (item.split(",") if isinstance(item, str) else [item])]
        is_none = words == ["none"] and "none" not in self.choices
        found = () if is_none else tuple(self._item(word) for word in words)
        if not (found or self.may_be_empty):
            raise ValueError
        return found

    def checked(self, name: str, given: Any) -> Any:
        """Convert `given` to a value of the setting, which messages call `name`.

        Raises
        ------
        InputError
            If `given` is not allowed.
        """
        try:
            return self.parse(given)
        except (ValueError, TypeError, OverflowError):
            said = shown(given, self.many)
            words = str(said).split(",") if self.many else [str(said)]
            hint = did_you_mean(next((word for word in words if word not in self.choices), ""), self.choices)
            raise InputError(f"{name} is {said!r}; allowed: {self.allowed()}{hint}") from None

    def _item(self, given: Any) -> Any:
        word = named(given)
        if str(word) in self.choices and not isinstance(given, bool):
            return str(word)
        if (self.kind is bool) != isinstance(given, bool):
            raise ValueError
        if self.kind is bool:
            return given
        if self.kind is str:
            # A float is refused: Python may write it differently from its source, such as 1.50 as 1.5.
            if self.choices or isinstance(given, type) or not isinstance(word, str | Path | int):
                raise ValueError
            # Most texts are paths, which cannot hold a null byte. All are saved in UTF-8 files, so `encode` must work.
            if not str(word) or b"\0" in str(word).encode():
                raise ValueError
            return str(word)
        number = float(given)
        if self.kind is int:
            if not number.is_integer():
                raise ValueError
            # As a float it may be written 1e5; larger ones may not be exact.
            number = int(number) if abs(number) < 2**53 else int(given)
        if self.within and not _inside(number, self.within):
            raise ValueError
        return number


def as_text(value: Any) -> str:
    """Return the value of a setting as `Setting.parse` reads it: items separated by commas, or ``none``."""
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value)) or "none"
    # As users write it: 0 for 0.0.
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def named(given: Any) -> Any:
    """Return the name of an array library's dtype or of a PyTorch device; anything else unchanged."""
    if isinstance(given, type):
        return given.__name__
    kind = type(given)
    of_torch = kind.__module__ == "torch" and kind.__name__ in {"dtype", "device"}
    return str(given).removeprefix("torch.") if of_torch or kind.__module__ == "numpy.dtypes" else given


def shown(given: Any, many: bool = False) -> Any:
    """Format a value that is not allowed, for a message; with `many`, a sequence as on the command line."""
    if many and isinstance(given, tuple | list):
        return ",".join(str(shown(item, many)) for item in given)
    if not isinstance(given, type) and (shape := getattr(given, "shape", ())):
        return f"{type(given).__name__} of shape {shape}"
    # Such as a pair of arrays, or a data set in a dict.
    if isinstance(given, tuple | list | Mapping) and "\n" in repr(given):
        return f"{type(given).__name__} of {counted(len(given), 'item')}"
    # Python refuses to convert integers of more digits to text.
    return "a number of more than 4,300 digits" if isinstance(given, int) and given.bit_length() > 14_000 else given


def _inside(number: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    return above and below and math.isfinite(number)


def _in_words(interval: str) -> str:
    low, high = (end.strip() for end in interval[1:-1].split(","))
    above = "" if low == "-inf" else f"from {low}" if interval[0] == "[" else f"above {low}"
    if high == "inf":
        return f"{above} up" if interval[0] == "[" else above
    return f"{above} to {high}" if interval[-1] == "]" else f"{above} to below {high}"


@dataclass(frozen=True)
class Interval:
    """An interval in epochs or in seconds; never, if both are 0.

    Attributes
    ----------
    epochs : int
        Length in epochs, or 0.
    seconds : float
        Length in seconds, or 0.
    """

    epochs: int = 0
    seconds: float = 0.0

    @classmethod
    def parse(cls, given: Any, name: str) -> "Interval":
        """Parse a number of epochs such as ``5``, seconds such as ``"30s"``, or ``"none"``.

        Parameters
        ----------
        given : int or str
        name : str
            Name of the setting, for the message.

        Raises
        ------
        InputError
            If `given` is none of these.
        """
        try:
            text = str(given)
            if text == "none":
                return cls()
            if text.endswith("s"):
                return cls(seconds=Setting(float, "(0, inf)").parse(text[:-1]))
            return cls(epochs=Setting(int, "[1, inf)").parse(given))
        except (ValueError, TypeError, OverflowError):
            raise InputError(
                f"{name} is {given!r}; allowed: a whole number of epochs, such as 5, seconds, such as 60s, or none"
            ) from None

    def is_due(self, elapsed: float, epoch: int = 0) -> bool:
        """Whether the interval ends after `elapsed` seconds, or with epoch number `epoch`, counted from 1."""
        return 0 < self.seconds <= elapsed or (epoch > 0 and self.epochs > 0 and epoch % self.epochs == 0)


def setting(group: str, default: Any, help: str, choices: Iterable[str] = (), **limits: Any) -> Any:
    """Return a dataclass field with all of its `Setting` but the type, which `declared` takes from the annotation."""
    return dataclasses.field(
        default=default, metadata={"group": group, "help": help, "choices": tuple(choices), **limits}
    )


class Declared:
    """Base of a dataclass whose fields are settings: it refuses an argument that is none, with the most similar one.

    Raises
    ------
    InputError
    """

    # The dataclass has an `__init__` of its own, whose errors are Python's, and whose signature is shown.
    def __new__(cls, *unnamed: Any, **given: Any) -> Self:  # noqa: D102
        if unnamed:
            raise InputError(
                f"{cls.__name__} is given {shown(unnamed[0])!r} without the name of a setting; allowed: "
                f"settings by name, such as {cls.__name__}(dataset='digits')"
            )
        # Mypy takes the class for an instance, which has another signature of `__hash__`.
        known = declared(cls)  # type: ignore[arg-type]
        for name in given:
            if name not in known:
                hint = did_you_mean(name, known) or f"; allowed: {', '.join(known)}"
                raise InputError(f"{name} is not a setting of a {cls.__name__}{hint}")
        return super().__new__(cls)


@functools.cache
def declared(of: type) -> dict[str, Setting]:
    """Return the setting of each field of a dataclass, by name.

    Type and number of values are those of the annotation: ``str | None`` is a text, and ``tuple[int, ...]`` several
    whole numbers; of several types, the first counts.
    """
    annotations, found = typing.get_type_hints(of), {}
    for field in dataclasses.fields(of):
        kind = annotations[field.name]
        kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
        many = typing.get_origin(kind) is tuple
        kind = typing.get_args(kind)[0] if many else kind
        found[field.name] = Setting(kind, many=many, default=field.default, **field.metadata)
    return found
