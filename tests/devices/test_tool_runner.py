"""What the runner of benchmark_model makes of the tool's words, of taskset, and of a device that
goes away or throttles: on a shell of this computer, with a tool that prints what a test says."""

import dataclasses
import os
from pathlib import Path

import phones
import psutil
import pytest
from local_shell import LocalShell

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.binary import find_binary
from pnas_tf.devices.benchmark_tool.launch import Launcher
from pnas_tf.devices.benchmark_tool.runner import Timeouts, ToolRunner
from pnas_tf.devices.connection import CommandResult, RemoteStore, call
from pnas_tf.devices.cores import held_cores
from pnas_tf.devices.delegation import Delegation
from pnas_tf.devices.failures import (
    DelegateNotUsed,
    DeviceBusy,
    DeviceChanged,
    DeviceLost,
    DeviceSilent,
    DeviceUnplugged,
    GarbledOutput,
    LauncherFailed,
    MissingBinary,
    OtherDelegate,
    PartlyDelegated,
    RunKilled,
    RunTimedOut,
    UnknownFlag,
)
from pnas_tf.devices.record import Device
from pnas_tf.devices.ssh import board
from pnas_tf.devices.thermal import parse_thermal
from pnas_tf.io import atomic

MODEL = Path(phones.HERE) / "tiny_float32.tflite"
RESULT = """INFO: count=1 curr=900
INFO: count=4 first=905 curr=900 min=890 max=910 avg=900.5 std=5 p5=890 median=901 p95=910
INFO: Inference timings in us: Init: 1, First inference: 9, Warmup (avg): 9, Inference (avg): 900.5
"""
GPU = (
    "Explicitly applied GPU delegate, and the model graph will be completely executed by the "
    "delegate."
)
NNAPI = GPU.replace("GPU", "NNAPI")
NOT_EXECUTED = (
    "Though GPU delegate is explicitly applied, the model graph will not be executed by the "
    "delegate."
)
XNNPACK = "Created TensorFlow Lite XNNPACK delegate for CPU."


@pytest.fixture
def shell(tmp_path):
    return LocalShell(tmp_path)


def binary_of(shell, wanted, say=lambda line: None):
    return find_binary(shell, wanted, "", delegate="none", android=False, say=say)


def runner_on(shell, *, cores=(), say=lambda line: None, prepare=None, run_s=20.0, **options):
    (shell.commands.parent / "counter").write_text("")
    return ToolRunner(
        RemoteStore(shell, str(shell.commands.parent / "far")),
        DeviceConfig(**options),
        binary=binary_of(shell, str(shell.commands / "benchmark_model")),
        prepare=prepare or (lambda say: Device("ssh", "board", "processor", cores)),
        timeouts=Timeouts(run_s=run_s, return_s=1.0, cool_down_s=30.0, poll_s=5.0, attempts=3),
        say=say,
    )


def tool_that_says(shell, text, *, ends="exit 0"):
    said = shell.commands.parent / "said.txt"
    said.write_text(text)
    count = shell.commands.parent / "counter"
    return shell.add_command("benchmark_model", f"echo >> {count}\ncat {said}\n{ends}")


def measured(shell, lines, **options):
    tool_that_says(shell, f"{lines}\n{RESULT}")
    with runner_on(shell, **options) as runner:
        return runner.run(MODEL, warmups=1, invocations=4)


def runs(shell):
    return len((shell.commands.parent / "counter").read_text())


@pytest.mark.parametrize(
    "flag",
    [
        "--use_gpu=true",
        "--min_secs=0",
        "--warmup_min_secs=0",
        "--num_runs=4",
        "--warmup_runs=1",
        "--num_threads=1",
        "--use_gpu",
    ],
)
@pytest.mark.parametrize(
    "prefix", ["", "WARN: ", "WARNING: ", "07-14 13:14:52.099 1 1 W tflite  : "]
)
def test_a_flag_of_ours_that_the_tool_does_not_know_is_quoted(shell, flag, prefix):
    """The tool only warns, and would measure something else than asked for."""
    with pytest.raises(UnknownFlag, match=flag) as refused:
        measured(shell, f"{prefix}Unconsumed cmdline flags: {flag}\n{GPU}", delegate="gpu")
    assert refused.value.received == f"Unconsumed cmdline flags: {flag}" and runs(shell) == 1


def test_a_run_lasts_from_its_programs_start_to_its_end(shell):
    tool_that_says(shell, RESULT, ends="sleep 0.3")
    with runner_on(shell) as runner:
        run = runner.run(MODEL, warmups=1, invocations=4)
    assert 0.3 <= run.ended_unix_s - run.started_unix_s < 60


