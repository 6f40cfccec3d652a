"""maths/ is pure: it imports nothing that depends on an array library or a device."""

import ast
from pathlib import Path

import pytest

import mlpgpu.maths

ALLOWED = {"math", "typing", "collections.abc", "dataclasses", "functools", "itertools"}
FILES = sorted(Path(mlpgpu.maths.__file__).parent.glob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_only_the_allowed(path):
    modules = set(imported(ast.parse(path.read_text())))
    assert {m for m in modules if m not in ALLOWED and not m.startswith("mlpgpu.maths")} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_changes_nothing_and_reads_no_value(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assert not any(isinstance(target, ast.Subscript) for target in targets), ast.unparse(node)
        if isinstance(node, ast.Call):
            assert not any(keyword.arg == "out" for keyword in node.keywords), ast.unparse(node)
            if isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {"item", "tolist", "__array__"}, ast.unparse(node)


def test_the_scan_sees_what_it_forbids():
    assert list(imported(ast.parse("import numpy as np\nfrom cupy import x"))) == ["numpy", "cupy"]
    assert len(FILES) >= 8
