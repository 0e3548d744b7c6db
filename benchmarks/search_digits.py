"""Does every way of searching end, and does what it derives meet the latency target within 10 %? On
digits, on this computer.

  python -m benchmarks.search_digits --json

builds one latency table, searches with two_path, full, full_recompute, reinforce (latency from the
table) and reinforce (latency measured on the device) in a run folder each, then measures the
derived networks in one session, all with the published latency terms. About 15 minutes on 2 quiet
cores. Prints target, predicted and measured latency and the error of both against the target; exit
status 1 when a measured latency, drift taken out by the sentinel, is farther than
--max_error_percent from it. Whatever follows `--` goes to the programs that take it, e.g.
`-- --space=proxyless` or, to see that it works, `-- --warmup_epochs=1 --search_epochs=1`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnas_tf.config import ConversionConfig, DeviceConfig, LatencyConfig, RunConfig
from pnas_tf.devices.registry import runner_for
from pnas_tf.devices.schedule import schedule_for
from pnas_tf.latency.measure_sources import MeasurementSetup, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS, Artifact
from pnas_tf.space.architecture import Architecture

_REGULARISED = "--regulariser=multiplicative_log"
_REWARDED = ("--algorithm=reinforce", "--rl_reward=power")
ON_DEVICE = "reinforce_device"
VARIANTS = {
    "two_path": ("--algorithm=two_path", _REGULARISED),
    "full": ("--algorithm=full", _REGULARISED),
    "full_recompute": ("--algorithm=full_recompute", _REGULARISED),
    "reinforce_table": (*_REWARDED, "--rl_latency=table"),
    ON_DEVICE: (*_REWARDED, "--rl_latency=device"),
}
SHARED_FLAGS = {"space", "resolution", "width", "dataset", "data_dir", "seed"}
DEVICE_FLAGS = {field.name for field in dataclasses.fields(DeviceConfig)}
TABLE_FLAGS = {
    field.name for kind in (LatencyConfig, ConversionConfig) for field in dataclasses.fields(kind)
}


def main() -> int:
    """Table, searches, one measuring session."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        default="runs/search_digits",
        help="folder of the run folders; what is complete is skipped",
    )
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    parser.add_argument(
        "--max_error_percent", type=float, default=10.0, help="bound of |measured / target - 1|"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.add_argument("flags", nargs="*", help="for the programs, after --")
    options = parser.parse_args()
    output = Path(options.output)
    _call("build_latency_table", output / "table", flags_of_table(options.flags))
    rows = []
    for name in options.variants.split(","):
        folder = output / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output / "table" / Artifact.LATENCY_TABLE, folder / Artifact.LATENCY_TABLE)
        began = time.monotonic()
        printed = _call("search", folder, [*VARIANTS[name], *flags_of_search(name, options.flags)])
        rows.append(
            {
                "variant": name,
                "target_ms": _target(printed),
                "search_s": round(time.monotonic() - began, 1),
                **_derived(folder),
            }
        )
    _measure(
        {
            row["variant"]: Architecture.load(output / row["variant"] / Artifact.ARCHITECTURE)
            for row in rows
        },
        rows,
        output,
    )
    worst = max(abs(row["error_percent"]) for row in rows)
    if options.json:
        table = LatencyTable.load(output / "table" / Artifact.LATENCY_TABLE).describe()
        print(json.dumps({"table": table, "max_error_percent": worst, "searches": rows}, indent=1))
    else:
        for row in rows:
            print(
                "{variant:17} target {target_ms:.4g} ms, predicted {predicted_ms:.4g} ms "
                "({predicted_error_percent:+.1f} %), measured "
                "{measured_ms:.4g} ms ({error_percent:+.1f} %), {search_s:.0f} s".format(**row)
            )
    return int(worst > options.max_error_percent)


def flags_of_table(flags: Sequence[str]) -> list[str]:
    """Those that the program which builds the table takes."""
    return [flag for flag in flags if _name(flag) in SHARED_FLAGS | DEVICE_FLAGS | TABLE_FLAGS]


def flags_of_search(variant: str, flags: Sequence[str]) -> list[str]:
    """Those for a search: options of the device are refused where none is measured on."""
    others = TABLE_FLAGS if variant == ON_DEVICE else TABLE_FLAGS | DEVICE_FLAGS
    return [flag for flag in flags if _name(flag) not in others]


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


def _call(program: str, folder: Path, flags: list[str]) -> str:
    """Runs a program of tools/ on a run folder and returns what it printed; its failure ends this
    command."""
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{program}", f"--run_dir={folder}", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        sys.exit(done.returncode)
    return done.stdout


def _target(printed: str) -> float:
    words = "target of the search: "
    line = next(line for line in printed.splitlines() if line.startswith(words))
    return float(line.removeprefix(words).split()[0])


def _derived(folder: Path) -> dict[str, Any]:
    history = json.loads((folder / Artifact.SEARCH_HISTORY).read_text())["epochs"]
    checkpoint = Checkpoints(folder / Artifact.SEARCH / CHECKPOINTS).latest()
    assert checkpoint is not None
    architecture = Architecture.load(folder / Artifact.ARCHITECTURE)
    return {
        "predicted_ms": LatencyTable.load(folder / Artifact.LATENCY_TABLE).predict_ms(architecture),
        "macs": architecture.macs,
        "expected_ms_at_end": history[-1]["expected"],
        "entropy_at_end": history[-1]["entropy"],
        "architecture_steps": checkpoint.state["arch_step"],
    }


def _measure(
    architectures: dict[str, Architecture], rows: list[dict[str, Any]], output: Path
) -> None:
    """Adds measured_ms, drift taken out, and the errors against the target to the rows."""
    table = LatencyTable.load(output / "table" / Artifact.LATENCY_TABLE)
    identity = table.identity
    device = DeviceConfig(threads=identity.settings.threads, min_invocations=48)
    runner = runner_for(device)
    try:
        schedule = schedule_for(device, runner, seed=RunConfig.seed)
        setup = MeasurementSetup(runner, schedule)
        session = measure_sources(
            dict(architectures),
            setup,
            dtype=identity.dtype,
            rewrites=identity.rewrites,
        )
    finally:
        runner.close()
    setup.forget_sessions()
    for row in rows:
        entry = session.measurements[row["variant"]]
        row["measured_ms"] = entry.corrected_ms(table.sentinel_ms)
        row["measured_uncorrected_ms"] = entry.median_ms
        row["predicted_error_percent"] = (row["predicted_ms"] / row["target_ms"] - 1) * 100
        row["error_percent"] = (row["measured_ms"] / row["target_ms"] - 1) * 100


if __name__ == "__main__":
    sys.exit(main())