def test_clocks_are_read_first_when_the_tool_has_ended(shell):
    """`dumpsys` takes its time, and an idle core's clock falls."""
    shell.add_command("dumpsys", "echo Thermal Status: 0")
    tool_that_says(shell, RESULT)
    with runner_on(shell) as runner:
        output = runner._run_tool(MODEL, warmups=1, invocations=4, flags=()).output
    _, _, after = output.partition("pnas_tf-after\n")
    assert after.startswith("pnas_tf-thermal clocks\n") and "Thermal Status" in after


def test_several_unknown_flags_are_all_quoted_and_those_of_others_do_not_matter(shell):
    line = "Unconsumed cmdline flags: --theirs=1 --use_xnnpack=true --graph_of=x --min_secs=0"
    with pytest.raises(UnknownFlag, match="know --use_xnnpack=true, --min_secs=0"):
        measured(shell, line)
    assert measured(shell, "Unconsumed cmdline flags: --theirs=1 --num_runs_of=3").count == 4


@pytest.mark.parametrize("executes", [True, False])
def test_litert_tools_are_told_of_the_cpu_in_their_own_words(shell, executes):
    """Theirs have no --use_xnnpack, and --use_cpu, whose XNNPACK must have run."""
    said = shell.commands.parent / "litert.txt"
    said.write_text((f"{replacing(9, 9, XNN, 1)}\n" if executes else "") + RESULT)
    shell.add_command(
        "benchmark_model",
        'case "$*" in *--use_xnnpack=*) echo Unconsumed cmdline flags: --use_xnnpack=true;; esac\n'
        f"cat {said}",
    )
    with runner_on(shell) as runner:
        if not executes:
            with pytest.raises(UnknownFlag, match="--use_xnnpack=true"):
                runner.run(MODEL, warmups=1, invocations=4)
            return
        for _ in range(2):
            run = runner.run(MODEL, warmups=1, invocations=4)
            assert run.delegation == Delegation(9, 9, 1)
    calls = [script for script in shell.log if "--graph=" in script]
    assert ["--use_cpu=true" in script for script in calls] == [False, True, True]
    with runner_on(shell, delegate="none") as runner, pytest.raises(UnknownFlag, match="=false"):
        shell.add_command(
            "benchmark_model", f"echo Unconsumed cmdline flags: --use_xnnpack=false\ncat {said}"
        )
        runner.run(MODEL, warmups=1, invocations=4)


def test_a_tool_without_profiles_costs_the_profile_alone(shell):
    tool_that_says(shell, f"Unconsumed cmdline flags: --enable_op_profiling=true\n{RESULT}")
    with runner_on(shell) as runner, pytest.raises(GarbledOutput, match="no per-operator profile"):
        runner.profile(MODEL)


def replacing(ops, total, name, partitions, graph=" for subgraph 0"):
    return (
        f"VERBOSE: Replacing {ops} out of {total} node(s) with delegate ({name}) node, yielding "
        f"{partitions} partitions{graph}."
    )


GPU_V2, XNN = "TfLiteGpuDelegateV2", "TfLiteXNNPackDelegate"
PROVEN = {
    "words": ("gpu", GPU, None),
    "words_with_xnnpack_made": ("gpu", f"{XNNPACK}\n{GPU}", None),
    "counts": ("gpu", replacing(66, 66, GPU_V2, 1), Delegation(66, 66, 1)),
    "whole_graph": ("gpu", replacing(9, 9, GPU_V2, 1, " for the whole graph"), Delegation(9, 9, 1)),
    "litert": (
        "gpu",
        replacing(66, 66, "LITERT_CL", 1, " for subgraph 0 (main)"),
        Delegation(66, 66, 1),
    ),
    "old": (
        "gpu",
        f"Replacing 66 node(s) with delegate ({GPU_V2}) node, yielding 1 partitions.",
        Delegation(66, 0, 1),
    ),
    "two_graphs": (
        "gpu",
        replacing(6, 6, GPU_V2, 1) + "\n" + replacing(4, 4, GPU_V2, 1, " for subgraph 1"),
        Delegation(10, 10, 2),
    ),
    "gpu_says_so_itself": (
        "gpu",
        "66 operations will run on the GPU, and the remaining 0 operations will run on the CPU.\n"
        + replacing(66, 66, GPU_V2, 1),
        Delegation(66, 66, 1),
    ),
    "npu": ("npu", replacing(1, 1, "DispatchDelegate", 1), Delegation(1, 1, 1)),
    "npu_compiled_there": (
        "npu",
        "INFO: [compiler_plugin.cc:741] Partitioned subgraph<0>, selected 66 ops, from a total of "
        f"66 ops. resulted in 1 partitions.\n{replacing(1, 1, 'DispatchDelegate', 1)}",
        Delegation(1, 1, 1),
    ),
    "nnapi": ("nnapi", NNAPI, None),
    "nnapi_own": (
        "nnapi",
        "TfLiteNnapiDelegate delegate: 31 nodes delegated out of 31 nodes with 1 partitions.\n"
        + replacing(31, 31, "TfLiteNnapiDelegate", 1),
        Delegation(31, 31, 1),
    ),
    "nnapi_named": (
        "nnapi",
        f"NNAPI accelerators available: [google-edgetpu,nnapi-reference]\n{NNAPI}",
        None,
    ),
    "xnnpack": ("xnnpack", f"{XNNPACK}\n{replacing(539, 548, XNN, 19)}", Delegation(539, 548, 19)),
    "xnnpack_silent": ("xnnpack", "", None),
    "none": ("none", "", None),
    "none_made_but_unused": (
        "none",
        f"{XNNPACK}\n{NOT_EXECUTED.replace('GPU', 'XNNPACK')}",
        None,
    ),
    "select_ops": ("none", replacing(2, 66, "TfLiteFlexDelegate", 3), None),
}


