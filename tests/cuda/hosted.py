"""Stand-ins for CuPy and cuBLASLt: kernels compiled for the CPU, streams that can capture, arrays in host memory."""

import contextlib
import ctypes
import functools
import hashlib
import importlib.machinery
import re
import shutil
import subprocess
import tempfile
import types
import typing
import weakref
from pathlib import Path

import numpy as np

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
OF_KERNELS = "-O0", "-fwrapv", "-ffp-contract=off"
# cudaDataType.
KINDS = {0: np.float32, 1: np.float64}
SIGNATURE = re.compile(r'extern "C" __global__ void __launch_bounds__\(\d+\) (\w+)\((.*?)\) \{(?: // of ([-\d ]+))?')
ARGUMENT = re.compile(r"(.*?) \*(?:__restrict__ )?(\w+)")


class Memory:
    """Counts the bytes of live arrays, each rounded up to the unit of CuPy's pool, and their peak."""

    active = None

    def __init__(self):
        self.live = self.peak = 0

    @classmethod
    @contextlib.contextmanager
    def counting(cls):
        """Count the arrays that are created within the context."""
        outer, cls.active = cls.active, cls()
        yield cls.active
        cls.active = outer

    def allocate(self, array):
        n_bytes = -(-array.nbytes // 512) * 512
        self.live += n_bytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(array, self.free, n_bytes).atexit = False

    def free(self, n_bytes):
        self.live -= n_bytes


def _refuse_host(given):
    """Raise TypeError for host arrays, as CuPy does; it only accepts host scalars."""
    for each in given:
        if isinstance(each, list | tuple):
            _refuse_host(each)
        elif type(each) is np.ndarray:
            raise TypeError(f"Unsupported type {type(each)}")


class DeviceArray(np.ndarray):
    """An array on the device."""

    def __array_finalize__(self, of):
        # A view of a device array is already counted with that.
        if Memory.active is not None and not isinstance(self.base, DeviceArray):
            Memory.active.allocate(self)

    def __array_ufunc__(self, function, method, *given, out=(), **more):
        if not all(isinstance(each, np.ndarray | np.generic | int | float) for each in given):
            # As in CuPy, an array that is being traced then gets this array itself, and no copy on the host.
            return NotImplemented
        _refuse_host((*given, *out))
        as_host = [np.asarray(each) if isinstance(each, DeviceArray) else each for each in given]
        if out:
            more["out"] = tuple(np.asarray(each) for each in out)
        result = getattr(function, method)(*as_host, **more)
        return out[0] if out else np.asarray(result).view(DeviceArray)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)


@functools.cache
def _folder():
    """Return a temporary folder with device.h, precompiled: parsing it takes longer than most kernels."""
    folder = tempfile.TemporaryDirectory(prefix="mlpgpu-kernels-")
    header = shutil.copy(Path(__file__).with_name("device.h"), folder.name)
    _compile(header, f"{header}.gch", *OF_KERNELS)
    return folder


@functools.cache
def _device():
    """Compile device.cpp, which runs the kernels, and return the path of the library."""
    library = Path(_folder().name) / "device.so"
    # The check of fortified jumps knows only one stack.
    _compile(Path(__file__).with_name("device.cpp"), library, "-shared", "-O2", "-U_FORTIFY_SOURCE")
    return library


