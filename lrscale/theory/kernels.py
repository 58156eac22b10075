"""Small dense products compiled for the processor at hand, without a BLAS call.

A step of GD on a network of width 35 to 70 is a handful of products of 0.1 to 0.3 MFLOP. A
BLAS packs its operands afresh at each call, treats the odd edges of such sizes slowly and
chooses its kernel when it is loaded; it gets little more than half of its own large-matrix
rate here. The operands fit in the L1 and L2 caches as they are, so one register-tiled loop of
fused multiply-adds reaches the rate of a large dgemm, in either precision and at the vector
width of the host.

Layout: a matrix lives in the top left corner of a zero-padded array whose two dimensions are
multiples of ``lanes(dtype)``. Products write whole tiles; what falls into the padding is zero,
because the padding of the operands is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from lrscale.full_disk import despite_full_disk

Function = TypeVar("Function", bound=Callable[..., Any])

# numba's own annotations differ between versions
_numba: Any = numba
_intrinsic = cast("Callable[[Callable[..., Any]], Callable[..., Any]]", intrinsic)
_tools: Any = cgutils

TILE_ROWS = 4  # by 3 vectors: 12 sums, 3 vectors of b and 1 of a fill the 16 registers of AVX2


def compiled(function: Function) -> Function:
    """``numba.njit``, kept on disk; ``a * b + c`` may be rounded once.

    numba looks only at a function's own file to tell whether its cached code is stale, so the
    folder is named after the source of all compiled functions. It indexes by processor itself:
    a shared file system serves a mixed cluster. Without a writable folder, or room in it, nothing
    is kept.
    """
    before, folder = _numba.config.CACHE_DIR, _cache_folder()
    _numba.config.CACHE_DIR = folder or before
    try:
        compiler = _numba.njit(
            cache=bool(folder), nogil=True, error_model="numpy", fastmath={"contract"}
        )
        dispatcher = compiler(function)
    finally:
        _numba.config.CACHE_DIR = before
    keep = dispatcher._cache.save_overload

    def keep_if_there_is_room(*compiled_code: Any) -> None:
        with despite_full_disk():
            keep(*compiled_code)

    dispatcher._cache.save_overload = keep_if_there_is_room
    return cast("Function", dispatcher)


@cache
def _cache_folder() -> str:
    """Where compiled code is kept; empty when that cannot be written to."""
    here = Path(__file__).parent
    files = [file.read_bytes() for file in sorted(here.glob("*.py"))]
    source = b"".join(text for text in files if b"\n@compiled\n" in text)
    parent = Path(_numba.config.CACHE_DIR or here / "__pycache__")
    folder = parent / f"numba-{hashlib.sha256(source).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


@cache
def vector_bytes() -> int:
    """64 where the processor has AVX-512, else 32 (AVX2; two registers of 16 on ARM)."""
    return 64 if binding.get_host_cpu_features().get("avx512f") else 32


def lanes(dtype: DTypeLike) -> int:
    """Elements of ``dtype`` (float32 or float64) in a vector register: a multiple of 4."""
    return vector_bytes() // np.dtype(dtype).itemsize


def padded(size: int, dtype: DTypeLike) -> int:
    """``size`` rounded up to whole vectors, hence to whole tiles of rows too."""
    width = lanes(dtype)
    return -(-size // width) * width


@compiled
def multiply(c: Any, a: Any, b: Any, rows: int, inner: int, cols: int) -> None:
    """c = a b, of a (rows × inner) and b (inner × cols).

    In this and the next two, ``a`` may be a transposed view, the rows of the others must be
    contiguous, and neither a nor b may overlap c.
    """
    _product(c, a, b, rows, inner, cols, None, None, None)


@compiled
def multiply_add(c: Any, a: Any, b: Any, rows: int, inner: int, cols: int, alpha: float) -> None:
    """c += alpha · a b; ``alpha`` in the precision of c."""
    _product(c, a, b, rows, inner, cols, alpha, None, None)


@compiled
def multiply_scale_subtract(
    c: Any, a: Any, b: Any, rows: int, inner: int, cols: int, scale: Any, base: Any
) -> None:
    """c = a b diag(scale) − base."""
    _product(c, a, b, rows, inner, cols, None, scale, base)


@compiled
def _product(
    c: Any, a: Any, b: Any, rows: int, inner: int, cols: int, alpha: Any, scale: Any, base: Any
) -> None:
    width = _lanes_of(c)
    left = -(-cols // width)  # vectors still to do
    column = 0
    while left > 0:
        if left == 2 or left == 4:  # 4 = 2 + 2: a lone vector has too few sums to stay busy
            for row in range(0, rows, TILE_ROWS):
                _tile(2, c, a, b, row, column, inner, alpha, scale, base)
            left, column = left - 2, column + 2 * width
        elif left == 1:
            for row in range(0, rows, TILE_ROWS):
                _tile(1, c, a, b, row, column, inner, alpha, scale, base)
            left, column = left - 1, column + width
        else:
            for row in range(0, rows, TILE_ROWS):
                _tile(3, c, a, b, row, column, inner, alpha, scale, base)
            left, column = left - 3, column + 3 * width


@compiled
def transpose(c: Any, a: Any, rows: int, cols: int) -> None:
    """c[:cols, :rows] = aᵀ for a (rows × cols), the padding of a's rows included."""
    width = _lanes_of(c)
    for i in range(0, rows, width):
        for j in range(cols):
            for k in range(width):
                c[j, i + k] = a[i + k, j]


