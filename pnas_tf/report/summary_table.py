"""The summary table of a run: accuracy, size and latency of each form of the network, from
summary.json alone.

The same cells for the terminal and for the page. Computes nothing but differences; a figure that is
not there is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pnas_tf.data.accuracy import CONFIDENCE
from pnas_tf.io import Json
from pnas_tf.latency.doubts import NOISE_PERCENT
from pnas_tf.latency.drift import DRIFT_PERCENT
from pnas_tf.report.lined_up import columns_of, folded, lined_up, padded, stacked
from pnas_tf.report.words import ABSENT, device_words, one_line
from pnas_tf.run.progress import duration
from pnas_tf.search.judgement import DRAW

# Facts of the page that a terminal does without.
_PAGE_ALONE = ("largest logit difference, float32", "search", "training")
UNITS = ("ms", "MACs", "parameters")  # of a target
_MAX_NOTES = 3
INTERVAL = f"{CONFIDENCE:.0%} interval".replace("%", " %")  # of an accuracy (Wilson)
FORMS = (("keras", "Keras"), ("float32", ".tflite float32"), ("int8", ".tflite int8"))


@dataclass(frozen=True)
class SummaryTable:
    """header: the forms of the network. rows: (what, one cell a form). facts: (what, value) of the
    network as a whole.

    notes: what a reader of the predicted latencies must be told, such as that a table is
    uncalibrated.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def summary_table(summary: Mapping[str, Json]) -> SummaryTable:
    """The table of a summary.json document; unknown keys are ignored, absent ones are dashes."""
    accuracy, latency, size, ram = (
        _mapping(summary, key) for key in ("test_accuracy", "latency_ms", "size_bytes", "ram_bytes")
    )
    forms = [*FORMS, *((key, f".tflite {key}") for key in accuracy if key not in dict(FORMS))]
    predicted = {key: number(_mapping(latency, key).get("predicted")) for key, _ in forms}
    measured = {key: number(_mapping(latency, key).get("measured")) for key, _ in forms}
    rows = [
        ("test accuracy", [percent(number(accuracy.get(key))) for key, _ in forms]),
        ("file size", [file_size(number(size.get(key))) for key, _ in forms]),
        *([("peak RAM", [file_size(number(ram.get(key))) for key, _ in forms])] if ram else []),
        ("latency, predicted", [milliseconds(predicted[key]) for key, _ in forms]),
        ("latency, measured", [milliseconds(measured[key]) for key, _ in forms]),
        (
            "predicted against measured",
            [_difference(predicted[key], measured[key]) for key, _ in forms],
        ),
    ]
    intervals = [
        _interval(_mapping(summary, "test_accuracy_interval").get(key)) for key, _ in forms
    ]
    if any(intervals):
        rows.insert(1, (INTERVAL, [words or ABSENT for words in intervals]))
    corrected = {
        key: number(_mapping(latency, key).get("measured_drift_corrected")) for key, _ in forms
    }
    if any(value is not None for value in corrected.values()):
        rows[-1:] = [
            ("the same, drift corrected", [milliseconds(corrected[key]) for key, _ in forms]),
            (
                "predicted against drift corrected",
                [_difference(predicted[key], corrected[key]) for key, _ in forms],
            ),
            rows[-1],
        ]
    searched = summary.get("objective", "") is not None  # as a part of the run
    facts = [
        *_origin(summary),
        *_pretrained(summary),
        ("MACs", count(number(summary.get("macs")))),
        ("parameters", count(number(summary.get("parameters")))),
        *([_target_fact(summary)] if searched else []),
        (
            "largest logit difference, float32",
            scientific(number(summary.get("max_logit_difference"))),
        ),
        *_budget_facts(summary.get("budgets")),
        *([("search", _duration(number(summary.get("search_s"))))] if searched else []),
        ("training", _duration(number(summary.get("train_s")))),
        ("device", device_words(summary.get("device"))),
    ]
    notes = _texts(summary.get("search_notes"))
    notes += [
        note
        for key, name in forms
        for note in _notes(f"latency, predicted, {name}", _mapping(latency, key).get("warnings"))
    ]
    notes += [note for key, name in forms for note in _pace(name, _mapping(latency, key))]
    return SummaryTable(
        tuple(name for _, name in forms),
        tuple((what, tuple(cells)) for what, cells in rows),
        tuple(facts),
        tuple(notes),
    )


def text_table(summary: Mapping[str, Json], *, columns: int | None = None) -> str:
    """The summary table as plain text for a terminal, without what is for the page alone, ending
    without a newline. columns: of the terminal; where they are too few, form stands below form."""
    table = summary_table(summary)
    text = lined_up(table.header, table.rows)
    facts = (fact for fact in table.facts if fact[0] not in _PAGE_ALONE)
    shown = [(what, value.partition("; ")[0]) for what, value in facts]
    notes = [f"! {note}" for note in table.notes]
    if columns is not None and max(map(columns_of, text)) >= columns:
        return "\n".join([*stacked(table.header, table.rows), *map(": ".join, shown), *notes])
    wide = max(columns_of(what) for what, _ in shown)
    facts_text = [f"{padded(what, wide)}  {value}" for what, value in shown]
    text += ["", *(folded(line, columns, indent=wide + 2) for line in facts_text)]
    return "\n".join([*text, *(folded(note, columns, indent=2) for note in notes)])


