"""Train a multilayer perceptron: ``python -m mlpgpu.train``."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter, UnknownOptionError, UnusedCliTokensError

from mlpgpu.backends.cuda_failures import described
from mlpgpu.config import RUN, Config, settings
from mlpgpu.config_file import read_file
from mlpgpu.errors import InputError, did_you_mean, one_line, printable
from mlpgpu.figures import as_json
from mlpgpu.files import STANDARD_INPUT, expanded
from mlpgpu.resumed import as_saved
from mlpgpu.setting import Setting

if TYPE_CHECKING:
    from mlpgpu.checkpoint import Checkpoint
    from mlpgpu.workflow import Prepared

# Exit codes. After a signal, 128 plus its number, as in a shell.
BAD_INPUT, DIVERGED, SIGNALLED, INTERRUPTED = 2, 1, 128, 130
# Settings of what is printed; `command` omits them.
PRINTING = ("quiet", "json")
# Headings of --help, in the order in which the settings name them.
GROUPS = {name: Group.create_ordered(name) for name in dict.fromkeys(known.group for known, _ in settings().values())}


def train(**given: Any) -> int:
    """Train a multilayer perceptron, test it, and write a run folder.

    Flags override the settings in --config, which override the defaults.
    A run resumed with --resume keeps its settings.
    """
    from mlpgpu import run_folder
    from mlpgpu.callbacks.trackers import check_installed
    from mlpgpu.workflow import prepare

    resume, file = given.pop("resume", None), given.pop("config", None)
    if resume is None:
        config = Config(**{**(read_file(file) if file is not None else {}), **given})
        check_installed(config.log_to)
        prepared = prepare(config)
        # A run that repeats these settings needs its own folder.
        repeatable = dataclasses.replace(prepared.config, run_dir=None).to_dict()
        with run_folder.new(run_folder.RUN, config.run_dir, prepared.data.name, repeatable) as folder:
            return _run(prepared, folder)
    if file is not None or "run_dir" in given:
        raise InputError("resume brings the settings and the folder of its run; leave out config and run_dir")
    path, folder = expanded(resume), run_folder.begun(resume, run_folder.RUN)
    if path == folder and run_folder.is_complete(folder):
        if as_saved(Config, read_file(folder / run_folder.RUN.file), given).json:
            print_json(run_folder.read_metrics(folder), run_dir=folder)
        else:
            print(  # noqa: T201
                f"Complete  the run in {resume} is finished, and its results are there; to train on from its weights, "
                f"start a new run with --start-from {resume}"
            )
        return 0
    with run_folder.again(folder, path) as taken:
        config = as_saved(Config, taken.settings, given)
        check_installed(config.log_to)
        return _run(prepare(config, taken.checkpoint), folder, taken.checkpoint)


def application(name: str) -> App:
    """Create the application of a command for `run_command`, which handles Ctrl-C itself."""
    return App(name=f"mlpgpu {name}", help_format="plaintext", version_flags=[], suppress_keyboard_interrupt=False)


def flag(name: str, setting: Setting, default: Any) -> inspect.Parameter:
    """Return a setting as a flag of a command, whose value stays text."""
    text, bracket, own_default = setting.help.partition(" [default")
    if setting.within or setting.many or not all(choice in text for choice in setting.choices):
        text += f" ({setting.allowed()})"
    # Values stay text until Config reads them: one place checks them all.
    kind: Any = bool if setting.kind is bool else tuple[str, ...] if setting.many else str
    shown = default is not None and setting.kind is not bool
    if shown:
        default = tuple(map(str, default)) if setting.many else str(default)
    parameter = Parameter(
        name=f"--{name.replace('_', '-')}",
        help=text + bracket + own_default,
        group=GROUPS[setting.group],
        show_default=(lambda value: (",".join(value) or "none") if setting.many else value) if shown else False,
        negative="" if default is False or setting.kind is not bool else None,
        negative_iterable="",
        metavar={int: "N", float: "X", str: "WORD" if setting.choices else "TEXT", bool: None}[setting.kind],
        consume_multiple=setting.many,
        allow_leading_hyphen=setting.kind in {int, float} and not setting.many,
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


def signature(known: Mapping[str, tuple[Setting, Any]], **files: str) -> inspect.Signature:
    """Return the flags of a command: one per setting, and one per entry of `files`, which maps name to help text."""
    flags = [flag(name, setting, default) for name, (setting, default) in known.items()]
    for name, text in files.items():
        annotation = Annotated[str | None, Parameter(help=text, group=GROUPS[RUN])]
        flags.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation))
    return inspect.Signature(flags)


def command(given: Mapping[str, Any]) -> str:
    """Return the command line of ``mlpgpu train`` with the settings that were given to another command."""
    words = ["mlpgpu", "train"]
    for name in ("config", *settings()):
        value, dashed = given.get(name), name.replace("_", "-")
        if value is None or name in PRINTING:
            continue
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            text = ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
            words += [f"--{dashed}", text]
    return shlex.join(words)


train.__signature__ = signature(  # type: ignore[attr-defined]
    settings(),
    config="TOML or YAML file with settings",
    resume="run folder, or one of its checkpoints, to resume from",
)

app = application("train")
app.default(train)


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
    except UnusedCliTokensError as error:
        (given, *_) = error.unused_tokens or [""]
        takes_one = error.target is not None and "dataset" in inspect.signature(error.target).parameters
        meant = takes_one and not any(word.startswith("--dataset") for word in arguments)
        complain(f"{given!r} belongs to no flag; {f'give --dataset {printable(given)}' if meant else 'leave it out'}")
    except UnknownOptionError as error:
        given = printable(error.token.keyword or error.token.value)
        name = given.lstrip("-").replace("-", "_")
        if name in settings():
            complain(f"{given} is a flag of mlpgpu train, and not of this command; leave it out")
        else:
            complain(f"{given} is not a flag of this command{_flag_like(name, error)}")
    except CycloptsError as error:
        complain(one_line(error))
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


def _flag_like(name: str, error: UnknownOptionError) -> str:
    """Return the end of the message for an unknown flag: the most similar flag of the command."""
    flags = {
        flag.removeprefix("--").replace("-", "_"): flag
        for argument in error.argument_collection
        for flag in argument.names
        if flag.startswith("--")
    }
    return did_you_mean(name, flags, written=flags.__getitem__) or "; --help lists them"


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


def _run(prepared: Prepared, folder: Path, checkpoint: Checkpoint | None = None) -> int:
    from mlpgpu import report, run_folder
    from mlpgpu.callbacks import Callback, CSVLogger, JSONLogger, MLflowLogger, RunCheckpoint, TensorBoard
    from mlpgpu.callbacks.progress import EpochLines, ProgressBar
    from mlpgpu.trainer import Diverged
    from mlpgpu.workflow import train_and_test

    config, console = prepared.config, report.console()
    say: Callable[..., None] = (lambda *_: None) if config.quiet else console.print

    for part in report.opening(prepared, report.training_line(prepared), resumed=checkpoint is not None):
        say(part)

    callbacks: list[Callback] = [
        CSVLogger(folder / run_folder.HISTORY),
        JSONLogger(folder / run_folder.HISTORY_LINES),
    ]
    if "tensorboard" in config.log_to:
        callbacks.append(TensorBoard(folder / run_folder.TENSORBOARD))
    if "mlflow" in config.log_to:
        callbacks.append(MLflowLogger(run_name=folder.name))
    if not config.quiet:
        callbacks.append(ProgressBar() if console.is_terminal else EpochLines(config.log_every, console.out))
    callbacks.append(RunCheckpoint(folder / run_folder.CHECKPOINTS, config.checkpoint_every))
    if checkpoint is not None:
        say(f"Resumed   after {checkpoint.where()} of {folder}")
    try:
        with telling(say):
            outcome = train_and_test(prepared, callbacks, resume=checkpoint)
    except Diverged as error:
        complain(f"{error}; its history is in {folder}")
        return DIVERGED
    missing = run_folder.write(folder, outcome)
    if config.json:
        print_json(outcome.metrics, run_dir=folder)
    else:
        for line in report.result_lines(outcome):
            console.print(line)
        for table in report.tables(outcome.metrics.get("test_targets", {}), outcome.confusion, outcome.model.classes):
            console.print(table)
        for line in (*missing, f"Saved     {folder}"):
            console.print(line)
        if outcome.run.stopped and not outcome.run.final:
            console.print(f"Resume    go on with it by mlpgpu train --resume {folder}")
    if outcome.run.diverged:
        complain(f"{outcome.run.diverged}; the weights of epoch {outcome.run.best_epoch} are in {folder}")
        return DIVERGED
    return SIGNALLED + outcome.run.signal if outcome.run.signal else 0


def print_json(metrics: Mapping[str, Any], **folder: Path) -> None:
    """Print figures as one JSON object, along with the folder that holds them, under the name of its setting."""
    from mlpgpu import report

    report.console().out(as_json({**metrics, **{name: str(path) for name, path in folder.items()}}))


def main() -> None:
    """Entry point of ``python -m mlpgpu.train``."""
    sys.exit(run_command(app))


if __name__ == "__main__":
    main()
