"""The whole way on a phone, as one chain: table, search, training, export, benchmark, validation,
by adb, with the cable pulled twice.

    python benchmarks/phone_chain.py --small

runs pnas run and pnas validate on a stand-in phone (tests/support/standin/phones.py: the
stock adb client, a real adbd, a benchmark_model that executes what is pushed) and takes about a
minute; without --small it is space tiny with both formats and takes about ten. In the middle of the
latency table the phone is pulled out and the program killed; the same command goes on when it is
back. In the middle of the validation the phone is pulled out and comes back by itself while the
program waits. Prints what each step left, and exits 1 when a run measured before was lost or a
figure is missing. A stand-in's times mean nothing for a phone, so no bound is set on the
prediction's error. Needs root, adb and adbd.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support" / "standin"), str(ROOT)]

import phones as standin  # noqa: E402

from pnas_tf.run.layout import Artifact, model_file  # noqa: E402
from pnas_tf.space.mbconv import MBConvSpace, Stage  # noqa: E402
from pnas_tf.space.ops import MBConv  # noqa: E402
from pnas_tf.space.registry import save_space  # noqa: E402

SMALL_SPACE = MBConvSpace(
    "chain", 32, 10, 16, 16, (Stage(32, 2, 2),), 32, (MBConv(3, 3), MBConv(7, 6))
)
MEASURING = (
    "--op_profile",
    "--min_invocations=4",
    "--warmup_invocations=1",
    "--calibration_networks=3",
)
SMALL = (
    "--formats=float32",
    "--convert_workers=0",
    "--warmup_epochs=1",
    "--search_epochs=2",
    "--epochs=1",
    *MEASURING,
)
LARGE = (
    "--space=tiny",
    "--formats=float32,int8",
    "--warmup_epochs=4",
    "--search_epochs=6",
    "--epochs=6",
    *MEASURING,
)
LEFT_BEHIND = (
    Artifact.LATENCY_TABLE,
    Artifact.ARCHITECTURE,
    model_file("float32"),
    Artifact.PARITY,
    Artifact.BENCHMARK,
    Artifact.VALIDATION,
    Artifact.SUMMARY,
    Artifact.REPORT,
)


def start(name: str, *flags: str) -> subprocess.Popen[str]:
    """A program of tools/ in a process of its own, its words on our output."""
    print(f"\n$ python -m tools.{name} {' '.join(flags)}", flush=True)
    return subprocess.Popen(
        [sys.executable, "-m", f"tools.{name}", *flags],
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_for_runs(phone: Any, count: int, process: subprocess.Popen[str]) -> None:
    """Until the phone has run `count` models. Raises RuntimeError when the program ends before
    that."""
    while len(phone.runs()) < count:
        if process.poll() is not None:
            raise RuntimeError(
                f"ended with {process.returncode} after {len(phone.runs())} of {count} runs"
            )
        time.sleep(0.05)


def finished(process: subprocess.Popen[str]) -> None:
    if process.wait() != 0:
        raise RuntimeError(f"exit status {process.returncode}")


def logged(cache: Path) -> list[tuple[str, float]]:
    """(model, start of the run) of every run in the logs of unfinished sessions."""
    rows = [
        json.loads(line)
        for path in cache.glob("session_*.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    return [(row["model"], row["visit"]["started_unix_s"]) for row in rows if "visit" in row]


def in_table(path: Path) -> set[tuple[str, float]]:
    """The same of a latency table's blocks and trials."""
    document = json.loads(path.read_text())
    entries = dict(document["entries"])
    for key, trial in document["trials"].items():
        entries |= {f"{key} without": trial["plain"], f"{key} with": trial["rewritten"]}
    return {
        (name, each["started_unix_s"])
        for name, entry in entries.items()
        if entry
        for each in entry["visits"]
    }