def target_of(summary: Mapping[str, Json]) -> tuple[float | None, str]:
    """(target of the search, its unit). A summary without "unit", of an earlier version, is of
    ms."""
    unit = summary.get("unit")
    if unit in UNITS:
        return number(summary.get("target")), unit
    return number(summary.get("target_latency_ms")), "ms"


def _origin(summary: Mapping[str, Json]) -> list[tuple[str, str]]:
    """What the architecture is, where it is no result of a search."""
    origin = summary.get("architecture_origin")
    drawn = isinstance(origin, str) and origin.startswith(DRAW)
    return [("architecture", f"{one_line(str(origin))}, not learnt")] if drawn else []


def _pretrained(summary: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Whose weights it started from, where it started from others'."""
    source = summary.get("pretrained")
    return [("pretrained weights", one_line(source))] if isinstance(source, str) else []


def _interval(bounds: Json) -> str:
    """ "92.0 to 97.2 %"; "" for anything but two fractions."""
    found = [number(bound) for bound in bounds] if isinstance(bounds, list | tuple) else []
    low, high = found if len(found) == 2 else (None, None)
    return "" if low is None or high is None else interval((low, high))


def interval(bounds: tuple[float, float]) -> str:
    """ "92.0 to 97.2 %", of two fractions."""
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"


def _target_fact(summary: Mapping[str, Json]) -> tuple[str, str]:
    target, unit = target_of(summary)
    return (
        ("target latency", milliseconds(target))
        if unit == "ms"
        else (f"target {unit}", count(target))
    )


def _budget_facts(budgets: Json) -> list[tuple[str, str]]:
    """A line for each hard budget besides the target: "118 of 128 kB"."""
    rows = budgets if isinstance(budgets, Sequence) and not isinstance(budgets, str) else ()
    facts = []
    for row in (row for row in rows if isinstance(row, Mapping)):
        value, most = number(row.get("value")), number(row.get("most"))
        if value is not None and most is not None:
            mark = "" if value <= most else ", BROKEN"
            facts.append(
                (
                    f"budget, {one_line(str(row.get('name')))}",
                    f"{_amount(value)} of {_amount(most)} {one_line(str(row.get('unit')))}{mark}",
                )
            )
    return facts


def _amount(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else count(value)


def number(value: Json) -> float | None:
    """A finite number of a document, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def percent(value: float | None) -> str:
    """0.98611 -> "98.61 %"."""
    return ABSENT if value is None else f"{100 * value:.2f} %"


def milliseconds(value: float | None) -> str:
    """Three significant digits: "0.212 ms", "78.4 ms"."""
    return ABSENT if value is None else f"{_significant(value)} ms"


def file_size(value: float | None) -> str:
    """Decimal units: "312 kB"."""
    return ABSENT if value is None else _scaled(value, ("B", "kB", "MB", "GB"))


def count(value: float | None) -> str:
    """ "4.08 M"."""
    return ABSENT if value is None else _scaled(value, ("", "k", "M", "G")).strip()


def scientific(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1e}"


def _duration(seconds: float | None) -> str:
    return ABSENT if seconds is None else duration(seconds)


def _notes(what: str, warnings: Json) -> list[str]:
    texts = _texts(warnings)
    shown = texts[:_MAX_NOTES] + (
        [f"{len(texts) - _MAX_NOTES} more warnings"] if len(texts) > _MAX_NOTES else []
    )
    return [f"{what}: {text}" for text in shown]


def _texts(lines: Json) -> list[str]:
    return [one_line(str(line)) for line in lines] if isinstance(lines, list | tuple) else []


def _pace(form: str, latency: Mapping[str, Json]) -> list[str]:
    """What the device's drift and noise mean for the comparison."""
    drift, noise = number(latency.get("drift")), number(latency.get("noise_floor_percent"))
    notes = []
    if drift is not None and abs(drift - 1) * 100 >= DRIFT_PERCENT:
        slower = "slower" if drift > 1 else "faster"
        notes.append(
            f"{form}: the reference model was {100 * abs(drift - 1):.1f} % {slower} than when the "
            "latency table was measured; compare the drift-corrected figure"
        )
    if noise is not None and noise >= NOISE_PERCENT:
        notes.append(
            f"{form}: noise floor {noise:.1f} % (halves of the measurement differ by so much): the "
            "comparison of predicted and measured proves nothing; measure on a quieter device"
        )
    return notes


def _difference(predicted: float | None, measured: float | None) -> str:
    return (
        ABSENT
        if predicted is None or not measured
        else f"{100 * (predicted / measured - 1):+.1f} %"
    )


def _mapping(document: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _scaled(value: float, units: Sequence[str]) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.0f} {units[0]}" if power == 0 else f"{_significant(value)} {units[power]}"


def _significant(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, min(6, 2 - math.floor(math.log10(abs(value)) + 1e-9)))}f}"
