"""Run numba's loops on the threads that PyTorch computes with.

numba would bring threads of its own, which share cores with PyTorch's: those wait for work in a loop, and two on a core
halve each other. So loops are handed to the very pool that PyTorch's operations run in, OpenMP's, which is awake
between them, and bound to its cores by the engine. Where PyTorch has another pool, the calling thread does all.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Numbers to read that justify another thread: some ten microseconds.
_WORTH_A_PART = 1 << 16
_PARTS_PER_THREAD = 4  # a thread that is held up leaves what is left to the others


def parts_of(num_numbers: int) -> int:
    """Number of parts to divide the reading of that many numbers into."""
    threads = torch.get_num_threads()
    return 1 if threads == 1 else max(1, min(_PARTS_PER_THREAD * threads, num_numbers // _WORTH_A_PART))


@functools.cache
def pool() -> int:
    """The address of OpenMP's entry to a parallel region, in the library that PyTorch runs on; 0: there is none."""
    # PyTorch, too, finds the library that was loaded first, as vLLM loads its own.
    own = sorted(map(str, (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")))
    for library in (None, *own):
        try:
            entry = ctypes.CDLL(library).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(entry, ctypes.c_void_p).value or 0
    return 0


@intrinsic  # type: ignore[untyped-decorator]
def share_out(typing: Any, pool: Any, num_parts: Any, body: Any, arguments: Any) -> tuple[Any, Any]:
    """Call body(part, num_parts, *arguments) for each part, on all threads, and wait for them.

    Args:
        typing: numba's own.
        pool: Result of `pool`; with 0, or a single part, this thread does all the work.
        num_parts: Of the work. A thread takes the next one when it is done with the one before.
        body: A compiled function that returns nothing. It must not raise: its exception would be lost.
        arguments: A tuple.
    """
    signature = types.void(types.intp, types.int64, body, arguments)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = ir.IntType(64)
        zero, one = ir.Constant(number, 0), ir.Constant(number, 1)
        pointer = ir.IntType(8).as_pointer()
        of_body = (types.int64, types.int64, *arguments.types)
        compiled = body.dispatcher.get_compile_result(body.get_call_type(context.typing_context, of_body, {}))
        context.active_code_library.add_linking_library(compiled.library)

        # What each thread runs: take a part, do it, until there is none.
        of_region = ir.FunctionType(ir.VoidType(), [pointer])
        region = ir.Function(builder.module, of_region, name=f"{compiled.fndesc.mangled_name}.region")
        region.linkage = "internal"
        begin, next_part, do, end = (
            region.append_basic_block(name) for name in ("begin", "next", "do", "end")
        )
        inside = ir.IRBuilder(begin)
        shared_type = ir.LiteralStructType([number, number, values[3].type])
        shared = inside.bitcast(region.args[0], shared_type.as_pointer())
        total = inside.load(cgutils.gep_inbounds(inside, shared, 0, 1))
        given = inside.load(cgutils.gep_inbounds(inside, shared, 0, 2))
        inside.branch(next_part)
        inside.position_at_end(next_part)
        part = inside.atomic_rmw("add", cgutils.gep_inbounds(inside, shared, 0, 0), one, "monotonic")
        inside.cbranch(inside.icmp_signed("<", part, total), do, end)
        inside.position_at_end(do)
        context.call_conv.call_function(
            inside,
            context.declare_function(builder.module, compiled.fndesc),
            compiled.fndesc.restype,
            compiled.fndesc.argtypes,
            [part, total, *cgutils.unpack_tuple(inside, given, len(arguments.types))],
        )
        inside.branch(next_part)
        inside.position_at_end(end)
        inside.ret_void()

        here = cgutils.alloca_once(builder, shared_type)
        for place, value in enumerate((zero, values[1], values[3])):
            builder.store(value, cgutils.gep_inbounds(builder, here, 0, place))
        data = builder.bitcast(here, pointer)
        alone = builder.or_(
            builder.icmp_signed("==", values[0], ir.Constant(values[0].type, 0)),
            builder.icmp_signed("<=", values[1], one),
        )
        with builder.if_else(alone) as (on_this_thread, on_all):
            with on_this_thread:
                builder.call(region, [data])
            with on_all:
                # void GOMP_parallel(void (*)(void *), void *, unsigned threads, unsigned flags); 0: as many as PyTorch.
                unsigned = ir.IntType(32)
                of_pool = ir.FunctionType(
                    ir.VoidType(), [of_region.as_pointer(), pointer, unsigned, unsigned]
                )
                nothing = ir.Constant(unsigned, 0)
                builder.call(
                    builder.inttoptr(values[0], of_pool.as_pointer()), [region, data, nothing, nothing]
                )
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def lock(typing: Any, flag: Any) -> tuple[Any, Any]:
    """Wait until `flag`, int64 [1], is 0, and set it: only one thread runs between `lock` and `unlock`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        again, done = (builder.append_basic_block(name) for name in ("again", "done"))
        builder.branch(again)
        builder.position_at_end(again)
        free, taken = ir.Constant(ir.IntType(64), 0), ir.Constant(ir.IntType(64), 1)
        outcome = builder.cmpxchg(data, free, taken, "acquire", "monotonic")
        builder.cbranch(builder.extract_value(outcome, 1), done, again)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(flag), generate


@intrinsic  # type: ignore[untyped-decorator]
def unlock(typing: Any, flag: Any) -> tuple[Any, Any]:
    """Clear the flag for the next thread."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        builder.store_atomic(ir.Constant(ir.IntType(64), 0), data, "release", 8)
        return context.get_dummy_value()

    return types.void(flag), generate