@pytest.mark.parametrize("case", PROVEN)
def test_what_the_log_proves_is_measured_and_recorded(shell, case):
    delegate, lines, delegation = PROVEN[case]
    assert measured(shell, lines, delegate=delegate).delegation == delegation


UNPROVEN = {
    "nothing": ("gpu", "", DelegateNotUsed),
    "nothing_nnapi": ("nnapi", "NNAPI delegate created.", DelegateNotUsed),
    "not_built_in": (
        "gpu",
        "WARN: GPU acceleration is unsupported on this platform.",
        DelegateNotUsed,
    ),
    "xnnpack_instead": (
        "gpu",
        f"GPU acceleration is unsupported on this platform.\n{GPU.replace('GPU', 'XNNPACK')}",
        DelegateNotUsed,
    ),
    "xnnpack_counts": ("gpu", replacing(66, 66, XNN, 1), DelegateNotUsed),
    "the_other_accelerator": ("nnapi", GPU, DelegateNotUsed),
    "the_other_one": ("gpu", NNAPI, DelegateNotUsed),
    "said_not_to": (
        "gpu",
        NOT_EXECUTED,
        DelegateNotUsed,
    ),
    "reference_driver": (
        "nnapi",
        f"NNAPI accelerators available: [nnapi-reference]\n{NNAPI}",
        DelegateNotUsed,
    ),
    "made_alone": (
        "gpu",
        "INFO: Created TensorFlow Lite delegate for GPU.\nGPU delegate created.",
        DelegateNotUsed,
    ),
    "meant_alone": (
        "gpu",
        "31 operations will run on the GPU, and the remaining 16 operations will run on the CPU.",
        DelegateNotUsed,
    ),
    "undone": (
        "gpu",
        replacing(66, 66, GPU_V2, 1) + f"\n{GPU}\nERROR: Node number 66 (TfLiteGpuDelegateV2) "
        "failed to prepare.\n"
        "ERROR: Restored original execution plan after delegate application failure.",
        DelegateNotUsed,
    ),
    "npu_without_a_kernel": (
        "npu",
        "ERROR: [dispatch_delegate.cc:131] Failed to create a dispatch delegate kernel: No usable "
        f"Dispatch runtime found\n{replacing(1, 1, 'DispatchDelegate', 1)}",
        DelegateNotUsed,
    ),
    "npu_loses_its_kernel": (
        "npu",
        f"{replacing(1, 1, 'DispatchDelegate', 1)}\nERROR: [dispatch_delegate.cc:131] Failed to "
        "create a dispatch delegate kernel: No usable Dispatch runtime found",
        DelegateNotUsed,
    ),
    "npu_that_fell_back": ("npu", replacing(470, 476, XNN, 7), DelegateNotUsed),
    "npu_compiled_and_not_run": (
        "npu",
        "Partitioned subgraph<0>, selected 66 ops, from a total of 66 ops. resulted in 1 "
        "partitions.",
        DelegateNotUsed,
    ),
    "gpu_for_the_npu": ("npu", replacing(66, 66, "LITERT_CL", 1), DelegateNotUsed),
    "xnnpack_though_none": ("none", XNNPACK, OtherDelegate),
    "xnnpack_counts_though_none": ("none", replacing(66, 66, XNN, 1), OtherDelegate),
    "xnnpack_words_though_none": ("none", GPU.replace("GPU", "XNNPACK"), OtherDelegate),
    "gpu_though_none": ("none", GPU, OtherDelegate),
    "gpu_though_xnnpack": ("xnnpack", replacing(66, 66, GPU_V2, 1), OtherDelegate),
    "xnnpack_said_not_to": (
        "xnnpack",
        NOT_EXECUTED.replace("GPU", "XNNPACK"),
        DelegateNotUsed,
    ),
}


@pytest.mark.parametrize("case", UNPROVEN)
@pytest.mark.parametrize("partial", [False, True])
def test_a_time_without_proof_is_none(shell, case, partial):
    delegate, lines, error = UNPROVEN[case]
    with pytest.raises(error):
        measured(shell, lines, delegate=delegate, partial_delegation=partial)
    assert runs(shell) == 1  # another run would tell the same


