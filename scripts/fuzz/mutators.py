"""Mutations inside data that is protected by a checksum, compression or a length prefix."""

import copy
import gzip
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

ODD = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**18,
    10**400,
    1e308,
    float("nan"),
    "",
    "a",
    "\ud800",
    "\n",
    [],
    [[]],
    {},
    "relu",
)
ODD_SHAPES = (b"(12, 2)", b"(2, 12)", b"(24,)", b"()", b"(-1, 2)", b"(0, 2)", b"(1000000000000, 2)", b"(True, 24)")
ODD_TYPES = (
    b"'<f8'",
    b"'>f4'",
    b"'|O'",
    b"'<U6'",
    b"'|S8'",
    b"'<M8[s]'",
    b"'|b1'",
    b"'<c16'",
    b"'|V8'",
    b"[('a', '<f8')]",
)


def gzipped(data: bytes, most: int, seed: int) -> bytes:
    """Mutate gzipped data, or the data that it contains."""
    chance = random.Random(seed)
    if data[:2] != b"\x1f\x8b" or chance.random() < 0.3:
        return _mutate(data, most)
    try:
        inner = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return _mutate(data, most)
    return gzip.compress(_mutate(inner, most), 1)[:most]


def npz(data: bytes, most: int, seed: int) -> bytes:
    """Mutate an .npz archive, or an array in it: its bytes, its name, or the shape or dtype in its header."""
    chance = random.Random(seed)
    if chance.random() < 0.2:
        return _mutate(data, most)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = chance.choice(list(members))
    except Exception:
        # An earlier mutation damaged the archive.
        return _mutate(data, most)
    way, member = chance.random(), members[name]
    if way < 0.3:
        members[name] = _replaced(member, b"'shape': ", b", }", ODD_SHAPES, chance)
    elif way < 0.6:
        members[name] = _replaced(member, b"'descr': ", b", 'fortran", ODD_TYPES, chance)
    elif way < 0.7:
        members[chance.choice(("x.npy", "y.npy", "x", "../x.npy", "x_test.npy"))] = members.pop(name)
    else:
        members[name] = _mutate(member, most)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, archive.compression)
    return file.getvalue()[:most]


def described(data: bytes, most: int, seed: int) -> bytes:
    """Mutate a safetensors file: its bytes, its header, or a value in the JSON description in its metadata."""
    chance = random.Random(seed)
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        (key, description), *_ = header["__metadata__"].items()
        tree = json.loads(description)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _mutate(data, most)
    way = chance.random()
    if way < 0.15:
        return _mutate(data, most)
    # Without the digest, the content is not checked against it.
    if isinstance(tree, dict) and tree.pop("digest", None):
        header["__metadata__"][key] = description = json.dumps(tree)
    if way < 0.3:
        text = _mutate(json.dumps(header).encode(), most)
    elif way < 0.4:
        header["__metadata__"][key] = _mutate(description.encode(), most).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    elif way < 0.5:
        _change(header, chance)
        text = json.dumps(header).encode()
    else:
        _change(tree, chance)
        header["__metadata__"][key] = json.dumps(tree)
        text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return (len(text).to_bytes(8, "little") + text + data[8 + length :])[:most]


def _change(tree: Any, chance: random.Random) -> None:
    """Replace, delete or duplicate a random value of a JSON tree."""
    places: list[tuple[Any, Any]] = []
    seen = [tree]
    while seen:
        part = seen.pop()
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        places += ((part, key) for key in keys)
        seen += (part[key] for key in keys)
    if not places:
        return
    part, key = chance.choice(places)
    ways: list[Callable[[], Any]] = [
        lambda: part.__setitem__(key, chance.choice(ODD)),
        lambda: part.__setitem__(key, copy.deepcopy(chance.choice([other[k] for other, k in places]))),
        lambda: part.__delitem__(key),
    ]
    if isinstance(part, list):
        ways.append(lambda: part.insert(key, copy.deepcopy(part[key])))
    chance.choice(ways)()


def _replaced(data: bytes, before: bytes, after: bytes, others: tuple[bytes, ...], chance: random.Random) -> bytes:
    """Replace the text between `before` and `after`, and pad with spaces to keep the length."""
    start, end = data.find(before) + len(before), data.find(after)
    if start < len(before) or end < start:
        return _mutate(data, 2 * len(data) + 1)
    word = chance.choice(others)
    spaces = b" " * max(0, end - start - len(word))
    return data[:start] + word + data[end : end + 3] + spaces + data[end + 3 :]


def _mutate(data: bytes, most: int) -> bytes:
    import atheris

    return atheris.Mutate(data or b"\0", most)
