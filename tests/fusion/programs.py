"""Random steps of NumPy functions, exact in floating point, so that all ways to run them agree to the last bit.

All numbers are whole and far below 2^53, so a sum is not rounded in any order.
"""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

LARGE = 2.0**20
# Bound on the numbers in a state, so that a step can be applied to the state that it returned.
SMALL = 8.0


@dataclass
class Program:
    """The lines of a step, and for each name the value in the first step and a bound on its magnitude in all steps."""

    state: list[np.ndarray]
    data: list[np.ndarray]
    items: list[np.ndarray]
    lines: list[str] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)
    returned: str = ""

    def __post_init__(self):
        given = {"s": self.state, "d": self.data, "i": [item[0, ...] for item in self.items]}
        self.unpacked = [f"    ({''.join(f'{kind}{n}, ' for n in range(len(some)))}) = {name}" for (kind, some), name in
                         zip(given.items(), ("state", "data", "item"), strict=True)]  # fmt: skip
        for kind, some in given.items():
            for n, array in enumerate(some):
                self.values[f"{kind}{n}"], self.bounds[f"{kind}{n}"] = array, SMALL

    def add(self, text, bound):
        """Add a line that computes `text`, and return the name of its result."""
        name = f"v{len(self.lines)}"
        self.values[name] = np.asarray(eval(text, {"np": np}, self.values))
        self.lines.append(f"    {name} = {text}")
        self.bounds[name] = bound
        return name

    def small(self, name, limit=SMALL):
        """Return `name`, or the name of its remainder if it may exceed `limit`."""
        if self.bounds[name] <= limit:
            return name
        return self.add(f"{name} - 8 * np.floor({name} / 8)", SMALL)

    def __repr__(self):
        return "\n".join(["def step(state, data, item):", *self.unpacked, *self.lines, f"    return {self.returned}"])

    def step(self):
        names = {"np": np}
        exec(repr(self), names)
        return names["step"]


def _arrays(shape, seed):
    return np.random.default_rng(seed).integers(-7, 8, size=shape).astype(float)


@st.composite
def programs(draw, most_axes=3, rows=(1, 2, 3, 7), columns=(1, 2, 5)):
    """Draw a `Program`: arrays of shapes that broadcast, operations on them, and the results that replace the state."""
    lead, n, m = (draw(st.sampled_from(sizes)) for sizes in ((1, 2, 5), rows, columns))
    shapes = [(), (1,), (m,), (n,), (1, m), (n, 1), (n, m), (m, n), (n, n), (lead, n, m), (lead, 1, m)]
    shape = st.sampled_from([shape for shape in shapes if len(shape) <= most_axes])
    given = [[_arrays(draw(shape), seed) for seed in range(first, first + count)] for first, count in
             ((0, draw(st.integers(1, 3))), (10, draw(st.integers(0, 2))))]  # fmt: skip
    steps = [
        _arrays((3, *draw(shape)), 20),
        np.random.default_rng(21).integers(0, n, size=(3, draw(st.integers(1, 7)))),
    ]
    program = Program(*given, steps)
    for _ in range(draw(st.integers(0, 14))):
        draw(st.sampled_from(OPERATIONS))(draw, program)
    results = []
    for number, old in enumerate(program.state):
        names = [name for name, value in program.values.items() if value.shape == old.shape and value.dtype == float]
        results.append(program.small(draw(st.sampled_from(names[::-1] or [f"s{number}"]))))
    names = [name for name, value in program.values.items() if value.dtype == float]
    loss = program.small(draw(st.sampled_from(names[::-1])))
    if program.values[loss].ndim:
        loss = program.add(f"np.sum({loss})", LARGE)
    program.returned = f"({''.join(f'{name}, ' for name in results)}), {loss}"
    return program


def _pick(draw, program, allowed=lambda value: True, kind="f"):
    # The latest first, since Hypothesis shrinks a failing example towards the first.
    names = [name for name, value in program.values.items() if value.dtype.kind == kind and allowed(value)]
    return draw(st.sampled_from(names[::-1])) if names else None


def _operands(draw, program):
    """Draw two arrays that broadcast, or an array and a number, and their bounds."""

    def broadcasts(value):
        try:
            np.broadcast_shapes(value.shape, program.values[one].shape)
        except ValueError:
            return False
        return True

    one = program.small(_pick(draw, program), LARGE)
    other = draw(st.sampled_from(["array", "array", "array", "1", "-2.0", "0.0"]))
    if other == "array":
        other = program.small(_pick(draw, program, broadcasts), LARGE)
    pair = (one, other) if draw(st.booleans()) else (other, one)
    return *pair, program.bounds[one], program.bounds.get(other, 2.0)