PARTLY = GPU.replace("completely", "partially").replace(".", " w/ 3 delegate kernels.")
LEFT = """ERROR: Following operations are not supported by GPU delegate:
CAST: Not supported cast case
TOPK_V2: Operation is not supported.

64 operations will run on the GPU, and the remaining 2 operations will run on the CPU."""
MIXED = {
    "named": (
        f"{LEFT}\n{replacing(30, 66, GPU_V2, 7)}",
        "30 of 66 ops, 7 partitions, CAST on the CPU",
    ),
    "named_in_words": (f"{LEFT}\n{PARTLY}", "64 of 66 ops, 3 delegate kernels, CAST on the CPU"),
    "declined_while_made": (
        f"{LEFT}\n{replacing(66, 66, 'LITERT_CL', 1)}",
        "64 of 66 ops, 1 partition, CAST on the CPU",
    ),
    "declined_and_denied": (f"{LEFT}\n{GPU}", "64 of 66 ops, CAST on the CPU"),
    "first_form": (
        "Next operations are not supported by GPU delegate:\nMEAN: Operation is not supported.\n"
        f"First 60 operations will run on the GPU, and the remaining 6 on the CPU.\n{PARTLY}",
        "60 of 66 ops, 3 delegate kernels, MEAN on the CPU",
    ),
    "not_fully_accelerated": (
        f"{replacing(66, 66, GPU_V2, 1)}\nFully accelerated:     False",
        "66 of unknown ops",
    ),
    "counts": (replacing(30, 66, GPU_V2, 7), "30 of 66 ops, 7 partitions"),
    "words": (PARTLY, "3 delegate kernels"),
    "both": (f"{replacing(30, 66, GPU_V2, 7)}\n{PARTLY}", "30 of 66 ops, 7 partitions"),
    "rest_by_xnnpack": (
        f"{replacing(54, 559, GPU_V2, 3)}\n{replacing(456, 506, XNN, 13)}",
        "54 of 559 ops, 3 partitions",
    ),
    "old": (
        f"Replacing 63 node(s) with delegate ({GPU_V2}) node, yielding 2 partitions.",
        "63 of unknown ops, 2 partitions",
    ),
    "second_graph": (
        replacing(6, 6, GPU_V2, 1) + "\n" + replacing(4, 9, GPU_V2, 3, " for subgraph 1"),
        "10 of 15 ops, 4 partitions",
    ),
    "own_line": (
        "TfLiteGpuDelegateV2 delegate: 64 nodes delegated out of 66 nodes with 2 partitions.",
        "64 of 66 ops, 2 partitions",
    ),
    "contradicted": (f"{GPU}\n{replacing(30, 66, GPU_V2, 7)}", "30 of 66 ops, 7 partitions"),
}


@pytest.mark.parametrize("case", MIXED)
def test_a_mixture_with_the_cpu_is_refused_and_kept_on_request(shell, case):
    lines, words = MIXED[case]
    named = words.partition(" on the CPU")[0].rpartition(", ")[2] if "on the CPU" in words else ""
    with pytest.raises(PartlyDelegated) as refused:
        measured(shell, lines, delegate="gpu")
    assert named in str(refused.value)
    assert "--partial_delegation" in str(refused.value)
    assert runs(shell) == (1 if named else 2)  # one with a profile, for the op's name
    assert words.partition(", ")[0] in str(refused.value) or "unknown" in words
    kept = measured(shell, lines, delegate="gpu", partial_delegation=True)
    assert kept.delegation.describe() == words and not kept.delegation.is_full


PROFILE = """============================== Run Order ==============================
\t [node type]\t [first]\t [avg ms]\t [%]\t [cdf%]\t [mem KB]\t[times called]\t[Name]
\t AllocateTensors\t 0.1\t 0.1\t 1%\t 1%\t 0\t 0\tAllocateTensors/0
\t TfLiteGpuDelegateV2\t 0.1\t 0.1\t 9%\t 9%\t 0\t 1\t[a]:66
\t RESIZE_BILINEAR\t 0.1\t 0.1\t 9%\t 9%\t 0\t 1\t[b]:3
\t CAST\t 0.1\t 0.1\t 9%\t 9%\t 0\t 1\t[c]:4
"""