def _compile(source, target, *options):
    command = [COMPILER, "-std=c++17", "-w", "-fPIC", str(source), *options, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr


@functools.cache
def compiled(text):
    """Compile kernels to a library with a function ``run_NAME(order, blocks, addresses)`` for each.

    The kernels access memory through `host::Memory`, which finds data races, and accesses out of bounds where the
    comment of `with_sizes` states the size.

    Returns
    -------
    library : ctypes.CDLL
    changed : dict of str to list of bool
        For each kernel, whether it may write each of its arguments.
    """
    entries, changed = [], {}

    def instrumented(signature):
        name, arguments, sizes = signature.groups()
        kinds, names = zip(*(ARGUMENT.fullmatch(argument).groups() for argument in arguments.split(", ")), strict=True)
        changed[name] = [not kind.startswith("const ") for kind in kinds]
        sizes = sizes.split() if sizes else ["-1"] * len(kinds)
        given = ", ".join(
            f"{{({kind}*)addresses[{i}], {size}}}" for i, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
        )
        entries.append(
            f'extern "C" void run_{name}(unsigned int order, int blocks, void **with) {{\n'
            f"    host::launch(order, blocks, [](void **addresses) {{ {name}({given}); }}, with);\n}}"
        )
        arguments = (f"host::Memory<{kind}> {at}" for kind, at in zip(kinds, names, strict=True))
        return f"void {name}({', '.join(arguments)}) {{"

    text = SIGNATURE.sub(instrumented, text)
    text = text.replace("__shared__ double shared[256];", "double *shared = host::shared();")
    text = re.sub(r"const bool on = (.*);", r"const bool on = host::is_on(\1);", text)
    stem = hashlib.sha256(text.encode()).hexdigest()[:16]
    source = Path(_folder().name) / f"{stem}.cpp"
    source.write_text("\n".join(['#include "device.h"', text, *entries]))
    library = source.with_suffix(".so")
    _compile(source, library, "-shared", *OF_KERNELS, str(_device()))
    return ctypes.CDLL(str(library)), changed


class Stream:
    """Runs work at once, or records it during a capture.

    Work on a stream that waits for another one, a side stream, runs as late as CUDA permits: when another stream waits
    for the side stream. With `at_once`, it runs as early as possible instead.
    """

    current, at_once = None, False

    def __init__(self, non_blocking=False):
        self.ptr, self.captured, self.modes, self.deferred, self.upstream = id(self), None, [], None, None

    def __enter__(self):
        self._outer, Stream.current = Stream.current, self

    def __exit__(self, *_):
        Stream.current = self._outer

    def begin_capture(self, mode=None):
        assert self is Stream.current, "a capture must begin on the current stream"
        self.captured = []
        self.modes.append(mode)

    def end_capture(self):
        assert not Event.open, "the capture ends before its side streams are joined"
        graph, self.captured = Graph(self.captured), None
        return graph

    def synchronize(self):
        assert self.captured is None, "a stream must not be synchronised while it captures"

    def record(self, event):
        event.stream = self

    def wait_event(self, event):
        if event.stream.deferred is None:
            self.deferred, self.upstream = self.deferred or [], event.stream
            Event.open.add(self)
            return
        works, event.stream.deferred = event.stream.deferred, None
        Event.open.discard(event.stream)
        for work in works:
            self.launch(work)

    def launch(self, work):
        if self.deferred is not None:
            self.upstream.launch(work) if Stream.at_once else self.deferred.append(work)
        elif self.captured is None:
            work()
        else:
            self.captured.append(work)


# The default stream.
Stream.current = Stream()


class Event:
    open: typing.ClassVar = set()

    def __init__(self, *, disable_timing):
        assert disable_timing
        self.stream = None


class Graph:
    launches = 0

    def __init__(self, works):
        self.works = works

    def launch(self, stream=None):
        Graph.launches += 1
        for work in self.works:
            work()


class Function:
    # The order of threads and blocks, as in device.cpp.
    order = 0

    def __init__(self, library, name):
        functions, changed = library
        self.function, self.changed = getattr(functions, f"run_{name}"), changed[name]

    def __call__(self, grid, block, arguments):
        assert block == (256,)
        assert all(type(argument) is np.uint64 for argument in arguments)
        given = list(zip(map(int, arguments), self.changed, strict=True))
        kept, changed = ({address for address, changes in given if changes is wanted} for wanted in (False, True))
        assert not kept & changed, "a kernel writes an array that it also takes as const __restrict__"
        addresses = (ctypes.c_void_p * len(arguments))(*map(int, arguments))
        Stream.current.launch(lambda: self.function(Function.order, grid[0], addresses))


class RawModule:
    def __init__(self, *, code, options):
        assert options == ("--std=c++17",)
        self.library = compiled(code)

    def get_function(self, name):
        return Function(self.library, name)


class Lt:
    """cuBLASLt as documented, on host memory. Matrices are column-major."""

    def __init__(self):
        self.made, self.calls, self.epilogues, self.has_epilogues = {}, [], [], True

    def _make(self, reference, value):
        key = len(self.made) + 1
        self.made[key] = value
        reference._obj.value = key
        return 0

    def cublasLtCreate(self, handle):  # noqa: N802
        return self._make(handle, "handle")

    def cublasLtMatmulDescCreate(self, description, compute, scale):  # noqa: N802
        return self._make(description, {"compute": compute, "scale": scale, 3: 0, 4: 0, 7: 1})

    def cublasLtMatmulPreferenceCreate(self, preference):  # noqa: N802
        return self._make(preference, {5: 256, 6: 256, 7: 256, 8: 256})

    def cublasLtMatrixLayoutCreate(self, layout, kind, rows, columns, leading):  # noqa: N802
        assert (type(rows), type(columns), type(leading)) == (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64)
        assert leading.value >= rows.value
        return self._make(layout, (KINDS[kind], rows.value, columns.value, leading.value))

    def _set(self, thing, attribute, value, size):
        assert type(size) is ctypes.c_size_t
        assert size.value == ctypes.sizeof(value._obj)
        self.made[thing.value][attribute] = value._obj.value
        return 0

    cublasLtMatmulDescSetAttribute = cublasLtMatmulPreferenceSetAttribute = _set  # noqa: N815

    def _shapes(self, description, a, b, c, d):
        kinds = self.made[description.value]
        transposed = [kinds[3], kinds[4], 0, 0]
        shapes = [self.made[each.value][1:3] for each in (a, b, c, d)]
        (m, k), (k_too, n), of_c, of_d = [s[::-1] if t else s for s, t in zip(shapes, transposed, strict=True)]
        return (m, n) == of_c == of_d and k == k_too

    def cublasLtMatmulAlgoGetHeuristic(  # noqa: N802
        self, handle, description, a, b, c, d, preference, wanted, results, n_found
    ):
        assert wanted == 1
        if not self._shapes(description, a, b, c, d):
            return 7
        given = self.made[description.value]
        if given[7] != 1 and (not self.has_epilogues or given["scale"] == 1):
            # CUBLAS_STATUS_NOT_SUPPORTED.
            return 15
        # A bias must be set by now, since the choice of an algorithm depends on its alignment.
        assert given[7] == 1 or 8 in given
        promised = self.made[preference.value]
        # The default limit is 0, with which cuBLASLt only chooses algorithms that need no workspace.
        assert promised[1] >= 1024
        results._obj.algorithm[0] = len(self.made) + 1
        self.made[len(self.made) + 1] = [promised[key] for key in (5, 6, 7, 8)]
        results._obj.workspace_bytes = 1024
        n_found._obj.value = 1
        return 0

    def cublasLtMatmul(  # noqa: N802
        self, handle, description, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
        algorithm, workspace, workspace_bytes, stream,
    ):  # fmt: skip
        assert self.made[handle.value] == "handle"
        assert stream.value == Stream.current.ptr
        assert workspace.value
        promised = self.made[algorithm._obj.algorithm[0]]
        assert all(each.value % n == 0 for each, n in zip((a, b, c, d), promised, strict=True))
        kinds, layouts = (
            self.made[description.value],
            [self.made[each.value] for each in (a_layout, b_layout, d_layout)],
        )
        self.calls.append(kinds["compute"])
        # As in PyTorch, the alignment promised for the output must hold for a bias too.
        assert kinds.get(8, 0) % promised[3] == 0
        one, zero = alpha._obj.value, beta._obj.value
        self.epilogues.append(kinds[7])

        def work():
            left, right, out = (self._matrix(*pair) for pair in zip((a, b, d), layouts, strict=True))
            left, right = left.T if kinds[3] else left, right.T if kinds[4] else right
            out[...] = self._epilogue(kinds, one * (left @ right) + (zero * out if zero else 0))

        Stream.current.launch(work)
        return 0

    @staticmethod
    def _epilogue(kinds, result):
        """Apply an epilogue, as documented for cublasLtEpilogue_t."""
        if kinds[7] == 1:
            return result
        assert kinds[7] == 6
        memory = (ctypes.c_char * (len(result) * result.itemsize)).from_address(kinds[8])
        return np.maximum(result + np.frombuffer(memory, result.dtype)[:, None], 0)

    @staticmethod
    def _matrix(address, layout):
        kind, rows, columns, leading = layout
        flat = (ctypes.c_char * (leading * columns * np.dtype(kind).itemsize)).from_address(address.value)
        return np.frombuffer(flat, kind).reshape(columns, leading)[:, :rows].T


def _on_device(function):
    """Wrap a NumPy function to take and return device arrays."""

    @functools.wraps(function)
    def call(*given, **more):
        _refuse_host((*given, *more.values()))
        result = function(*given, **more)
        if isinstance(result, DeviceArray):
            return result
        return np.asarray(result).view(DeviceArray) if isinstance(result, np.ndarray | np.generic) else result

    return call


def cupy():
    """Return a module with what mlpgpu uses of CuPy."""
    module = types.ModuleType("cupy")
    module.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    for name in np.__all__:
        found = getattr(np, name)
        setattr(module, name, found if isinstance(found, type) or not callable(found) else _on_device(found))
    module.__version__ = "14.2.0"
    module.ndarray, module.RawModule, module.lt = DeviceArray, RawModule, Lt()
    # Not zeros, which would hide reads of uninitialised memory.
    module.empty = lambda shape, dtype: np.full(shape, 77, dtype).view(DeviceArray)

    def asarray(array, dtype=None, order="K", copy=None):
        keep = isinstance(array, DeviceArray) and not copy and dtype in {None, array.dtype.name}
        keep = keep and (order == "K" or array.flags.c_contiguous)
        return array if keep else np.array(array, dtype, order=order).view(DeviceArray)

    def ascontiguousarray(array):
        return array if array.flags.c_contiguous else array.copy()

    def asnumpy(array):
        assert isinstance(array, DeviceArray)
        return np.array(array, subok=False)

    def copy(to, of, n_bytes, kind, stream):
        assert (kind, stream) == (3, Stream.current.ptr)
        Stream.current.launch(lambda: ctypes.memmove(to, of, n_bytes))

    module.asarray, module.asnumpy, module.ascontiguousarray = asarray, asnumpy, ascontiguousarray
    module.get_default_memory_pool = lambda: types.SimpleNamespace(free_bytes=lambda: 0)
    module.cuda = types.SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=lambda ordinal: types.SimpleNamespace(use=lambda: None),
        get_current_stream=lambda: Stream.current,
        cublas=None,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=RuntimeError,
            getDevice=lambda: 0,
            getDeviceCount=lambda: 1,
            runtimeGetVersion=lambda: 13000,
            driverGetVersion=lambda: 13000,
            getDeviceProperties=lambda ordinal: {"name": b"Host"},
            memGetInfo=lambda: (10**10, 10**10),
            memcpyAsync=copy,
            memcpyDeviceToDevice=3,
            streamCaptureModeThreadLocal=1,
        ),
    )
    return module
