"""What all commands share: their flags, messages and exit codes."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, CycloptsError, Group, Parameter

from mlpgpu.backends.cuda_failures import described
from mlpgpu.errors import InputError, one_line, printable
from mlpgpu.figures import as_json
from mlpgpu.files import STANDARD_INPUT
from mlpgpu.mistyped import message_of
from mlpgpu.settings.config import RUN, settings
from mlpgpu.settings.config_file import read_file
from mlpgpu.settings.setting import Setting, as_text

Command = TypeVar("Command", bound=Callable[..., int])

# Exit codes. After a signal, 128 plus its number, as in a shell.
BAD_INPUT, DIVERGED, SIGNALLED, INTERRUPTED = 2, 1, 128, 130
# Settings of what is printed; `train_command` omits them.
PRINTING = ("quiet", "json")
# Headings of --help, in the order in which the settings name them.
GROUPS = {name: Group.create_ordered(name) for name in dict.fromkeys(known.group for known in settings().values())}


def application(name: str) -> App:
    """Create the application of a command for `run_command`, which handles Ctrl-C itself."""
    return App(name=f"mlpgpu {name}", help_format="plaintext", version_flags=[], suppress_keyboard_interrupt=False)


def flag(name: str, setting: Setting) -> inspect.Parameter:
    """Return a setting as a flag of a command, whose value stays text."""
    (text, bracket, own_default), default = setting.help.partition(" [default"), setting.default
    if setting.within or setting.many or not all(choice in text for choice in setting.choices):
        text += f" ({setting.allowed()})"
    # Values stay text until Config reads them: one place checks them all.
    kind: Any = bool if setting.kind is bool else tuple[str, ...] if setting.many else str
    shown = default is not None and setting.kind is not bool
    if shown:
        default = tuple(map(as_text, default)) if setting.many else as_text(default)
    parameter = Parameter(
        name=f"--{name.replace('_', '-')}",
        help=text + bracket + own_default,
        group=GROUPS[setting.group],
        show_default=as_text if shown else False,
        negative="" if default is False else None,
        negative_iterable="",
        metavar={int: "N", float: "X", str: "WORD" if setting.choices else "TEXT", bool: None}[setting.kind],
        # At least one value: none would be an empty tuple, such as no hidden layers.
        consume_multiple=1 if setting.many else None,
    )
    # If Pydantic is imported, Cyclopts also checks the default against the type.
    kind = kind | None if default is None else kind
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, parameter]
    )


def with_file(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return what is given to a command: the `known` settings in its --config, overridden by its flags."""
    asked = {name: value for name, value in given.items() if name != "config"}
    file = read_file(given["config"], known) if "config" in given else {}
    return {name: value for name, value in file.items() if name in known} | asked


def with_flags(known: Mapping[str, Setting], **files: str) -> Callable[[Command], Command]:
    """Decorate a command with a flag per setting, and one per entry of `files`, which maps name to help text."""
    flags = [flag(name, setting) for name, setting in known.items()]
    for name, text in files.items():
        annotation = Annotated[str | None, Parameter(help=text, group=GROUPS[RUN])]
        flags.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))

    def decorated(command: Command) -> Command:
        command.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
        return command

    return decorated


def train_command(given: Mapping[str, Any]) -> str:
    """Return the command line of ``mlpgpu train`` with the settings that were given to another command."""
    words = ["mlpgpu", "train"]
    for name in ("config", *settings()):
        value, dashed = given.get(name), name.replace("_", "-")
        if value is None or name in PRINTING:
            continue
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            words += [f"--{dashed}", as_text(value)]
    return shlex.join(words)


def run_command(app: App, arguments: Sequence[str] | None = None) -> int:
    """Run a command, and turn errors of the user into one line and an exit code.

    Parameters
    ----------
    app : App
    arguments : sequence of str or None
        None for the arguments of the process.

    Returns
    -------
    int
        Exit code: 0 for success; 1 if the loss diverged; 2 for bad input, a full disk or memory, or a failed device;
        128 plus its number after a signal, which is 130 for Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    # Cyclopts would take a dash for a flag.
    arguments = [STANDARD_INPUT if word == "-" else word for word in arguments]
    _make_printing_safe()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has closed the pipe; without a redirect, the flush at exit would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as error:
        # Rich, which prints the help, turns a BrokenPipeError into this.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return 0
    except CycloptsError as error:
        complain(printable(message_of(error, arguments)))
    except InputError as error:
        complain(str(error))
    except OSError as error:
        complain(f"{error.filename or 'a file'}: {error.strerror or error}; nothing more can be written or read there")
    except MemoryError as error:
        # Python's own MemoryError has no message.
        what = ": ".join(filter(None, ("out of memory", one_line(error))))
        complain(f"{what}; lower --hidden, --batch-size or --samples")
    except RuntimeError as error:
        if (said := described(error)) is None:
            raise
        complain(said)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return BAD_INPUT


def _make_printing_safe() -> None:
    """Make printing never fail, even if a standard stream is closed or its encoding is not UTF-8."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open to the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(line: str) -> None:
    """Print in one line why the command ends."""
    # Printing fails if stderr is a file on a full disk; the exit code still tells.
    with contextlib.suppress(OSError):
        print(f"error: {line}", file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def telling(say: Callable[..., None]) -> Iterator[None]:
    """While active, pass log messages of the package to `say`: notes on slow steps, such as compiling, and warnings."""
    handler, logger = logging.Handler(), logging.getLogger("mlpgpu")
    handler.emit = lambda record: say(f"Note      {record.getMessage()}")  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def print_json(metrics: Mapping[str, Any], **folder: Path) -> None:
    """Print figures as one JSON object, along with any folder that holds them, under the name of its setting."""
    from mlpgpu.results import report

    report.Output().out(as_json({**metrics, **{name: str(path) for name, path in folder.items()}}))