@pytest.mark.parametrize("flag", ["enable_op_profiling", "use_profiler"])
def test_the_first_op_on_the_cpu_is_named_by_one_run_with_a_profile(shell, flag):
    """Where the log names none. TensorFlow Lite's tool and LiteRT's have a flag of their own."""
    said = shell.commands.parent / "said.txt"
    said.write_text(f"{replacing(30, 66, GPU_V2, 7)}\n{RESULT}")
    profile = shell.commands.parent / "profile.txt"
    profile.write_text(PROFILE)
    other = {"enable_op_profiling": "use_profiler", "use_profiler": "enable_op_profiling"}[flag]
    shell.add_command(
        "benchmark_model",
        f'case "$*" in *--{other}=*) echo "Unconsumed cmdline flags: --{other}=true";; esac\n'
        f'cat {said}\ncase "$*" in *--{flag}=true*) cat {profile};; esac',
    )
    with (
        runner_on(shell, delegate="gpu") as runner,
        pytest.raises(PartlyDelegated, match="first op on the CPU: RESIZE_BILINEAR"),
    ):
        runner.run(MODEL, warmups=1, invocations=4)
    with runner_on(shell, delegate="gpu", partial_delegation=True) as runner:
        for _ in range(3):
            run = runner.run(MODEL, warmups=1, invocations=4)
            assert run.delegation == Delegation(30, 66, 7, first_on_cpu="RESIZE_BILINEAR")
        assert [row.node_type for row in runner.profile(MODEL)][-1] == "CAST"
    scripts = [script for script in shell.log if "--graph=" in script]
    tried = 2 if flag == "use_profiler" else 1
    assert sum("profil" in script for script in scripts) == 2 * tried + 1


RESULTS = "INFO: [./litert/x.h:1] \n========== BENCHMARK RESULTS ==========\n"
NOT_ALL = (
    "ERROR: Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation.\n"
    "ERROR: Benchmarking failed.\n"
)


@pytest.mark.parametrize("delegate", ["gpu", "npu"])
def test_a_litert_tool_that_logs_nothing_is_told_to_fail_where_an_op_is_left(shell, delegate):
    said, left = shell.commands.parent / "said.txt", shell.commands.parent / "left.txt"
    said.write_text(RESULTS + RESULT)
    left.write_text(NOT_ALL)
    strict = f"--use_{delegate}=true --use_cpu=false --require_full_delegation=true"
    shell.add_command("benchmark_model", f"cat {said}")
    with runner_on(shell, delegate=delegate) as runner:
        for _ in range(2):
            assert runner.run(MODEL, warmups=1, invocations=4).samples_ns == (901_000.0,)
    scripts = [script for script in shell.log if "--graph=" in script]
    assert [strict in script for script in scripts] == [False, True, True]
    shell.add_command(
        "benchmark_model", f'case "$*" in *"{strict}"*) cat {left}; exit 1;; esac\ncat {said}'
    )
    with runner_on(shell, delegate=delegate) as runner, pytest.raises(PartlyDelegated):
        runner.run(MODEL, warmups=1, invocations=4)
    shell.add_command(
        "benchmark_model",
        f'case "$*" in *"{strict}"*)\n'
        f"echo Unconsumed cmdline flags: --require_full_delegation=true;; esac\ncat {said}",
    )
    for partial in (False, True):  # a tool too old for that proves nothing
        with (
            runner_on(shell, delegate=delegate, partial_delegation=partial) as runner,
            pytest.raises(DelegateNotUsed),
        ):
            runner.run(MODEL, warmups=1, invocations=4)


@pytest.mark.parametrize("profile, named", [(PROFILE, "RESIZE_BILINEAR"), ("", "")])
@pytest.mark.parametrize("delegate", ["gpu", "npu"])
def test_a_litert_tool_that_logs_nothing_tells_whole_models_from_mixtures(
    shell, tmp_path, delegate, profile, named
):
    own = {"gpu": "LITERT_CL", "npu": "DispatchDelegate"}[delegate]
    profile = profile.replace("TfLiteGpuDelegateV2", own)
    whole, mixed = tmp_path / "whole.tflite", tmp_path / "mixed.tflite"
    for model in (whole, mixed):
        model.write_bytes(MODEL.read_bytes() + model.name.encode())

    def tool(rows):
        texts = {"said": RESULTS + RESULT, "left": NOT_ALL, "rows": rows}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        shell.add_command(
            "benchmark_model",
            'case "$*" in *require_full_delegation=true*) grep -q mixed.tflite "${1#--graph=}" && '
            f"{{ cat {tmp_path}/left; exit 1; }};;\n"
            "*enable_op_profiling*) echo Unconsumed cmdline flags: --enable_op_profiling=true;;\n"
            f"*use_profiler*) cat {tmp_path}/rows;; esac\ncat {tmp_path}/said",
        )

    tool(profile)
    for first, second in ((whole, mixed), (mixed, whole)):
        with runner_on(shell, delegate=delegate, partial_delegation=True) as runner:
            for model in (first, second, first, second):
                run = runner.run(model, warmups=1, invocations=4)
                expected = None if model == whole else Delegation(first_on_cpu=named)
                assert run.delegation == expected
    assert Delegation(first_on_cpu="CAST").describe() == "an unknown part, CAST on the CPU"
    with runner_on(shell, delegate=delegate) as runner:
        assert runner.run(whole, warmups=1, invocations=4).delegation is None
        with pytest.raises(PartlyDelegated, match=f"op on the CPU: {named or 'not told'}"):
            runner.run(mixed, warmups=1, invocations=4)
    tool("\n".join(line for line in PROFILE.splitlines() if "Delegate" not in line))
    for partial in (False, True):  # no flag keeps what the CPU alone has executed
        with (
            runner_on(shell, delegate=delegate, partial_delegation=partial) as runner,
            pytest.raises(DelegateNotUsed, match="ops of the CPU alone"),
        ):
            runner.run(mixed, warmups=1, invocations=4)


