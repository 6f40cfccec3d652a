"""The console script ``mlpgpu``, also run by ``python -m mlpgpu``."""

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        # Imported here, since Ctrl-C during the imports is as silent as later.
        from mlpgpu.command_line import run_command
        from mlpgpu.commands import app

        code = run_command(app)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)  # noqa: T201
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
