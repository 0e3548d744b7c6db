"""Two tools are called benchmark_model, TensorFlow Lite's and LiteRT's: the flags by which each is
told the same.

LiteRT's has no --use_xnnpack, --use_nnapi and --enable_op_profiling; it lets the CPU take what an
accelerator leaves unless told otherwise. It is known by its words (`output.is_of_litert`) and by
the flags that it does not know. Source: benchmark_litert_model.h, benchmark_tflite_model.cc.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pnas_tf.devices.benchmark_tool.delegate_log import DelegateLog
from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime, is_cpus_alone
from pnas_tf.devices.benchmark_tool.output import delegates_of, is_of_litert, unconsumed_flags
from pnas_tf.devices.delegation import ACCELERATORS

Flags = tuple[str, ...]

DELEGATE_FLAGS: dict[str, Flags] = {
    "xnnpack": ("--use_xnnpack=true",),
    "none": ("--use_xnnpack=false",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
    "npu": ("--use_npu=true",),
}
LIBRARY_FLAGS = ("--dispatch_library_path", "--compiler_plugin_library_path")
PROFILE_FLAGS: tuple[Flags, ...] = (("--enable_op_profiling=true",), ("--use_profiler=true",))
_FULL = ("--use_cpu=false", "--require_full_delegation=true")  # it fails where an op is left
# Another form of the same wish, in LiteRT's words.
_LITERT_FLAGS: dict[str, Flags] = {
    "xnnpack": ("--use_cpu=true",),
    "gpu": (*DELEGATE_FLAGS["gpu"], *_FULL),
    "npu": (*DELEGATE_FLAGS["npu"], *_FULL),
}
_XNNPACK_RAN = re.compile(r"node\(s\) with delegate \(TfLiteXNNPackDelegate\)")


def other_flags(delegate: str, output: str) -> Flags:
    """The flags to try after a run of `DELEGATE_FLAGS`; () where that run is as good as any.

    Args:
        delegate: as --delegate.
        output: of that run.
    """
    if delegate not in _LITERT_FLAGS:
        return ()
    if delegate in ACCELERATORS:  # a build that logs no delegates must fail where it leaves an op
        silent = is_of_litert(output) and delegates_of(output).is_silent
        return _LITERT_FLAGS[delegate] if silent else ()
    unknown = DELEGATE_FLAGS[delegate][0] in unconsumed_flags(output)
    return _LITERT_FLAGS[delegate] if unknown else ()


def are_taken(flags: Flags, output: str) -> bool:
    """Whether a run with `other_flags` did as they say: it knows them, and on the CPU XNNPACK
    ran."""
    if {flag.partition("=")[0] for flag in flags} & _names(unconsumed_flags(output)):
        return False
    return is_full(flags) or _XNNPACK_RAN.search(output) is not None


def is_full(flags: Flags) -> bool:
    """Whether the tool fails with these flags unless the accelerator executes every op."""
    return set(_FULL) <= set(flags)


def with_ops_left(
    log: DelegateLog, delegate: str, operators: Sequence[OperatorTime]
) -> DelegateLog:
    """The log, which says nothing of delegates, of a model that the tool refused with flags that
    are full: the accelerator takes the other ops, unless a profile shows that it takes none.

    Args:
        log: of a run in which the CPU takes what is left.
        delegate: one of `ACCELERATORS`.
        operators: of such a run with a profile; none where the tool prints none.
    """
    if is_cpus_alone(operators):
        words = "a profile shows ops of the CPU alone"
        return replace(log, complaints=(*log.complaints, words), not_full=True)
    return replace(log, created=log.created | {delegate}, not_full=True)


def _names(flags: list[str]) -> set[str]:
    return {flag.partition("=")[0] for flag in flags}
