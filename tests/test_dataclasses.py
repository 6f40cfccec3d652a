"""Dataclasses with arrays compare by identity: NumPy has no truth value of ``==`` of two arrays."""

import ast
import re
from pathlib import Path

import mlpgpu

ARRAYS = r"(np\.)?(ndarray|Array)\b"


def compared(source):
    """Return the names of dataclasses that compare by their fields, arrays among them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            made = [ast.unparse(one) for one in node.decorator_list]
            fields = [ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
            by_fields = any(one.startswith("dataclass") and "eq=False" not in one for one in made)
            if by_fields and any(re.match(ARRAYS, field) for field in fields):
                found.append(node.name)
    return found


def test_dataclasses_with_arrays_compare_by_identity():
    files = Path(mlpgpu.__file__).parent.rglob("*.py")
    assert [name for path in files for name in compared(path.read_text("utf-8"))] == []


def test_the_scan_sees_what_it_forbids():
    body = "class A:\n    x: np.ndarray | None\n"
    given = ("", "(frozen=True)", "(eq=False)")
    assert [compared(f"@dataclass{one}\n{body}") for one in given] == [["A"], ["A"], []]
