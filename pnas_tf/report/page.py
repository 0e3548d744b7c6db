"""report.html: one page without external resources, for the screen and for paper.

Reads a run folder, writes one file. What stands in the page is said here, how it looks in
page.html, whose fields are escaped by jinja2; drawings alone are put in as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.io import Json, atomic
from pnas_tf.report import plots
from pnas_tf.report import summary_table as cells
from pnas_tf.report.alpha_plot import alpha_history
from pnas_tf.report.answers import answers_section
from pnas_tf.report.drawing import draw_architecture
from pnas_tf.report.effects import effects_section
from pnas_tf.report.pareto_plot import pareto_svg
from pnas_tf.report.run_files import RunFiles, read_run
from pnas_tf.report.section import Section, Table
from pnas_tf.report.sustained_plot import HEADER, sustained_rows, sustained_svg
from pnas_tf.report.validation_plot import validation_svg
from pnas_tf.report.words import device_words
from pnas_tf.run.layout import Artifact
from pnas_tf.search.judgement import DRAW, is_draw, notes_on, sentence

TEMPLATE = Path(__file__).with_name("page.html")

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
# The table as search used it, and with the device's drift since then taken out.
_STORED = (
    ("stored_calibration", "bias by the stored calibration"),
    ("stored_drift_corrected", "the same, drift corrected"),
)


def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes report.html into a run folder from the files that stand there.

    Returns:
        The page's path.

    Raises:
        UserError: the folder holds no architecture, or a file in it is damaged.
    """
    run = read_run(run_dir)
    return atomic.write_text(run.path / Artifact.REPORT, page(run))


def page(run: RunFiles) -> str:
    """The whole page as text."""
    import jinja2

    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    space = run.architecture.space
    sections = (
        _architecture(run),
        _summary(run),
        answers_section(run.answers, run.right_by_class),
        _images(run),
        _search(run),
        _alpha(run),
        effects_section(run.worth),
        _sweep(run),
        _training(run),
        _measurements(run),
        _sustained(run),
        _validation(run),
        _table(run),
    )
    return template.render(
        title=f"{_words(run.summary.get('dataset'))} on {space.name} at {space.resolution} px",
        device=device_words(run.summary.get("device")),
        notices=notes_on(run.judgements),
        figures=_headline(run),
        sections=[section for section in sections if section is not None],
    )


def _headline(run: RunFiles) -> list[tuple[str, str]]:
    table = dict(cells.summary_table(run.summary).rows)
    accuracy, latency = table["test accuracy"], table["latency, measured"]
    interval = table.get(cells.INTERVAL, ("", "", ""))
    float32, int8 = (f" ({words})" if words else "" for words in interval[1:3])
    return [
        (accuracy[1], f"test accuracy, float32{float32}"),
        (accuracy[2], f"test accuracy, int8{int8}"),
        (latency[1], "measured latency, float32"),
        (latency[2], "measured latency, int8"),
        (cells.count(run.architecture.macs), "MACs"),
        (cells.count(run.architecture.parameters), "parameters"),
    ]


def _architecture(run: RunFiles) -> Section:
    table, blocks = run.table, set(run.architecture.space.distinct_blocks())
    latencies, bars = None, "multiply-accumulates"
    if table is not None and blocks <= table.keys:
        latencies = {name: latency for name, _, latency in table.breakdown(run.architecture)}
        bars = table.describe()
    drawn = is_draw(run.judgements)
    return Section(
        f"The architecture: {run.origin or DRAW}" if drawn else "The derived architecture",
        svg=draw_architecture(run.architecture, latencies_ms=latencies),
        caption="One box a block, from the image at the top to the classes at the bottom. "
        f"Bars: {bars}.",
    )


def _summary(run: RunFiles) -> Section:
    table = cells.summary_table(run.summary)
    return Section(
        "What came out",
        table=Table(("", *table.header), table.rows),
        facts=table.facts,
        warnings=table.notes,
    )


