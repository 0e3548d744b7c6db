"""report.html: one page without external resources, for the screen and for paper. Reads a run
folder, writes one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pnas_tf.io import atomic
from pnas_tf.report import plots
from pnas_tf.report import summary_table as closing
from pnas_tf.report.drawing import draw_architecture
from pnas_tf.report.run_files import RunFiles, read_run
from pnas_tf.run.layout import Artifact

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
)

STYLE = """
:root { color-scheme: light; --ink: #22303c; --faint: #6b7a86; --line: #dfe5ea; --panel: #ffffff; --page: #eef1f4; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 10px; }
p.lead, figcaption, p.note { color: var(--faint); margin: 0 0 14px; overflow-wrap: anywhere; }
figcaption { margin: 8px 0 0; font-size: 13px; }
section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 20px 24px; margin-top: 18px; }
figure { margin: 0; overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
.narrow { max-width: 460px; }
.scroll { overflow-x: auto; }
ul.figures { display: flex; flex-wrap: wrap; gap: 10px; list-style: none; margin: 14px 0 0; padding: 0; }
ul.figures li { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 8px 14px; min-width: 130px; }
ul.figures b { display: block; font-size: 19px; font-variant-numeric: tabular-nums; }
ul.figures span { color: var(--faint); font-size: 13px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; white-space: nowrap; padding: 6px 10px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--faint); font-weight: 600; }
tbody th { font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 16px 0 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
li.warning { color: #8a4b00; }
@media (max-width: 760px) { svg.architecture { min-width: 720px; } }
@media print {
  @page { margin: 14mm; }
  body { background: #fff; font-size: 11px; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 8px 0; margin-top: 10px; break-inside: avoid; }
  svg.architecture { max-height: 170mm; min-width: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes report.html into a run folder from the files that stand there, and returns its path.

    Raises UserError when the folder holds no architecture, or a file in it is damaged.
    """
    run = read_run(run_dir)
    return atomic.write_text(run.path / Artifact.REPORT, page(run))


def page(run: RunFiles) -> str:
    """The whole page as text."""
    title = (
        f"{_words(run.summary.get('dataset'))} on {run.architecture.space.name} at "
        f"{run.architecture.space.resolution} px"
    )
    sections = [
        part(run)
        for part in (
            _architecture,
            _closing,
            _search,
            _alpha,
            _sweep,
            _training,
            _measurements,
            _validation,
            _table,
        )
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            "<header>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="lead">{escape(closing.device_words(run.summary.get("device")))}</p>',
            _headline(run),
            "</header>",
            *(section for section in sections if section),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _headline(run: RunFiles) -> str:
    table = dict(closing.closing_table(run.summary).rows)
    accuracy, latency = table["test accuracy"], table["latency, measured"]
    figures = [
        (accuracy[1], "test accuracy, float32"),
        (accuracy[2], "test accuracy, int8"),
        (latency[1], "measured latency, float32"),
        (latency[2], "measured latency, int8"),
        (closing.count(run.architecture.macs), "MACs"),
        (closing.count(run.architecture.parameters), "parameters"),
    ]
    items = "".join(
        f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in figures
    )
    return f'<ul class="figures">{items}</ul>'


def _architecture(run: RunFiles) -> str:
    latencies = None
    if run.table is not None and set(run.architecture.space.distinct_blocks()) <= set(
        run.table.entries
    ):
        latencies = {name: latency for name, _, latency in run.table.breakdown(run.architecture)}
    caption = "One box a block, from the image at the top to the classes at the bottom. "
    caption += (
        "Bars: multiply-accumulates."
        if latencies is None or run.table is None
        else f"Bars: {run.table.describe()}."
    )
    return _section(
        "The derived architecture",
        draw_architecture(run.architecture, latencies_ms=latencies),
        caption,
    )


def _closing(run: RunFiles) -> str:
    table = closing.closing_table(run.summary)
    facts = "".join(
        f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>" for what, value in table.facts
    )
    return _section(
        "What came out",
        _html_table(("", *table.header), table.rows)
        + f"<dl>{facts}</dl>"
        + _warnings(list(table.notes)),
    )


def _search(run: RunFiles) -> str:
    if run.search is None:
        return ""
    target, unit = closing.target_of(run.summary)
    svg = plots.search_curves(run.search, target=target, unit=unit)
    return _section(
        "The search",
        svg,
        "Shaded: the warm-up phase, which trains weights alone; then weights and path "
        "probabilities "
        "are trained in turn.",
    )


def _alpha(run: RunFiles) -> str:
    if run.search is None:
        return ""
    candidates = [choice.candidates for choice in run.architecture.space.choice_blocks]
    svg = plots.alpha_history(run.search, candidates, chosen=run.architecture.ops)
    return _section(
        "Probability of each op of each block over time",
        svg,
        "One panel a choice block, named by its number and its derived op, over the epochs; path "
        "probabilities add up to 1.",
    )


def _sweep(run: RunFiles) -> str:
    if not run.sweep:
        return ""
    rows = [
        (
            closing.milliseconds(closing.number(row.get("budget_ms"))),
            (
                closing.milliseconds(closing.number(row.get("predicted_ms"))),
                closing.percent(closing.number(row.get("alpha_accuracy"))),
                closing.count(closing.number(row.get("macs"))),
                closing.count(closing.number(row.get("parameters"))),
            ),
        )
        for row in run.sweep
    ]
    table = _html_table(
        ("budget", "predicted latency", "top-1 on the alpha split", "MACs", "parameters"), rows
    )
    return _section(
        "Other budgets, from the same search",
        table + f'<div class="narrow">{plots.front(run.sweep)}</div>',
        "Inherited weights, batch-normalisation statistics estimated again; not trained further.",
    )


def _training(run: RunFiles) -> str:
    return (
        _section("Training of the derived network", plots.training_curves(run.training))
        if run.training
        else ""
    )


def _measurements(run: RunFiles) -> str:
    if not run.measurements:
        return ""
    rows = [
        (
            name,
            (
                closing.milliseconds(entry.median_ms),
                closing.milliseconds(entry.p10_ms),
                closing.milliseconds(entry.p90_ms),
                str(entry.invocations),
                str(len(entry.visits)),
                str(entry.settings.threads),
            ),
        )
        for name, entry in run.measurements.items()
    ]
    warnings = [
        f"{name}: {problem}"
        for name, entry in run.measurements.items()
        for problem in entry.problems
    ]
    first = next(iter(run.measurements.values()))
    device, settings = first.device, first.settings
    cores = f"cores {', '.join(map(str, device.cores))}" if device.cores else ""
    words = [
        device.kind,
        device.model,
        device.processor,
        cores,
        device.os,
        f"{settings.runtime} {settings.runtime_version}",
        settings.delegate,
    ]
    table = _html_table(("model", "median", "p10", "p90", "invocations", "rounds", "threads"), rows)
    return _section(
        "Latency as measured",
        table + _warnings(warnings),
        ", ".join(word for word in words if word),
    )


def _validation(run: RunFiles) -> str:
    known = [
        (label, run.validation[key], unit)
        for key, label, unit in _VALIDATION
        if key in run.validation
    ]
    if not known:
        return ""
    facts = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(_words(value) + unit)}</dd>"
        for label, value, unit in known
    )
    pairs = [
        (pair["predicted_ms"], pair["measured_ms"])
        for pair in _list(run.validation.get("pairs"))
        if isinstance(pair, Mapping)
        and all(isinstance(pair.get(key), int | float) for key in ("predicted_ms", "measured_ms"))
    ]
    scatter = (
        f'<div class="narrow">{plots.validation_scatter(pairs)}</div>' if len(pairs) > 1 else ""
    )
    return _section(
        "How well the table predicts",
        f"<dl>{facts}</dl>{scatter}",
        "Random networks of the space, exported and measured.",
    )


def _table(run: RunFiles) -> str:
    if run.table is None:
        return ""
    warnings = [*run.table.warnings(), *run.table.kernel7_warnings(run.architecture.space)]
    return _section(
        "The latency table",
        f"<p>{escape(run.table.describe())}</p>" + _warnings(warnings),
        run.table.origin,
    )


def _section(title: str, content: str, caption: str = "") -> str:
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<section><h2>{escape(title)}</h2><figure>{content}{note}</figure></section>"


def _html_table(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{escape(what)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for what, cells in rows
    )
    return (
        "<div "
        f'class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _warnings(warnings: list[str]) -> str:
    shown = warnings[:8] + ([f"and {len(warnings) - 8} more"] if len(warnings) > 8 else [])
    return (
        "<ul>"
        + "".join(f'<li class="warning">{escape(warning)}</li>' for warning in shown)
        + "</ul>"
        if shown
        else ""
    )


def _words(value: Any) -> str:
    return (
        f"{value:.4g}" if isinstance(value, float) else str(value) if value is not None else "run"
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
