"""Messages for a command line that does not fit the flags of its command: what is wrong, and what to write."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from mlpgpu.errors import did_you_mean, one_line
from mlpgpu.settings.config import settings

# Word processors write these for two hyphens.
_DASHES = ("\u2013", "\u2014")


def message_of(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return what to say about `arguments`, of which Cyclopts raised `error`."""
    if isinstance(error, UnknownOptionError):
        return _unknown(error)
    if isinstance(error, UnusedCliTokensError):
        return _surplus(error, arguments)
    if isinstance(error, MissingArgumentError):
        return _missing(error)
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given more than once; keep one of them"
    (given, *_) = error.unused_tokens or [""]
    if isinstance(error, UnknownCommandError) and given.startswith("-"):
        return f"{given} has no command in front of it; write, for example, mlpgpu train {given}, or see mlpgpu --help"
    return one_line(error)


def _unknown(error: UnknownOptionError) -> str:
    given = error.token.keyword or error.token.value
    name = _name(given)
    flags = {
        _name(flag): flag for argument in error.argument_collection for flag in argument.names if flag.startswith("--")
    }
    if name not in settings() or name in flags:
        hint = did_you_mean(name, flags, written=flags.__getitem__) or "; --help lists them"
        return f"{given} is not a flag of this command{hint}"
    # Names that are similar, such as those of two fractions, need not mean the same.
    hint = did_you_mean(name, flags, 0.9, written=flags.__getitem__) or "; leave it out"
    return f"{given} is a flag of mlpgpu train, and not of this command{hint}"


def _surplus(error: UnusedCliTokensError, arguments: Sequence[str]) -> str:
    from mlpgpu.data.used import sort_of

    (given, *_) = error.unused_tokens or [""]
    takes = _parameters(error)
    before = [part for word in arguments[: arguments.index(given)] for part in _parts(word)]
    if "dataset" in takes and "--dataset" not in before and sort_of(given) is not None:
        return f"{given!r} belongs to no flag; give --dataset {given}"
    if given.startswith(_DASHES):
        return f"{given!r} begins with a dash in place of hyphens; write --{given.lstrip('-' + ''.join(_DASHES))}"
    said, known = f"{given!r} belongs to no flag; leave it out", settings()
    # The last two words in front of it: any flag and its value, or a flag without a value.
    flag, last = ["", "", *before][-2:]
    if (of := known.get(_name(last))) and of.kind is bool:
        opposite = "" if of.default is False else f", and its opposite is --no-{last.removeprefix('--')}"
        return f"{said}: {last} takes no value{opposite}"
    if (of := known.get(_name(flag))) and of.kind is str and not of.choices:
        words = [last, *takewhile(lambda word: not word.startswith("-"), arguments[arguments.index(given) :])]
        several = f", or {flag} {','.join(words)} for several" if flag == "--target" else ""
        return f"{said}, or write {flag} {shlex.quote(' '.join(words))} for one name{several}"
    return said


def _missing(error: MissingArgumentError) -> str:
    if error.keyword is not None:
        return f"{error.keyword} has no value; give one, which --help describes, or leave it out"
    words = [one.name.upper() for one in _parameters(error).values() if one.default is one.empty]
    assert error.argument is not None
    called = " ".join(["mlpgpu", *(error.command_chain or ())])
    return f"{error.argument.name.removeprefix('--')} is not given; write {called} {' '.join(words)}"


def _parameters(error: CycloptsError) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the command, by name."""
    return {} if error.target is None else inspect.signature(error.target).parameters


def _parts(word: str) -> list[str]:
    """Split ``--flag=value`` into flag and value."""
    return word.split("=", 1) if word.startswith("--") else [word]


def _name(flag: str) -> str:
    """Return the name of the setting of a flag."""
    return flag.lstrip("-").replace("-", "_")
