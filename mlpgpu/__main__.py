"""The console script ``mlpgpu``, also run by ``python -m mlpgpu``."""

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        # These take a tenth of a second, in which Ctrl-C may come.
        from mlpgpu.command_line import run_command
        from mlpgpu.commands import app

        code = run_command(app)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