def _images(run: RunFiles) -> Section | None:
    lines = run.summary.get("images")
    if not isinstance(lines, list) or not lines:
        return None
    return Section("The images", words="\n".join(map(str, lines)))


def _search(run: RunFiles) -> Section | None:
    if run.search is None:
        return None
    target, unit = cells.target_of(run.summary)
    return Section(
        "The search",
        svg=plots.search_curves(run.search, target=target, unit=unit),
        words="\n".join(map(sentence, run.judgements)),
        caption="Shaded: the warm-up phase, which trains weights alone; then weights and path "
        "probabilities are trained in turn.",
    )


def _alpha(run: RunFiles) -> Section | None:
    if run.search is None or run.worth:  # a supernet without alpha
        return None
    candidates = [choice.candidates for choice in run.architecture.space.choice_blocks]
    return Section(
        "Probability of each op of each block over time",
        svg=alpha_history(run.search, candidates, chosen=run.architecture.ops),
        caption="One panel a choice block, named by its number and its derived op, over the "
        "epochs; path probabilities add up to 1.",
    )


def _sweep(run: RunFiles) -> Section | None:
    if not run.sweep:
        return None
    rows = tuple(
        (
            cells.milliseconds(cells.number(row.get("budget_ms"))),
            (
                cells.milliseconds(cells.number(row.get("predicted_ms"))),
                _validation_accuracy(row),
                cells.count(cells.number(row.get("macs"))),
                cells.count(cells.number(row.get("parameters"))),
            ),
        )
        for row in run.sweep
    )
    header = ("budget", "predicted latency", "validation top-1", "MACs", "parameters")
    return Section(
        "Other budgets, from the same search",
        table=Table(header, rows),
        narrow_svg=pareto_svg(run.sweep),
        caption="Inherited weights, batch-normalisation statistics estimated again; not trained "
        "further.",
    )


def _validation_accuracy(row: Mapping[str, Json]) -> str:
    """With its interval, where the row says of how many images it is."""
    accuracy, images = (cells.number(row.get(key)) for key in ("alpha_accuracy", "images"))
    if accuracy is None or images is None or images < 1:
        return cells.percent(accuracy)
    bounds = cells.interval(accuracy_interval(accuracy, int(images)))
    return f"{cells.percent(accuracy)} ({bounds})"


def _training(run: RunFiles) -> Section | None:
    if not run.training:
        return None
    return Section("Training of the derived network", svg=plots.training_curves(run.training))


def _measurements(run: RunFiles) -> Section | None:
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
        table=Table(("model", "median", "p10", "p90", "invocations", "rounds", "threads"), rows),
        warnings=tuple(
            f"{name}: {doubt}" for name, entry in run.measurements.items() for doubt in entry.doubts
        ),
        caption=", ".join(word for word in words if word),
    )


def _sustained(run: RunFiles) -> Section | None:
    if not run.sustained:
        return None
    return Section(
        "Latency without a pause",
        table=Table(HEADER, sustained_rows(run.sustained)),
        svg=sustained_svg(run.sustained),
        caption="Medians of runs of about five seconds behind one another.",
    )


def _validation(run: RunFiles) -> Section | None:
    facts = tuple(
        (label, _words(run.validation[key]) + unit)
        for key, label, unit in _VALIDATION
        if key in run.validation
    )
    facts += tuple(
        (label, f"{_words(row['bias_percent'])} %")
        for key, label in _STORED
        if isinstance(row := run.validation.get(key), dict) and "bias_percent" in row
    )
    if not facts:
        return None
    return Section(
        "How well the table predicts",
        facts=facts,
        narrow_svg=validation_svg(run.validation),
        caption="Random networks of the space, exported and measured.",
    )


def _table(run: RunFiles) -> Section | None:
    if run.table is None:
        return None
    kernel7 = run.table.kernel7_warnings(run.architecture.space)
    return Section(
        "The latency table",
        words=run.table.describe(),
        warnings=(*run.table.warnings(), *kernel7),
        caption=run.table.origin,
    )


def _words(value: Json) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "run" if value is None else str(value)
