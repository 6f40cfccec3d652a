"""What the documentation and messages tell to type: the flags exist, and the settings go together."""

import ast
import re
from pathlib import Path

import pytest

from mlpgpu import commands, cross_validation, find_learning_rate, train
from mlpgpu.data import used
from mlpgpu.settings import dependent, search
from mlpgpu.settings.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# What reads the settings of a command that has those of a run.
SETTINGS = {
    train.train: Config,
    find_learning_rate.find_learning_rate: search.Search,
    cross_validation.cross_validate: cross_validation.Validation,
}
# Flags of other programs, and the word in place of a flag.
OTHERS = {"--query-gpu", "--format", "--gpus", "--logdir", "--force-reinstall", "--index-url", "--std", "--flag"}


def _on_pages():
    """Return the commands of blocks and those between backquotes, each on one line."""
    text = re.sub(r"\\\n *", "", "\n".join(page.read_text(encoding="utf-8") for page in PAGES))
    lines = re.findall(r"(?:^(?:\$ )?|`)mlpgpu ([a-z-]+ [^`\n]*)", text, re.MULTILINE)
    # A flag without its value is only its name.
    return sorted({line.partition("  #")[0].strip() for line in lines if not line.endswith("--resume")})


@pytest.mark.parametrize("line", [line for line in _on_pages() if line.split()[0] in commands.app])
def test_a_command_on_a_page(line):
    function, bound, *_ = commands.app.parse_args(line, exit_on_error=False, print_error=False)
    if function in SETTINGS:
        given = {name: value for name, value in bound.kwargs.items() if name not in {"config", "resume", "start_from"}}
        config = SETTINGS[function](**given)
        dependent.check(config)
        used.check(config)


def test_flags_that_messages_name():
    apps = [commands.app[name] for name in commands.app if not name.startswith("-")]
    known = {name for app in apps for argument in app.assemble_argument_collection() for name in argument.names}
    texts = [
        node.value
        for path in sorted((ROOT / "mlpgpu").glob("**/*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b", text)}
    assert {"--hidden", "--no-capture", "--resume"} <= named
    assert named - known - OTHERS == {"--help", "--no"}
