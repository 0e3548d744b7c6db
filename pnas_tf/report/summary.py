"""summary.json: the figures of a run for machines, gathered from the files that its steps left.

Keys may be added, never renamed. Accuracies are fractions of the test split, latencies ms. Computes
nothing anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnas_tf.devices.record import to_json
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.run_files import RunFiles, read_run
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import TABLES, Artifact, model_name
from pnas_tf.search.objective import Target
from pnas_tf.tflite.parity import load_reports


def summarise(folder: RunFolder, *, dataset: str, objective: str, target: Target) -> dict[str, Any]:
    """The summary of a finished run. objective: as in SearchConfig. target: the first of its
    search, in its quantity's unit.

    Raises UserError naming the step whose output is absent."""
    run = read_run(folder.path)
    if not run.measurements:
        raise UserError(
            f"no measured latencies in {folder.path}",
            expected=f"{Artifact.BENCHMARK} with the exported models",
            received="none",
            fix=f"Measure first: pnas benchmark --run_dir={folder.path}",
        )
    reports = {report.dtype: report for report in load_reports(folder / Artifact.PARITY).values()}
    steps = folder.steps()
    for name in ("search", "train"):
        if name not in steps or steps[name].duration_s is None or not reports:
            raise UserError(
                f"run {folder.path} is not finished",
                expected=f"step {name} done in {Artifact.STEPS}, and exported models",
                received="none",
                fix=f"Finish it: pnas run --run_dir={folder.path}",
            )
    keras_accuracy = next(iter(reports.values())).keras_accuracy
    device = next(iter(run.measurements.values()))
    return {
        "dataset": dataset,
        "space": run.architecture.space.name,
        "resolution": run.architecture.space.resolution,
        "objective": objective,
        "target": target.value,
        "unit": target.quantity.unit,
        **({"target_latency_ms": target.value} if target.quantity.unit == "ms" else {}),
        "architecture": str(Artifact.ARCHITECTURE),
        "macs": run.architecture.macs,
        "parameters": run.architecture.parameters,
        "search_s": steps["search"].duration_s,
        "train_s": steps["train"].duration_s,
        "test_accuracy": {
            "keras": keras_accuracy,
            **{dtype: report.tflite_accuracy for dtype, report in reports.items()},
        },
        "latency_ms": {dtype: _latencies(run, folder.path, dtype) for dtype in reports},
        "size_bytes": {dtype: report.size_bytes for dtype, report in reports.items()},
        "max_logit_difference": reports["float32"].max_logit_difference
        if "float32" in reports
        else None,
        "device": {"device": to_json(device.device), "settings": to_json(device.settings)},
    }


def write_summary(
    folder: RunFolder, *, dataset: str, objective: str, target: Target
) -> dict[str, Any]:
    """Writes and returns the summary."""
    summary = summarise(folder, dataset=dataset, objective=objective, target=target)
    atomic.write_json(folder / Artifact.SUMMARY, summary)
    return summary


def _latencies(run: RunFiles, path: Path, dtype: str) -> dict[str, Any]:
    """predicted: by the table of this dtype, None without one and for a file of another shape.

    warnings: what a reader of that figure must be told.
    """
    measured = run.measurements.get(model_name(dtype))
    table = next(
        (
            table
            for table in (
                LatencyTable.load(path / name) for name in TABLES.values() if (path / name).exists()
            )
            if table.identity.dtype == dtype
        ),
        None,
    )
    if table is None:
        return {
            "predicted": None,
            "measured": measured.median_ms if measured else None,
            "warnings": [f"no latency table for {dtype}"],
        }
    side = run.architecture.space.resolution
    if measured and measured.model.input_shape[:3] != (1, side, side):
        shape = "x".join(map(str, measured.model.input_shape))
        return {
            "predicted": None,
            "measured": measured.median_ms,
            "warnings": [f"exported for {shape}, the latency table is of batch 1 at {side} px"],
        }
    differences = table.differences(measured.device, measured.settings) if measured else []
    return {
        "predicted": table.predict_ms(run.architecture),
        "measured": measured.median_ms if measured else None,
        "warnings": table.warnings() + differences,
    }