def chain(phones: Any, run: Path, *, small: bool) -> list[str]:
    """Runs it; returns what is wrong, in words."""
    phone, cache = phones.add(), run / "cache"
    tool = str(standin.executable_tool(phones.folder))
    if small:
        save_space(SMALL_SPACE, run / "space.json")
    device = (
        f"--run_dir={run / 'run'}",
        "--dataset=digits",
        f"--device=android:{phone.serial}",
        f"--benchmark_binary={tool}",
        f"--model_cache={cache}",
    )
    options = (*((f"--space={run / 'space.json'}", *SMALL) if small else LARGE),)
    phone.configure()
    process = start("push_button", *device, *options)
    wait_for_runs(phone, 30 if small else 150, process)
    process.send_signal(signal.SIGKILL)
    phone.pull_out()
    process.wait()
    before = logged(cache)
    print(
        f"\n-- the phone is pulled out and the program killed: {len(before)} runs in the "
        "log; the same command goes on",
        flush=True,
    )
    phone.plug_in()
    phone.configure()
    finished(start("push_button", *device, *options))

    process = start("validate", *device, f"--networks={2 if small else 10}")
    already = len(phone.runs())
    wait_for_runs(phone, already + 8, process)
    phone.pull_out()
    print("\n-- the phone is pulled out for 2 seconds", flush=True)
    time.sleep(2)
    phone.plug_in()
    finished(process)
    return problems(run / "run", before)


def problems(run: Path, before: list[tuple[str, float]]) -> list[str]:
    """What the finished run lacks."""
    found = [f"no {name}" for name in LEFT_BEHIND if not (run / name).is_file()]
    if found:
        return found
    names = (Artifact.LATENCY_TABLE, Artifact.VALIDATION, Artifact.BENCHMARK)
    table, validation, latency = (json.loads((run / name).read_text()) for name in names)
    kept = in_table(run / Artifact.LATENCY_TABLE)
    lasting = [entry for entry in before if entry[0] in {name for name, _ in kept}]
    lost = [entry for entry in lasting if entry not in kept]
    print(
        f"\n{len(lasting) - len(lost)} of {len(lasting)} runs of blocks and trials before the "
        "kill stand in the table"
    )
    found += [f"lost run {entry}" for entry in lost] + (
        [] if lasting else ["nothing had been measured before the kill"]
    )
    devices = {
        name: document["device"]
        for name, document in (("table", table), ("validation", validation), ("latency", latency))
    }
    if (
        len({json.dumps(device, sort_keys=True) for device in devices.values()}) != 1
        or devices["table"]["kind"] != "android"
    ):
        found.append(f"devices differ: {devices}")
    if table["failures"] or validation["failures"]:
        found.append(f"failures: {table['failures']}, {validation['failures']}")
    print(
        f"table: {len(table['entries'])} blocks, rewrites chosen by trial: "
        f"{table['rewrites'] or 'none'}"
    )
    print(
        f"validation: {validation['networks']} networks, MAPE {validation['mape_percent']:.1f} %, "
        f"noise floor {validation['noise_floor_mape_percent']:.1f} %"
    )
    if set(latency["op_profiles"]) != set(latency["measurements"]):
        found.append(f"op profiles of {sorted(latency['op_profiles'])} alone")
    print(
        "benchmark: "
        + ", ".join(
            f"{name} {entry['median_ms']:.3g} ms" for name, entry in latency["measurements"].items()
        )
    )
    return found


def main() -> int:
    """Plugs a phone in and runs the chain."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--small", action="store_true", help="two choice blocks, an epoch or two, float32 only"
    )
    options = parser.parse_args()
    if reason := standin.missing():
        print(reason, file=sys.stderr)
        return 2
    began = time.monotonic()
    with standin.Phones() as phones, tempfile.TemporaryDirectory() as folder:
        os.environ["PATH"] = f"{phones.path}:{os.environ['PATH']}"
        found = chain(phones, Path(folder), small=options.small)
    print(
        "\n".join(found) or f"whole: nothing is missing or lost ({time.monotonic() - began:.0f} s)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