def test_an_npu_finds_its_libraries_and_another_delegate_is_not_told_of_them(shell):
    lines = replacing(1, 1, "DispatchDelegate", 1)
    tool_that_says(
        shell, f"{lines}\n{RESULT}", ends='echo "$LD_LIBRARY_PATH $ADSP_LIBRARY_PATH $*"'
    )
    for delegate, there in (("npu", True), ("none", False)):
        with runner_on(shell, delegate=delegate, npu_libraries="/data/my libs") as runner:
            if there:
                runner.run(MODEL, warmups=1, invocations=4)
            output = runner._run_tool(MODEL, warmups=1, invocations=4, flags=()).output
        words = (
            "/data/my libs /data/my libs --graph=",
            "--dispatch_library_path=/data/my libs",
            "--compiler_plugin_library_path=/data/my libs",
        )
        assert [word in output for word in words] == [there] * 3


def test_counts_that_cannot_be_are_garbled(shell):
    with pytest.raises(GarbledOutput, match="more ops than there are"):
        measured(shell, replacing(67, 66, GPU_V2, 1), delegate="gpu")


def test_only_tables_of_mixtures_say_that_they_may_be(shell):
    tool_that_says(shell, RESULT)
    for delegate, partial, known in (
        ("gpu", True, True),
        ("gpu", False, False),
        ("none", True, False),
    ):
        with runner_on(shell, delegate=delegate, partial_delegation=partial) as runner:
            assert runner.settings.partial_delegation == known


# whose binary it is


def test_the_boards_own_binary_is_never_the_file_of_that_path_here(tmp_path, shell):
    ours = Path(shell.add_command("benchmark_model", "echo ours"))
    theirs = board._binary_for(shell, DeviceConfig(), {"binary": str(ours)}, print)
    assert not theirs.is_here and theirs.sha256 == atomic.sha256_of(ours)
    store = RemoteStore(shell, str(tmp_path / "far"))
    assert theirs.placed(store) == str(ours) and not (tmp_path / "far").exists()


def test_a_path_that_is_here_and_there_is_said_to_be_that_of_this_computer(tmp_path, shell):
    lines, both = [], shell.add_command("benchmark_model", "echo ours")
    binary = binary_of(shell, both, say=lines.append)
    assert binary.is_here and len(lines) == 1 and f"{both} of this computer" in lines[0]
    alone = tmp_path / "alone"
    alone.write_bytes(b"not executable, so not there")
    assert binary_of(shell, str(alone), say=lines.append).is_here and len(lines) == 1
    with pytest.raises(MissingBinary, match="neither here nor on"):
        binary_of(shell, "/nowhere/benchmark_model")
    with pytest.raises(MissingBinary, match="no benchmark_model to run"):
        binary_of(shell, "nowhere")


# taskset, and runs without end


def test_a_run_without_end_is_killed_there(tmp_path, shell):
    """From here it would go on and slow what is measured next. It may not heed a kind wish."""
    tool_that_says(shell, "", ends=f"echo $$ > {tmp_path}/pid; trap '' TERM; exec sleep 60")
    with runner_on(shell, run_s=1.0) as runner, pytest.raises(RunTimedOut):
        runner.run_hot(MODEL, warmups=1, invocations=4)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_whoever_watches_a_run_ends_with_it(shell):
    watching = 'until pgrep -xf "sleep 98765" >/dev/null; do sleep 0.05; done; sleep 0.2'
    tool_that_says(shell, RESULT, ends=watching)
    with runner_on(shell, run_s=98_765.0) as runner:
        assert runner.run(MODEL, warmups=1, invocations=4).count == 4
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] == ["sleep", "98765"]
    ]


def test_a_watch_that_ends_before_its_trap_is_set_adds_no_words(shell):
    script = Launcher(20.0, ()).script(["echo", "done"])
    early = script.replace("trap 'kill $sleep; exit 1' TERM", ":")
    assert early != script
    result = shell.run(early)
    assert result.output.startswith("done\n\npnas_tf-after") and result.exit_code == 0


def test_a_launcher_that_fails_later_is_told_as_what_it_is(shell):
    words = "taskset: failed to set pid 0's affinity: Invalid argument"
    tool_that_says(shell, words, ends="exit 1")
    with runner_on(shell) as runner, pytest.raises(LauncherFailed, match=words):
        runner.run(MODEL, warmups=1, invocations=4)


