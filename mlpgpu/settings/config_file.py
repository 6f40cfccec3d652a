"""Read settings from a TOML or YAML file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mlpgpu.errors import InputError, did_you_mean, one_line
from mlpgpu.files import ending, expanded
from mlpgpu.settings.config import settings

# Ample for some fifty settings. The time of both parsers grows with the square of the nesting depth.
_MAX_BYTES = 2**14


def read_file(path: str | Path, more: Collection[str] = ()) -> dict[str, Any]:
    """Read the settings in a TOML or YAML file, by name.

    Hyphens and underscores in names are equivalent.

    Parameters
    ----------
    path : path
    more : collection of str
        Names of settings allowed in addition to those of a run.

    Raises
    ------
    InputError
        If the file cannot be read or names an unknown setting.
    """
    path = expanded(path)
    text = _text(path)
    if path.suffix not in _PARSERS:
        raise InputError(f"config file {path} {ending(path)}; allowed: {', '.join(_PARSERS)}")
    language, parse, line = _PARSERS[path.suffix]
    try:
        content = parse(text)
    # Malicious text can raise errors that are not the parsers' own, such as RecursionError.
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise InputError(f"config file {path} is not valid {language}, of lines such as {line}: {reason}") from None
    if not isinstance(content, Mapping):
        raise InputError(f"config file {path} holds no settings; write lines such as {line}")
    names = {*settings(), *more}
    given: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in names:
            hint = did_you_mean(name, names) or "; --help lists the settings"
            raise InputError(f"config file {path} sets {name!r}, which is not a setting{hint}")
        if name in given:
            raise InputError(f"config file {path} sets {name} twice; keep one of them")
        given[name] = value
    return given


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            read = file.read(_MAX_BYTES + 1)
        if len(read) > _MAX_BYTES:
            raise InputError(
                f"config file {path} has more than {_MAX_BYTES:,} bytes; allowed: settings and comments of that size; "
                "leave out the rest"
            )
        return read.decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read the config file {path}: {error.strerror}; give a file of settings, such as config.toml of a "
            "run"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read the config file {path}: it is not UTF-8 text") from None


def _toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def _yaml(text: str) -> Any:
    import yaml

    # Nested aliases can expand a few lines beyond any memory ("billion laughs").
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
        raise ValueError("it has an alias; write the value again")
    root = yaml.compose(text, yaml.SafeLoader)
    names = [key.value for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    # The parser would silently keep the last of repeated keys.
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"it sets {twice[0]} twice; keep one of them")
    return yaml.safe_load(text) or {}


# Ending -> language, parser, and a line with a text, which only TOML quotes.
_PARSERS = {".toml": ("TOML", _toml, 'dataset = "iris"')}
_PARSERS |= dict.fromkeys((".yaml", ".yml"), ("YAML", _yaml, "dataset: iris"))