def _add(draw, program):
    a, b, bound_a, bound_b = _operands(draw, program)
    program.add(f"{a} {draw(st.sampled_from('+-'))} {b}", bound_a + bound_b)


def _multiply(draw, program):
    a, b, bound_a, bound_b = _operands(draw, program)
    program.add(f"{a} * {b}", bound_a * bound_b)


def _extreme(draw, program):
    a, b, bound_a, bound_b = _operands(draw, program)
    program.add(f"np.{draw(st.sampled_from(['maximum', 'minimum']))}({a}, {b})", max(bound_a, bound_b))


def _one(draw, program):
    a = _pick(draw, program)
    program.add(draw(st.sampled_from(["-{}", "np.abs({})"])).format(a), program.bounds[a])


def _where(draw, program):
    a, b, bound_a, bound_b = _operands(draw, program)
    condition = program.add(f"{a} {draw(st.sampled_from(['>', '<=', '==']))} {b}", 1)
    program.add(f"np.where({condition}, {a}, {b})", max(bound_a, bound_b))


def _astype(draw, program):
    if a := _pick(draw, program, kind="b"):
        program.add(f"np.astype({a}, np.dtype(float))", 1)


def _like(draw, program):
    program.add(f"np.{draw(st.sampled_from(['ones_like', 'zeros_like']))}({_pick(draw, program)})", 1)


def _reduce(draw, program):
    a = _pick(draw, program, lambda value: value.ndim > 0)
    if a is None:
        return
    a = program.small(a)
    axes = draw(st.sampled_from([None, *range(-program.values[a].ndim, program.values[a].ndim)]))
    name = draw(st.sampled_from(["sum", "sum", "max", "min"]))
    program.add(f"np.{name}({a}, axis={axes}, keepdims={draw(st.booleans())})", SMALL * program.values[a].size)


def _mean(draw, program):
    a = program.small(_pick(draw, program))
    axes = draw(st.sampled_from([None, *range(-program.values[a].ndim, program.values[a].ndim)]))
    program.add(f"np.floor(np.mean({a}, axis={axes}, keepdims={draw(st.booleans())}))", SMALL)


def _clip(draw, program):
    a, bounds = _pick(draw, program), draw(st.sampled_from(["-3.0, 4", "min=0", "max=2.0", "None, 1.0"]))
    program.add(f"np.clip({a}, {bounds})", max(program.bounds[a], 4))


def _matmul(draw, program):
    def fits(value):
        return value.ndim >= 2 and value.shape[-2] == program.values[a].shape[-1]

    if (a := _pick(draw, program, lambda value: value.ndim >= 2)) and (b := _pick(draw, program, fits)):
        if draw(st.booleans()):
            b = a = program.small(a)
            b = program.add(f"np.matrix_transpose({a})", program.bounds[a])
        a, b = program.small(a), program.small(b)
        try:
            np.matmul(program.values[a], program.values[b])
        except ValueError:
            return
        program.add(f"np.matmul({a}, {b})", program.values[a].shape[-1] * SMALL**2)


def _view(draw, program):
    a = _pick(draw, program)
    shape = program.values[a].shape
    views = [f"np.reshape({a}, (-1,))", f"{a}[..., None]", f"np.reshape({a}, {shape[::-1]})"]
    if shape:
        views += [f"{a}[..., ::-1]", f"{a}[..., 1:]", f"{a}[..., :1]", f"{a}[0]", f"{a}[..., -1]"]
    if len(shape) >= 2:
        views += [f"np.matrix_transpose({a})", f"{a}[:1]", f"{a}[..., 0, :]"]
        views.append(f"np.reshape(np.matrix_transpose({a}), (-1,))")
    view = draw(st.sampled_from(views))
    if eval(view, {"np": np}, program.values).size and eval(view, {"np": np}, program.values).ndim <= 3:
        program.add(view, program.bounds[a])


def _concatenate(draw, program):
    if a := _pick(draw, program, lambda value: value.ndim > 0):
        shape = program.values[a].shape
        b = _pick(draw, program, lambda value: value.ndim == len(shape) and value.shape[:-1] == shape[:-1])
        program.add(
            f"np.concat([{a}, {b}, {a}][:{draw(st.integers(1, 3))}], axis=-1)", max(map(program.bounds.get, (a, b)))
        )


def _take(draw, program):
    if a := _pick(draw, program, lambda value: value.ndim > 0):
        rows = program.values[a].shape[0]
        program.add(f"np.take({a}, np.minimum(i1, {rows - 1}), axis=0)", program.bounds[a])


OPERATIONS = [
    _add, _multiply, _extreme, _one, _where, _astype, _like, _reduce, _mean, _clip, _matmul, _view, _concatenate, _take,
]  # fmt: skip