def test_a_tool_that_is_not_there_is_not_told_as_its_launchers_fault(shell):
    tool_that_says(
        shell, "taskset: failed to execute /x/benchmark_model: No such file", ends="exit 127"
    )
    with runner_on(shell) as runner, pytest.raises(MissingBinary):
        runner.run(MODEL, warmups=1, invocations=4)


class Cores:
    """A device of 4 slow and 4 fast cores, whose taskset answers as a test says."""

    name = "ssh:user@cores"

    def __init__(self, exit_code, output):
        self.answer, self.asked = CommandResult(exit_code, output), []

    def run(self, script, *, timeout_s=30.0):
        if "cpufreq" in script:
            lines = [f"core {index} {1800000 if index < 4 else 2400000} 1" for index in range(8)]
            return CommandResult(0, "\n".join([*lines, "taskset"]))
        self.asked.append(script)
        return self.answer


@pytest.mark.parametrize(
    ("code", "output", "cores", "told"),
    [
        (0, "Name:\tcat\nCpus_allowed_list:\t4-7\n", (4, 5, 6, 7), ""),
        (0, "nothing to read", (4, 5, 6, 7), ""),
        (0, "Cpus_allowed_list:\t6,7\n", (6, 7), ""),  # a cpuset cuts without a word
        (0, "Cpus_allowed_list:\t7\n", (), "it gives cores 7"),
        (0, "Cpus_allowed_list:\t0-3\n", (), "it gives cores 0,1,2,3"),
        (1, "taskset: sched_setaffinity: Invalid argument", (), "Invalid argument"),
        (1, "", (), "exit code 1"),
        (127, "sh: taskset: inaccessible or not found", (), "not found"),
    ],
)
def test_a_device_is_held_to_the_cores_that_it_really_gives(code, output, cores, told):
    device, lines = Cores(code, output), []
    assert held_cores(device, 2, say=lines.append) == cores
    assert device.asked == ["taskset f0 cat /proc/self/status"]
    assert len(lines) == bool(told) and all(told in line for line in lines)


def test_a_device_whose_cores_tell_nothing_is_not_held_and_says_so(shell):
    lines: list[str] = []

    class Mute(Cores):
        def run(self, script, *, timeout_s=30.0):
            return CommandResult(0, "core 0 - 1\ntaskset\n")

    assert held_cores(Mute(0, ""), 1, say=lines.append) == () and len(lines) == 1


# a device that another process measures


def test_a_device_is_measured_by_one_process_at_a_time(shell):
    tool_that_says(shell, RESULT)
    prepared = []

    def prepare(say):
        prepared.append(say)
        return HELD

    with runner_on(shell, prepare=prepare) as first:
        with pytest.raises(DeviceBusy, match=f"held by pid {os.getpid()}"):
            runner_on(shell, prepare=prepare)
        assert len(prepared) == 1  # and its mode is not touched
        assert first.run(MODEL, warmups=1, invocations=4).count == 4
    with runner_on(shell, prepare=prepare) as second:
        assert second.run(MODEL, warmups=1, invocations=4).count == 4


def test_a_device_that_cannot_be_opened_is_let_go(shell):
    tool_that_says(shell, RESULT)

    def lost(say):
        raise DeviceUnplugged("the cable", received="nothing")

    with pytest.raises(DeviceUnplugged) as failed:
        runner_on(shell, prepare=lost)
    with runner_on(shell) as runner:
        assert runner.run(MODEL, warmups=1, invocations=4).count == 4
    assert failed.value.received == "nothing"


# a device that goes away


class Losing(LocalShell):
    """Is lost in so many runs of the tool, and back at once."""

    def __init__(self, folder, losses):
        super().__init__(folder)
        self.losses = losses

    def run(self, script, *, timeout_s=30.0):
        if "--graph=" in script and self.losses:
            self.losses -= 1
            raise DeviceUnplugged("the cable", received="nothing")
        return super().run(script, timeout_s=timeout_s)


HELD = Device("ssh", "board", "processor", (), "system, fixed performance mode")
FREE = dataclasses.replace(HELD, os="system")


def test_a_device_that_was_away_is_set_up_again_and_its_services_are_waited_for(tmp_path):
    """A restart ends a phone's fixed performance mode, and adb answers before it can be set."""
    shell, found = Losing(tmp_path, 1), [HELD, FREE, HELD]
    tool_that_says(shell, RESULT)
    with runner_on(shell, prepare=lambda say: found.pop(0)) as runner:
        assert runner.run(MODEL, warmups=1, invocations=4).count == 4
    assert found == [] and runner.device == HELD


