"""The report's parts on latency: predicted against measured, block by block, without a pause, and
how far the table can be trusted. Knows nothing of the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pnas_tf.io import Json
from pnas_tf.latency.doubts import NOISE_PERCENT, Doubt, doubts_of
from pnas_tf.report import summary_table as cells
from pnas_tf.report.breakdown_plot import breakdown_figure, covering
from pnas_tf.report.run_files import RunFiles
from pnas_tf.report.section import Plot, Section, Table, Warnings
from pnas_tf.report.sustained_plot import HEADER, sustained_figure, sustained_rows
from pnas_tf.report.validation_plot import validation_figure
from pnas_tf.report.words import ABSENT

_VALIDATION = (
    ("networks", "networks", ""),
    ("dtype", "dtype", ""),
    ("bias_percent", "bias", " %"),
    ("mape_percent", "mean absolute error", " %"),
    ("rmse_ms", "root mean square error", " ms"),
    ("within_5_percent", "within 5 %", " %"),
    ("within_10_percent", "within 10 %", " %"),
    ("spearman", "Spearman", ""),
    ("kendall", "Kendall", ""),
    ("noise_floor_mape_percent", "noise floor of the session", " %"),
    ("uncorrected_noise_percent", "noise floor by the clock", " %"),
    ("correction", "drift within the session", ""),
)
_AS_STORED = (
    "The table predicts as stored: the errors hold what the device's pace has changed since."
)
# The table as search used it, and with the device's drift since then taken out.
_STORED = (
    ("stored_calibration", "bias of the table as stored"),
    ("stored_drift_corrected", "the same, drift corrected"),
)


def breakdown_section(run: RunFiles) -> Section | None:
    """Where the predicted time goes, and what was measured."""
    figure = breakdown_figure(run.tables, run.architecture)
    if figure is None:
        return None
    words = []
    for dtype, table in covering(run.tables, run.architecture).items():
        total = cells.milliseconds(table.sum_ms(run.architecture))
        line = f"{dtype}: the blocks add up to {total}, "
        line += f"which predicts {cells.milliseconds(table.predict_ms(run.architecture))}"
        words.append(f"{line}{_beside_measured(run, dtype)}.")
    return Section(
        "Predicted against measured, block by block",
        meaning="The search knows the device by a table of blocks alone. Here is what the table "
        "says of this network, and what the whole network took.",
        terms=("table", "latency", "drift"),
        words=tuple(words),
        plots=(
            Plot(
                "latency_by_block",
                figure,
                "The longest bars are where time goes; a faster network changes those first.",
                ("table", "block", "format"),
                wide=True,
            ),
        ),
    )


def _beside_measured(run: RunFiles, dtype: str) -> str:
    """What was measured, and how far off the prediction is at the table's own pace; "" without
    either."""
    forms = run.summary.get("latency_ms")
    form = forms.get(dtype) if isinstance(forms, Mapping) else None
    found = form if isinstance(form, Mapping) else {}
    predicted, measured, corrected, noise = (
        cells.number(found.get(key))
        for key in ("predicted", "measured", "measured_drift_corrected", "noise_floor_percent")
    )
    if not predicted or not measured:  # none is predicted of a file of another shape
        return ""
    words = f"; measured were {cells.milliseconds(measured)}"
    if corrected:
        words += f", which are {cells.milliseconds(corrected)} with the device's drift since the "
        words += "table taken out"
    if noise is not None and noise >= NOISE_PERCENT:
        return f"{words}; halves of the measurement differ by {noise:.1f} %, which proves nothing"
    off = 100 * (predicted / (corrected or measured) - 1)
    return f"{words}, so the prediction is {abs(off):.1f} % too {'high' if off > 0 else 'low'}"


def measurements_section(run: RunFiles) -> Section | None:
    if not run.measurements:
        return None
    rows = tuple(
        (
            name,
            (
                cells.milliseconds(entry.median_ms),
                cells.milliseconds(entry.p10_ms),
                cells.milliseconds(entry.p90_ms),
                str(entry.invocations),
                str(len(entry.runs)),
                str(entry.settings.threads),
            ),
        )
        for name, entry in run.measurements.items()
    )
    first = next(iter(run.measurements.values()))
    device, settings = first.device, first.settings
    words = [
        device.kind,
        device.model,
        device.processor,
        f"cores {', '.join(map(str, device.cores))}" if device.cores else "",
        device.os,
        f"{settings.runtime} {settings.runtime_version}",
        settings.delegate,
    ]
    return Section(
        "Latency as measured",
        meaning="Each file many times, in turn with the others. p10 and p90 far apart say that "
        "the device was busy.",
        terms=("latency", "drift"),
        table=Table(("model", "median", "p10", "p90", "runs timed", "in rounds", "threads"), rows),
        warnings=_told(doubts_of(run.measurements)),
        caption=", ".join(word for word in words if word),
    )


def sustained_section(run: RunFiles) -> Section | None:
    if not run.sustained:
        return None
    return Section(
        "Latency without a pause",
        meaning="A device that gets warm slows down. Medians of runs of about five seconds behind "
        "one another.",
        terms=("latency",),
        table=Table(HEADER, sustained_rows(run.sustained)),
        plots=(
            Plot(
                "sustained",
                sustained_figure(run.sustained),
                "A line that rises is a device that gets slower under load; an app that runs for "
                "minutes gets the last figure, not the first.",
                ("latency",),
                wide=True,
            ),
        ),
    )


def validation_section(run: RunFiles) -> Section | None:
    facts = tuple(
        (label, _words(run.validation[key], unit))
        for key, label, unit in _VALIDATION
        if key in run.validation
    )
    facts += tuple(
        (label, _words(row["bias_percent"], " %"))
        for key, label in _STORED
        if isinstance(row := run.validation.get(key), dict) and "bias_percent" in row
    )
    if not facts:
        return None
    figure = validation_figure(run.validation)
    plot = figure and Plot(
        "validation",
        figure,
        "Points on the line were predicted rightly; those within the band by less than 5 %.",
        ("table", "drift"),
    )
    return Section(
        "How well the table predicts",
        meaning="Random networks of the space that the table had not seen, exported and measured.",
        terms=("table", "drift"),
        words=() if _is_paced(run.validation) else (_AS_STORED,),
        facts=facts,
        plots=(plot,) if plot else (),
    )


def _is_paced(validation: Mapping[str, Json]) -> bool:
    """Whether the device's pace of the day was taken out of the predictions."""
    return any(validation.get(key) is not None for key in ("session_calibration", "pace"))


def table_section(run: RunFiles) -> Section | None:
    if run.table is None:
        return None
    doubts = run.table.doubts()
    slow = run.table.kernel7_warnings(run.architecture.space)
    words = [run.table.describe()]
    if run.table.calibration is not None and any(doubt.details for doubt in doubts):
        words.append(
            "Single unstable blocks weigh little in a calibrated table: its prediction is judged "
            "by whole networks, as the held-out error says."
        )
    if slow:
        doubts.append(Doubt("blocks with 7x7 kernels are slow there", tuple(slow)))
    return Section(
        "The latency table",
        meaning="What the search knew of the device.",
        terms=("table",),
        words=tuple(words),
        warnings=_told(doubts),
        caption=run.table.origin,
    )


def _told(doubts: Iterable[Doubt]) -> tuple[Warnings, ...]:
    return tuple(Warnings(doubt.meaning, doubt.details) for doubt in doubts)


def _words(value: Json, unit: str) -> str:
    if value is None:  # such as a rank correlation of networks that are equally fast
        return ABSENT
    return f"{value:.4g}{unit}" if isinstance(value, float) else f"{value}{unit}"
