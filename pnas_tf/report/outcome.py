"""What came out of a run in words that take no knowledge of networks. Computes nothing but what
summary.json implies."""

from __future__ import annotations

from collections.abc import Mapping

from pnas_tf.io import Json
from pnas_tf.latency.doubts import NOISE_PERCENT
from pnas_tf.latency.drift import DRIFT_PERCENT
from pnas_tf.report import summary_table as cells
from pnas_tf.report.run_files import RunFiles
from pnas_tf.report.words import one_line
from pnas_tf.run.progress import duration
from pnas_tf.search.judgement import is_draw

_FORMATS = ("int8", "float32")  # the first that is there is what a reader takes


def outcome(run: RunFiles) -> tuple[str, ...]:
    """A sentence or two each on accuracy, speed, size and the search; what is not known is left
    out."""
    parts = (_accuracy(run), _speed(run), _files(run), _search(run))
    return tuple(part for part in parts if part)


def _accuracy(run: RunFiles) -> str:
    summary = run.summary
    found = _of(summary, "test_accuracy")
    dtype = next((name for name in _FORMATS if cells.number(found.get(name)) is not None), None)
    if dtype is None:
        return ""
    accuracy = cells.number(found[dtype])
    assert accuracy is not None
    images = cells.number(summary.get("test_images"))
    seen = "test images, none of which it had seen before"
    if images is None:
        return f"The {dtype} file rightly names {cells.percent(accuracy)} of the {seen}."
    right = f"{round(accuracy * images):,} of {images:,.0f}"
    words = f"The {dtype} file rightly names {right} {seen}"
    bounds = _of(summary, "test_accuracy_interval").get(dtype)
    low, high = (
        [100 * (cells.number(bound) or 0.0) for bound in bounds]
        if isinstance(bounds, list) and len(bounds) == 2
        else (None, None)
    )
    if low is None or high is None:
        return f"{words} ({cells.percent(accuracy)})."
    return (
        f"{words} ({cells.percent(accuracy)}). Of very many such images it would probably name "
        f"{low:.1f} to {high:.1f} % rightly."
    )


def _speed(run: RunFiles) -> str:
    summary = run.summary
    decides = run.table.identity.dtype if run.table else "float32"
    latency = _of(_of(summary, "latency_ms"), decides)
    measured = cells.number(latency.get("measured"))
    if not measured:
        return ""
    device = _of(_of(summary, "device"), "device")
    named = one_line(str(device.get("processor") or device.get("model") or "the device"))
    images = "one image" if run.batch == 1 else f"{run.batch} images"
    words = (
        f"The {decides} file takes {cells.milliseconds(measured)} for {images} on {named}, which "
        f"is {_thousands(1000 * run.batch / measured)} images a second."
    )
    most, asked = _limit(run)
    if most is None or latency.get("predicted") is None:  # of files of another shape
        return words
    noise = max(cells.number(latency.get("noise_floor_percent")) or 0.0, 1.0)
    paced_ms, pace = _at_table(latency, measured)
    over = 100 * (paced_ms / most - 1)
    if noise >= NOISE_PERCENT:
        judged = "the device was too busy to say whether it is kept."
    elif abs(over) <= noise:
        judged = f"kept, as nearly as can be measured{pace}."
    else:
        judged = f"kept, by {-over:.1f} %" if over < 0 else f"MISSED, by {over:.1f} %"
        judged += f"{pace}."
    return f"{words} {asked}: {judged}"


def _at_table(latency: Mapping[str, Json], measured: float) -> tuple[float, str]:
    """(What was measured, in ms; at which pace of the device, in words): without the drift since
    the table was measured, by which the limit was set, where there is such a drift."""
    drift, corrected = (
        cells.number(latency.get(key)) for key in ("drift", "measured_drift_corrected")
    )
    if corrected is None or drift is None or abs(drift - 1) * 100 < DRIFT_PERCENT:
        return measured, ""
    words = f", at the device's pace of the latency table ({cells.milliseconds(corrected)})"
    return corrected, words


def _limit(run: RunFiles) -> tuple[float | None, str]:
    """(What the network was to take at most, in ms; who asked for it, in words): the budget of the
    search's own device, the target where the network was derived without budgets."""
    target, unit = cells.target_of(run.summary)
    target = target if unit == "ms" else None
    most = next(filter(None, map(_own_latency, _rows(run.summary, "budgets"))), target)
    if most is None:
        return None, ""
    if most != target:
        return most, f"The budget was {cells.milliseconds(most)}"
    chosen = " (chosen by itself: the middle of what the space can do here)" * run.target_is_auto
    return most, f"The target was {cells.milliseconds(most)}{chosen}"


def _own_latency(budget: Mapping[str, Json]) -> float | None:
    """The most ms of a budget of the search's own device; None of any other budget."""
    is_own = (budget.get("kind"), budget.get("name")) == ("latency_ms", "latency")
    return cells.number(budget.get("most")) if is_own else None


def _files(run: RunFiles) -> str:
    sizes = {
        dtype: cells.file_size(size)
        for dtype, value in _of(run.summary, "size_bytes").items()
        if (size := cells.number(value)) is not None
    }
    if not sizes:
        return ""
    listed = ", ".join(f"{size} as {one_line(dtype)}" for dtype, size in sizes.items())
    return f"The file that goes into an app takes {listed}."


def _search(run: RunFiles) -> str:
    if run.search is None:
        return ""
    networks = run.architecture.space.architectures
    words = f"It was taken from {_many(networks)} possible networks"
    searched, trained = (cells.number(run.summary.get(key)) for key in ("search_s", "train_s"))
    if searched is not None and trained is not None:
        words += f", in {duration(searched)} of search and {duration(trained)} of training"
    if is_draw(run.judgements):
        return (
            f"{words}. The search learnt nothing: it is a random one of those that are fast enough."
        )
    return f"{words}."


def _many(count: int) -> str:
    """ "78 million", "5 × 10^21"."""
    for size, name in ((10**15, ""), (10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if count >= size:
            if not name:
                return f"{str(count)[0]} × 10^{len(str(count)) - 1}"
            return f"{count / size:.3g} {name}"
    return f"{count:,}"


def _thousands(value: float) -> str:
    """Three significant digits: "4,710"."""
    return f"{float(f'{value:.3g}'):,.{0 if value >= 100 else 1}f}"


def _of(document: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _rows(document: Mapping[str, Json], key: str) -> list[Mapping[str, Json]]:
    value = document.get(key)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
