"""summary.json: the figures of a run for machines, gathered from the files that its steps left.

Keys may be added, never renamed. Accuracies are fractions of the test split, latencies ms. Computes
nothing anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.latency.drift import at_table
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.budgets import budget_rows, derived_budgets, model_contents, ram_bytes
from pnas_tf.report.reproduce import versions
from pnas_tf.report.run_files import RunFiles, read_run
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import TABLES, Artifact, run_dir_option
from pnas_tf.search.judgement import notes_on
from pnas_tf.search.targets import Target
from pnas_tf.tflite.parity_report import ParityReport, load_reports


def write_summary(
    folder: RunFolder,
    *,
    dataset: str,
    objective: str | None = None,
    target: Target | None = None,
    images: Sequence[str] = (),
) -> dict[str, Json]:
    """Writes summary.json of a finished run, or of a network that was trained without a search.

    Args:
        folder: of the run.
        dataset: its name.
        objective: as in SearchConfig; None where no search is part of the run.
        target: the first of the search, in its quantity's unit; None likewise.
        images: lines on the files of the dataset; none where it is not of files.

    Returns:
        The document.

    Raises:
        UserError: names the step whose output is absent.
    """
    run, steps = read_run(folder.path), folder.steps()
    reports = {report.dtype: report for report in load_reports(folder / Artifact.PARITY).values()}
    durations = {
        name: steps[name].duration_s if name in steps else None for name in ("search", "train")
    }
    needed = durations if target is not None else {"train": durations["train"]}
    _require_finished(run, needed, reports)
    exported = run.exported
    resized = None if exported == run.architecture else exported
    of_files, plain = _of_files(reports), reports.get("float32")
    ram = ram_bytes(model_contents(folder.path, reports))
    sizes: dict[str, Json] = {dtype: report.size_bytes for dtype, report in reports.items()}
    device = next(iter(run.measured.values()))
    summary: dict[str, Json] = {
        "dataset": dataset,
        "images": list(images),
        "space": exported.space.name,
        "resolution": exported.space.resolution,
        "objective": objective,
        **_of_target(target),
        "architecture": str(Artifact.ARCHITECTURE),
        "architecture_origin": run.origin,
        "pretrained": run.pretrained,
        "judgements": [to_json(judgement) for judgement in run.judgements],
        "search_notes": list(notes_on(run.judgements)),
        "macs": exported.macs,
        "parameters": exported.parameters,
        "search_s": durations["search"],
        "train_s": durations["train"],
        **of_files,
        "size_bytes": sizes,
        "max_logit_difference": plain.max_logit_difference if plain else None,
        "ram_bytes": ram,
        "budgets": budget_rows(
            derived_budgets(folder.path), sizes, ram, resized=resized, batch=run.batch
        ),
        "latency_ms": {dtype: _latencies(run, dtype) for dtype in reports},
        "device": {"device": to_json(device.device), "settings": to_json(device.settings)},
        "versions": versions(),
    }
    atomic.write_json(folder / Artifact.SUMMARY, summary)
    return summary


def _of_target(target: Target | None) -> dict[str, Json]:
    if target is None:
        return {"target": None, "unit": None}
    found: dict[str, Json] = {"target": target.value, "unit": target.quantity.unit}
    return found | ({"target_latency_ms": target.value} if found["unit"] == "ms" else {})


def _require_finished(
    run: RunFiles, durations: Mapping[str, Json], reports: Mapping[str, ParityReport]
) -> None:
    needed = [(f"step {name} in {Artifact.STEPS}", found) for name, found in durations.items()]
    needed += [
        (f"exported models in {Artifact.PARITY}", reports or None),
        (f"their measurements in {Artifact.BENCHMARK}", run.measured or None),
    ]
    for what, found in needed:
        if found is None:
            raise UserError(
                f"run {run.path} is not finished",
                expected=what,
                received="none",
                fix=f"Finish it: pnas run {run_dir_option(run.path)}",
            )


def _of_files(reports: Mapping[str, ParityReport]) -> dict[str, Json]:
    first = next(iter(reports.values()))
    accuracies = {dtype: report.tflite_accuracy for dtype, report in reports.items()}
    accuracies = {"keras": first.keras_accuracy, **accuracies}
    return {
        "test_accuracy": accuracies,
        "test_images": first.images,
        "test_accuracy_interval": {
            form: None if accuracy is None else list(accuracy_interval(accuracy, first.images))
            for form, accuracy in accuracies.items()
        },
    }


def _latencies(run: RunFiles, dtype: str) -> dict[str, Json]:
    """predicted: by the table of this dtype, None without one and for a file of another shape.

    measured: waits taken out; measured_raw: by the clock. measured_drift_corrected, drift,
    noise_floor_percent: of `latency.drift.AtTable`; drift_percent: the drift as a change;
    predicted_now: predicted at the device's pace of the measurement. warnings: what a reader of
    those figures must be told.
    """
    measured = run.measured.get(dtype)
    paths = [run.path / name for name in TABLES.values()]
    tables = {
        table.identity.dtype: table for table in map(LatencyTable.load, filter(Path.exists, paths))
    }
    side = run.architecture.space.resolution
    predicted, compared = None, None
    if dtype not in tables:
        warnings = [f"no latency table for {dtype}"] * bool(tables)
    elif measured and measured.model.input_shape[:3] != (1, side, side):
        shape = "x".join(map(str, measured.model.input_shape))
        warnings = [f"exported for {shape}, the latency table is of batch 1 at {side} px"]
    else:
        predicted = tables[dtype].predict_ms(run.architecture)
        warnings = [doubt.meaning for doubt in tables[dtype].doubts()]
        if measured:
            warnings += tables[dtype].identity.differences(measured.device, measured.settings)
            compared = at_table(measured, tables[dtype])
    if measured and measured.partly:
        warnings.append(f"the measured model is {measured.partly}")
    return {
        "predicted": predicted,
        "measured": measured.median_ms if measured else None,
        "measured_raw": measured.raw_median_ms if measured else None,
        "measured_drift_corrected": compared.corrected_ms if compared else None,
        "predicted_now": predicted * compared.drift if predicted and compared else None,
        "drift": compared.drift if compared else None,
        "drift_percent": 100 * (compared.drift - 1) if compared else None,
        "noise_floor_percent": compared.noise_floor_percent if compared else None,
        "warnings": warnings,
    }
