"""The far side's stand-in for benchmark_model: runs the given .tflite with LiteRT and prints the
tool's documented formats.

As the real tool it warns of flags that it does not know, and goes on; and it runs a model on the
CPU when a delegate takes nothing of it.
Never imported by the program under test; it is pushed to a stand-in device and executed there. The
file standin.json in the device's /data/local/tmp (or in $STANDIN_HOME) sets its form ("classic",
"percentiles", "milliseconds"), its pace (sleep added to every invocation, so that it costs no
processor time), misbehaviour by number of run ({"2": "kill"}), the names of flags that this build
does not know ("unknown": ["use_gpu"]) and what it has of each accelerator ("gpu", "nnapi", "npu"):
"absent" (not built in), "none" (takes no node, the default), "partial" or "full".
"tool": "litert" makes it LiteRT's own: other flags, a CPU that takes what is left unless told
otherwise, no word of what was applied but the runtime's. "quiet": true is a build without the
runtime's verbose lines.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

HOME = Path(os.environ.get("STANDIN_HOME", "/data/local/tmp"))


SHARED_FLAGS = {
    "graph": "",
    "num_threads": "-1",
    "warmup_runs": "1",
    "num_runs": "50",
    "min_secs": "1.0",
    "warmup_min_secs": "0.5",
    "use_gpu": "false",
    "max_secs": "150",
}
OWN_FLAGS = {
    "tensorflow": {"use_xnnpack": "true", "use_nnapi": "false", "enable_op_profiling": "false"},
    "litert": {
        "use_cpu": "true",
        "use_npu": "false",
        "require_full_delegation": "false",
        "dispatch_library_path": "",
        "compiler_plugin_library_path": "",
        "use_profiler": "false",
    },
}
KERNELS = {
    "tensorflow": {"gpu": "TfLiteGpuDelegateV2", "nnapi": "TfLiteNnapiDelegate"},
    "litert": {"gpu": "LITERT_CL", "npu": "DispatchDelegate"},
}


def read_flags(arguments, tool, unknown):
    """The flags, and those that this build does not know: as in the real tool no reason to stop."""
    unconsumed = []
    flags = {**SHARED_FLAGS, **OWN_FLAGS[tool]}
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if name not in flags or name in unknown:
            unconsumed.append(argument)
        else:
            flags[name] = value
    return flags, unconsumed


def timed_runs(interpreter, at_least, min_seconds, pace_s):
    times = []
    began = time.perf_counter()
    while len(times) < at_least or time.perf_counter() - began < min_seconds:
        start = time.perf_counter()
        interpreter.invoke()
        if pace_s:
            time.sleep(pace_s)
        times.append(round((time.perf_counter() - start) * 1e6))
    return times


def six_digits(value):
    return f"{value:.6g}"


def count_line(times, form):
    if not times:
        return "count=0"
    mean, deviation = sum(times) / len(times), float(np.std(times))
    line = f"count={len(times)} curr={times[-1]}" + ("(all same)" if len(times) > 1 else "")
    if len(set(times)) > 1:
        line = (
            f"count={len(times)} first={times[0]} curr={times[-1]} min={min(times)} "
            f"max={max(times)} "
            f"avg={six_digits(mean)} std={deviation:.0f}"
        )
    if form != "classic":
        ordered = sorted(times)
        line += "".join(
            f" {name}={ordered[int(share * (len(times) - 1))]}"
            for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95))
        )
    return line


def ops_of(interpreter):
    names = [detail["op_name"] for detail in interpreter._get_ops_details()]
    return [name for name in names if name != "DELEGATE"]


def profile_table(operators, times):
    share_ms = (
        sum(times) / len(times) / 1000.0 / len(operators)
    )  # a stand-in: every operator is given the same part
    part = 100 / len(operators)
    rows = "\n".join(
        f"\t{name:>24}\t{share_ms:9.3f}\t{share_ms:9.3f}\t{part:7.3f}%\t{part * (number + 1):7.3f}%\t{0.0:10.3f}\t{1:9d}"
        f"\t[{name.lower()}]:{number}"
        for number, name in enumerate(operators)
    )
    head = (
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem "
        "KB]\t[times called]\t[Name]"
    )
    return (
        f"Operator-wise Profiling Info for Regular Benchmark Runs:\n{'=' * 30} Run Order "
        f"{'=' * 30}\n{head}\n{rows}\n"
    )


def apply_delegate(name, ops, tool, settings, say):
    """Says what the real tool says of an accelerator, returns how many nodes it would take; the CPU
    does the work in any case."""
    kernel, nodes, what = KERNELS[tool][name.lower()], len(ops), settings.get(name.lower(), "none")
    if what == "absent":
        if tool == "litert":
            print(f"ERROR: [x.cc:122] No {name.lower()} library found in here", flush=True)
        else:
            say(f"{name} acceleration is unsupported on this platform.")
        return 0
    taken = {"full": nodes, "partial": nodes // 2, "none": 0}[what]
    if name == "GPU" and what == "partial" and not settings.get("quiet"):
        print(
            "ERROR: Following operations are not supported by GPU delegate:\n"
            f"{ops[taken]}: Operation is not supported.\n"
            f"{taken} operations will run on the GPU, and the remaining {nodes - taken} operations "
            "will run on the CPU.",
            flush=True,
        )
    if taken and not settings.get("quiet"):
        print(
            f"VERBOSE: Replacing {taken} out of {nodes} node(s) with delegate ({kernel}) node, "
            f"yielding {1 if taken == nodes else 3} partitions for subgraph 0.",
            flush=True,
        )
    if tool == "litert":
        return taken
    say(f"{name} delegate created.")
    words = {
        "full": f"Explicitly applied {name} delegate, and the model graph will be completely "
        "executed by the delegate.",
        "partial": f"Explicitly applied {name} delegate, and the model graph will be partially "
        "executed by the delegate w/ 2 delegate kernels.",
        "none": f"Though {name} delegate is explicitly applied, the model graph will not be "
        "executed by the delegate.",
    }
    say(words[what])
    return taken


def next_run_number():
    counter = HOME / "standin.runs"
    number = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(number))
    return number


def main():
    settings_file = HOME / "standin.json"
    settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
    form, pace_s = settings.get("form", "percentiles"), settings.get("pace_ms", 0) / 1000.0
    misbehaviour = settings.get("runs", {}).get(str(next_run_number()), "")
    prefix = "" if form == "classic" else "INFO: "
    tool = settings.get("tool", "tensorflow")
    flags, unconsumed = read_flags(sys.argv[1:], tool, settings.get("unknown", []))
    on_cpu = flags.get("use_xnnpack", flags.get("use_cpu")) == "true"
    with open(HOME / "standin.log", "a") as log:  # what a test may want to know of a run
        log.write(
            json.dumps(
                {"flags": flags, "cores": sorted(os.sched_getaffinity(0)), "binary": sys.argv[0]}
            )
            + "\n"
        )

    def say(text):
        print(prefix + text, flush=True)

    say("STARTING!")
    if unconsumed:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unconsumed)}", flush=True)
    say(f"Num threads: [{flags['num_threads']}]")
    say(f"Graph: [{flags['graph']}]")
    resolver = OpResolverType.AUTO if on_cpu else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    began = time.perf_counter()
    try:
        interpreter = Interpreter(
            model_path=flags["graph"],
            num_threads=max(1, int(flags["num_threads"])),
            experimental_op_resolver_type=resolver,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        print(
            f"ERROR: {error}\nERROR: Failed to load model {flags['graph']}\nERROR: Benchmarking "
            "failed.",
            flush=True,
        )
        sys.exit(1)
    init_us = round((time.perf_counter() - began) * 1e6)
    for detail in interpreter.get_input_details():
        values = np.random.default_rng(0).uniform(-1, 1, detail["shape"])
        interpreter.set_tensor(
            detail["index"],
            (values * 127 if detail["dtype"] != np.float32 else values).astype(detail["dtype"]),
        )
    say(f"Loaded model {flags['graph']}")
    ops = ops_of(interpreter)
    nodes = left = len(ops)
    executed = list(ops)
    for name, kernel in KERNELS[tool].items():
        if flags[f"use_{name}"] == "true":
            taken = apply_delegate(name.upper(), ops, tool, settings, say)
            left -= taken
            executed = [kernel] * bool(taken) + ops[taken:]
    if left and flags.get("require_full_delegation") == "true":
        print(
            "ERROR: Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation "
            "accelerator set to allow using the CPU to run those.\nERROR: Failed to compile "
            "model.\nERROR: Benchmarking failed.",
            flush=True,
        )
        sys.exit(1)
    if on_cpu:  # the real tools' default, so it takes what others leave
        print("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", flush=True)
        if left and not settings.get("quiet"):
            print(
                f"VERBOSE: Replacing {left} out of {left + (left < nodes)} node(s) with delegate "
                "(TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.",
                flush=True,
            )
    say(f"The input model file size (MB): {six_digits(os.path.getsize(flags['graph']) / 1e6)}")
    say(f"Initialized session in {init_us / 1000:g}ms.")
    say(
        f"Running benchmark for at least {flags['warmup_runs']} iterations and at least "
        f"{flags['warmup_min_secs']} seconds "
        f"but terminate if exceeding {flags['max_secs']} seconds."
    )
    warmups = timed_runs(
        interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), pace_s
    )
    if form != "milliseconds":
        say(count_line(warmups, form) + "\n")
    if misbehaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if misbehaviour == "cut":
        sys.exit(0)
    if misbehaviour == "hang":
        time.sleep(3600)
    say(
        f"Running benchmark for at least {flags['num_runs']} iterations and at least "
        f"{flags['min_secs']} seconds "
        f"but terminate if exceeding {flags['max_secs']} seconds."
    )
    times = timed_runs(interpreter, int(flags["num_runs"]), float(flags["min_secs"]), pace_s)
    if misbehaviour == "fast":
        times = [1] * len(times)
    first, warm, mean = (
        (warmups or times)[0],
        sum(warmups) / len(warmups) if warmups else 0.0,
        sum(times) / len(times),
    )
    if form != "milliseconds":
        say(
            count_line(
                [time * 3 for time in times] if misbehaviour == "contradict" else times, form
            )
            + "\n"
        )
    if form == "milliseconds" or tool == "litert":
        print(
            "INFO: [./litert/tools/benchmark_litert_model.h:72] \n========== BENCHMARK RESULTS "
            "=========="
        )
        for line, text in (
            (73, f"Model initialization: {init_us / 1000:.2f} ms"),
            (75, f"Warmup (first):       {first / 1000:.2f} ms"),
            (77, f"Warmup (avg):         {warm / 1000:.2f} ms ({len(warmups)} runs)"),
            (79, f"Inference (avg):      {mean / 1000:.2f} ms ({len(times)} runs)"),
            (83, f"Inference (min):      {min(times) / 1000:.2f} ms"),
            (85, f"Inference (max):      {max(times) / 1000:.2f} ms"),
        ):
            print(f"INFO: [./litert/tools/benchmark_litert_model.h:{line}] {text}")
    else:
        say(
            f"Inference timings in us: Init: {init_us}, First inference: {first}, Warmup (avg): "
            f"{six_digits(warm)}, "
            f"Inference (avg): {six_digits(mean)}"
        )
        say("Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.5")
    if "true" in (flags.get("enable_op_profiling"), flags.get("use_profiler")):
        print(profile_table(executed, times), flush=True)


if __name__ == "__main__":
    main()
