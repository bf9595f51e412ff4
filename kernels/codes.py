"""Bit operations on numbers and words for numba's inner loops on the CPU: codes, ranges of codes, conversions.

A code is the number's bits as a signed integer, all but the sign inverted where that is set: codes lie as the numbers
do, and those of NaNs outside of all others. Here is what numba does not write by itself: arithmetic as wide as its
operands, and 32 comparisons as one word. A comparison of two vectors gives a mask, and the mask is the word: with
AVX-512 two instructions, with AVX2 or NEON some more, all of them LLVM's choice. numba would write a byte for each
and gather their bits one by one.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fastneurons_kernels.reading import WORD_BITS
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_Typed = tuple[Any, Any]


def bits_of(values: torch.Tensor) -> npt.NDArray[np.integer]:
    """View a CPU tensor's numbers as signed integers with the same bits: numpy has no bf16."""
    return values.view(torch.int16 if values.element_size() == 2 else torch.int32).numpy()


@intrinsic  # type: ignore[untyped-decorator]
def code_of(typing: Any, bits: Any) -> _Typed:
    """The code of a number, from its bits: a signed integer of the same width."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(bits.bitwidth)
        sign = builder.ashr(arguments[0], ir.Constant(integer, bits.bitwidth - 1))
        return builder.xor(arguments[0], builder.lshr(sign, ir.Constant(integer, 1)))

    return bits(bits), generate


@intrinsic  # type: ignore[untyped-decorator]
def in_range(typing: Any, code: Any, first: Any, count: Any) -> _Typed:
    """Whether a code is one of `count` from `first` on; all unsigned, of one dtype.

    Beyond the dtype's end codes begin again with 0, so that those of negative numbers will do; none for a count of 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, first, count = arguments
        return builder.icmp_unsigned("<", builder.sub(code, first), count)

    return types.boolean(code, code, code), generate


@intrinsic  # type: ignore[untyped-decorator]
def bits_in_range(typing: Any, codes: Any, start: Any, first: Any, count: Any) -> _Typed:
    """A uint32 whose bit k is `in_range` of codes[start + k]; codes are contiguous, at least start + 32 of them."""
    signature = types.uint32(codes, types.intp, codes.dtype, codes.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, first, count = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        vector = ir.VectorType(ir.IntType(codes.dtype.bitwidth), WORD_BITS)
        undefined = ir.Constant(vector, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), WORD_BITS), [0] * WORD_BITS)

        def repeated(value: Any) -> Any:
            one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, undefined, lanes)

        place = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
        values = builder.load(place, align=codes.dtype.bitwidth // 8)
        inside = builder.icmp_unsigned("<", builder.sub(values, repeated(first)), repeated(count))
        return builder.bitcast(inside, ir.IntType(WORD_BITS))

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def popcount(typing: Any, word: Any) -> _Typed:
    """Count the bits set in a uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint32(types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_bits(typing: Any, counters: Any, start: Any, word: Any) -> _Typed:
    """Add bit k of a uint32 to counters[start + k]; contiguous, at least start + 32 of them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, word = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        vector = ir.VectorType(ir.IntType(counters.dtype.bitwidth), WORD_BITS)
        place = builder.bitcast(builder.gep(data, [start]), vector.as_pointer())
        bits = builder.bitcast(word, ir.VectorType(ir.IntType(1), WORD_BITS))
        before = builder.load(place, align=counters.dtype.bitwidth // 8)
        builder.store(
            builder.add(before, builder.zext(bits, vector)), place, align=counters.dtype.bitwidth // 8
        )
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.uint32), generate


@intrinsic  # type: ignore[untyped-decorator]
def float32_of(typing: Any, bits: Any, is_half: Any) -> _Typed:
    """The number with these bits: a float32, a float16, or a bfloat16, whose bits are a float32's upper half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if bits.bitwidth == 32:
            return builder.bitcast(arguments[0], ir.FloatType())
        half = builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())
        wide = builder.zext(arguments[0], ir.IntType(32))
        upper = builder.bitcast(builder.shl(wide, ir.Constant(wide.type, 16)), ir.FloatType())
        return builder.select(arguments[1], half, upper)

    return types.float32(bits, types.boolean), generate


@intrinsic  # type: ignore[untyped-decorator]
def rounded_bits(typing: Any, value: Any, like: Any, is_half: Any) -> _Typed:
    """The bits of a float32, rounded to nearest, ties to even, to the format that `float32_of` reads from `like`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, _, is_half = arguments
        wide = ir.IntType(32)
        bits = builder.bitcast(value, wide)
        if like.bitwidth == 32:
            return bits
        half = builder.bitcast(builder.fptrunc(value, ir.HalfType()), ir.IntType(16))
        odd = builder.and_(builder.lshr(bits, ir.Constant(wide, 16)), ir.Constant(wide, 1))
        nearest = builder.add(bits, builder.add(odd, ir.Constant(wide, 0x7FFF)))
        # Adding could carry a NaN over into an infinity or a zero.
        is_nan = builder.fcmp_unordered("uno", value, value)
        quiet = builder.or_(bits, ir.Constant(wide, 0x400000))
        upper = builder.lshr(builder.select(is_nan, quiet, nearest), ir.Constant(wide, 16))
        return builder.select(is_half, half, builder.trunc(upper, ir.IntType(16)))

    return like(types.float32, like, types.boolean), generate