@_intrinsic
def _lanes_of(typing_context: Any, array: Any) -> Any:
    """``lanes`` of an array's type, as a constant of the compiled code."""
    count = lanes(str(array.dtype))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(array), generate


class _Array:
    """Addresses in a numba array, as LLVM values in elements (not bytes)."""

    def __init__(self, context: Any, builder: Any, array_type: Any, value: Any) -> None:
        self._builder = builder
        self._array = context.make_array(array_type)(context, builder, value)
        itemsize = context.get_constant(types.intp, array_type.dtype.bitwidth // 8)
        self.strides = [
            builder.sdiv(builder.extract_value(self._array.strides, axis), itemsize)
            for axis in range(array_type.ndim)
        ]

    def at(self, *index: Any) -> Any:
        """Pointer to the element at ``index``."""
        pointer = self._array.data
        for position, stride in zip(index, self.strides, strict=True):
            pointer = self._builder.gep(pointer, [self._builder.mul(position, stride)])
        return pointer


class _Vectors:
    """LLVM operations on vectors of one register, which numba's own types lack."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self._builder, self._count, self._size = builder, lanes(str(element)), element.bitwidth // 8
        self.type = ir.VectorType(context.get_value_type(element), self._count)
        name = f"llvm.fma.v{self._count}f{element.bitwidth}"
        signature = ir.FunctionType(self.type, [self.type] * 3)
        self._fma = _tools.get_or_insert_function(builder.module, signature, name)

    def _pointer(self, start: Any, number: int) -> Any:
        moved = self._builder.gep(start, [ir.IntType(64)(number * self._count)])
        return self._builder.bitcast(moved, self.type.as_pointer())

    def load(self, start: Any, number: int) -> Any:
        """The ``number``-th vector after ``start``."""
        return self._builder.load(self._pointer(start, number), align=self._size)

    def store(self, value: Any, start: Any, number: int) -> None:
        self._builder.store(value, self._pointer(start, number), align=self._size)

    def splat(self, scalar: Any) -> Any:
        """A vector with ``scalar`` in every lane."""
        empty = ir.Constant(self.type, ir.Undefined)
        one = self._builder.insert_element(empty, scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self._count), None)
        return self._builder.shuffle_vector(one, empty, zeros)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x · y + z, rounded once."""
        return self._builder.call(self._fma, [x, y, z])

    def zero(self) -> Any:
        """A variable that starts at zero; the optimizer keeps it in a register."""
        return _tools.alloca_once_value(self._builder, ir.Constant(self.type, None))


@_intrinsic
def _tile(
    typing_context: Any, vectors: Any, c: Any, a: Any, b: Any,
    row: Any, column: Any, inner: Any, alpha: Any, scale: Any, base: Any,
) -> Any:  # fmt: skip
    """4 rows × ``vectors`` (a literal) registers of c, at (row, column).

    The types of alpha, scale and base say which product it is: None for those it lacks.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None  # numba tries a call without literal types too
    count, index = vectors.literal_value, types.intp
    signature = types.void(vectors, c, a, b, index, index, index, alpha, scale, base)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.function.attributes.add("noinline")  # else each call compiles all tiles anew

        def array(number: int) -> _Array:
            return _Array(context, builder, signature.args[number], arguments[number])

        c_at, a_at, b_at = array(1), array(2), array(3)
        row, column, inner = arguments[4:7]
        vector = _Vectors(context, builder, c.dtype)
        tile_rows = [builder.add(row, context.get_constant(index, r)) for r in range(TILE_ROWS)]
        sums = [[vector.zero() for _ in range(count)] for _ in range(TILE_ROWS)]
        with _tools.for_range(builder, inner) as loop:
            start = b_at.at(loop.index, column)
            right = [vector.load(start, v) for v in range(count)]
            for r in range(TILE_ROWS):
                left = vector.splat(builder.load(a_at.at(tile_rows[r], loop.index)))
                for v in range(count):
                    total = vector.fma(left, right[v], builder.load(sums[r][v]))
                    builder.store(total, sums[r][v])
        for r in range(TILE_ROWS):
            c_start = c_at.at(tile_rows[r], column)
            for v in range(count):
                total = builder.load(sums[r][v])
                if alpha != types.none:
                    factor = context.cast(builder, arguments[7], alpha, c.dtype)
                    total = vector.fma(vector.splat(factor), total, vector.load(c_start, v))
                if base != types.none:
                    factors = vector.load(array(8).at(column), v)
                    minus = builder.fneg(vector.load(array(9).at(tile_rows[r], column), v))
                    total = vector.fma(total, factors, minus)
                vector.store(total, c_start, v)
        return context.get_dummy_value()

    return signature, generate