def test_a_device_that_comes_back_as_another_is_not_measured_on(tmp_path):
    shell, found = Losing(tmp_path, 1), iter([HELD])
    tool_that_says(shell, RESULT)
    with (
        runner_on(shell, prepare=lambda say: next(found, FREE)) as runner,
        pytest.raises(DeviceChanged, match="os 'system', not 'system, fixed performance mode'"),
    ):
        runner.run(MODEL, warmups=1, invocations=4)
    assert runs(shell) == 0


def test_a_model_that_takes_the_device_down_costs_itself_alone(tmp_path):
    shell = Losing(tmp_path, 3)
    tool_that_says(shell, RESULT)
    with runner_on(shell) as runner:
        with pytest.raises(RunKilled, match="went away in a run of this model, and came back"):
            runner.run(MODEL, warmups=1, invocations=4)
        assert runner.run(MODEL, warmups=1, invocations=4).count == 4


def test_a_device_that_hangs_is_lost_and_no_fault_of_a_model(tmp_path):
    """All its models would be taken for bad ones, after hours."""
    with pytest.raises(DeviceSilent, match="ssh:user@here gave no answer"):
        call(["sleep", "5"], to="ssh:user@here", timeout_s=0.1)
    shell = Losing(tmp_path, 1)
    tool_that_says(shell, RESULT)

    def silent(*, timeout_s):
        raise DeviceSilent("no answer", received="nothing")

    shell.wait_until_back = silent
    with runner_on(shell) as runner, pytest.raises(DeviceLost):
        runner.run(MODEL, warmups=1, invocations=4)


# a device that throttles


BOARD, PHONE = "vcgencmd\nthrottled=0x{:x}\n", "thermalservice\nThermal Status: {}\n"


def throttling(shell, states, *, number, shown=BOARD):
    """So many runs on a device that shows these states, one after the other and the last one for
    ever: (throttling of each run, seconds slept before it, lines)."""
    tool_that_says(shell, RESULT)
    slept, lines = [0.0], []
    with runner_on(shell, say=lines.append) as runner:
        seen = iter(states)
        last = [0]

        def read(text=None):
            last[0] = next(seen, last[0])
            return parse_thermal("pnas_tf-thermal " + shown.format(last[0]))

        runner.cooling._read = read
        runner.cooling.sleep = lambda seconds: slept.__setitem__(-1, slept[-1] + seconds)
        found = []
        for _ in range(number):
            runner.cooling.state = read()
            found.append(_run_with(runner, read))
            slept.append(0.0)
    return found, slept[:-1], lines


def _run_with(runner, read):
    once = runner._run_once

    def run_once(model, **options):
        run = once(model, **options)
        runner.cooling.state = read()
        return dataclasses.replace(run, throttling=runner.cooling.state.complaint)

    runner._run_once = run_once
    try:
        return runner.run(MODEL, warmups=1, invocations=4).throttling
    finally:
        runner._run_once = once


@pytest.mark.parametrize("state", [0x50005, 0x1, 0x3, 0x7])
def test_a_weak_supply_is_told_once_and_never_waited_for(shell, state):
    found, slept, lines = throttling(shell, [state], number=4)
    assert slept == [0.0] * 4 and len(lines) == 1 and "under-voltage" in lines[0]
    assert all(words.startswith("under-voltage") for words in found)
    assert runs(shell) == 4  # and no run is repeated for it


@pytest.mark.parametrize(
    ("shown", "state"),
    [*((BOARD, state) for state in (0x2, 0x4, 0x8, 0x9)), (PHONE, 1), (PHONE, 6), (PHONE, 9)],
)
def test_a_state_that_stays_is_waited_for_once_with_a_line_before(shell, shown, state):
    """Android's "light" for ever among them."""
    found, slept, lines = throttling(shell, [state], number=4, shown=shown)
    assert slept == [30.0, 0.0, 0.0, 0.0] and all(found) and runs(shell) == 4
    assert len(lines) == 2 and "waiting up to 30 s" in lines[0] and "does not pass" in lines[1]


def test_a_state_that_has_cleared_is_waited_for_again_and_a_worse_one_at_once(shell):
    stays = [0x4] * 9  # read, then six looks, and after the run
    _, slept, _ = throttling(shell, [*stays, 0x0, 0x0, *[0x4] * 20], number=4)
    assert slept[0] == 30.0 and sum(slept[1:]) == 30.0
    (shell.commands.parent / "counter").write_text("")
    _, slept, _ = throttling(shell, [*[0x8] * 10, *[0xC] * 20], number=4)
    assert slept[0] == 30.0 and sum(slept[1:]) == 30.0


def test_a_limit_that_comes_back_is_waited_for_on_a_weak_supply_too(shell):
    stays = [0x9] * 9  # under-voltage and the soft limit: read, six looks, and after the run
    _, slept, lines = throttling(shell, [*stays, 0x1, 0x1, *[0x9] * 20], number=4)
    assert slept[0] == 30.0 and sum(slept[1:]) == 30.0
    assert sum("waiting up to 30 s" in line for line in lines) == 2
