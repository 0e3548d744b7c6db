"""What the finished calls show, as Markdown: errors on the held-out networks, times, bars."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.calibration.calls import BY_PRIOR, FEW, HERE, MORE, PLAIN, PRIORS, Comparison
from pnas_tf.latency.agreement import Agreement, agreement
from pnas_tf.latency.calibration import Calibration, calibration_architectures
from pnas_tf.latency.estimate import Few, by_prior
from pnas_tf.latency.prior import Prior
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.taught import Taught
from pnas_tf.latency.validate import held_out_architectures
from pnas_tf.run.layout import Artifact

MOST_TIMES_ERROR, MOST_TIME = 2.5, 1 / 3


@dataclass(frozen=True)
class Judged:
    """A table on held-out networks. stored: as it stands. paced: times the one factor that its
    session differs by, on other networks of that session (drift). expected: what the table itself
    says of its error."""

    stored: Agreement
    paced: Agreement
    expected_percent: float | None
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """Held-out networks and the calibration's, measured together. ms by name."""

    held_out: dict[str, float]
    anchors: dict[str, float]
    seed: int
    noise_percent: float

    @classmethod
    def of(cls, comparison: Comparison, device: str) -> Session:
        """Of the validation in a run folder."""
        document = json.loads((comparison.path(device) / Artifact.VALIDATION).read_text())
        fitted = document["session_calibration"]
        return cls(
            {pair["name"]: pair["measured_ms"] for pair in document["pairs"]},
            {each["name"]: each["measured_ms"] for each in fitted["networks"]},
            _line(LatencyTable.load(comparison.table(device))).seed,
            document["noise_floor_mape_percent"],
        )

    def judge(self, table: LatencyTable) -> Judged:
        """How well a table predicts the held-out networks."""
        space = table.space
        assert space is not None
        networks = held_out_architectures(space, count=len(self.held_out), seed=0)
        truth = np.array([self.held_out[name] for name in networks])
        predicted = np.array([table.predict_ms(network) for network in networks.values()])
        near = calibration_architectures(space, count=len(self.anchors), seed=self.seed)
        pace = float(
            np.median([self.anchors[name] / table.predict_ms(near[name]) for name in near])
        )
        few = table.few_shot
        expected = few.expected_error_percent if few else _line(table).held_out_mape_percent
        return Judged(
            agreement(list(predicted), list(truth)),
            agreement(list(pace * predicted), list(truth)),
            expected,
            few.doubts if few else (),
        )


def _line(table: LatencyTable) -> Calibration:
    assert table.calibration is not None
    return table.calibration


def measuring_s(table: LatencyTable) -> float:
    """From the first run to the last one's beginning."""
    measured = list(table.entries.values())
    if table.few_shot is not None:
        measured = [each.measurement for each in table.few_shot.networks.values()]
    started = [run.started_unix_s for each in measured for run in each.runs if run.started_unix_s]
    return max(started) - min(started)


def bars(comparison: Comparison) -> list[tuple[str, bool]]:
    """(words, met) of each bar whose calls are finished."""
    if not comparison.took("few") or not comparison.took(f"validate_{HERE}"):
        return []
    dtype, full, few = comparison.dtype, _judged(comparison, HERE), _judged(comparison, "few")
    found = []
    for name in ("stored", "paced"):
        one, other = getattr(full, name).mape_percent, getattr(few, name).mape_percent
        words = f"{dtype}, {MORE} networks, {name}: MAPE {other:.2f} %, at most 2.5 x {one:.2f}"
        found.append((words, other <= MOST_TIMES_ERROR * one))
    calls = {name: comparison.took(name) or {} for name in (HERE, "few")}
    times = {
        "measuring": [measuring_s(LatencyTable.load(comparison.table(name))) for name in calls]
    }
    if all(took["whole"] for took in calls.values()):  # a stopped call's time is no figure
        times["in all"] = [float(took["seconds"]) for took in calls.values()]
    for what, (long, short) in times.items():
        words = f"{dtype}, {what}: {short:.0f} s, at most a third of {long:.0f} s"
        found.append((words, short <= MOST_TIME * long))
    for prior in PRIORS:
        if comparison.took(f"few_{prior}"):
            error = _judged(comparison, f"few_{prior}").paced.mape_percent
            most = few.paced.mape_percent
            words = (
                f"{dtype}, {BY_PRIOR} networks by {prior}, paced: MAPE {error:.2f} %, at most "
                f"{most:.2f}"
            )
            found.append((words, error <= most))
    return found


def page(comparisons: Sequence[Comparison]) -> str:
    """The report, as Markdown."""
    table = LatencyTable.load(comparisons[0].table(HERE))
    assert table.space is not None
    lines = [
        "# Calibrating this computer",
        "",
        "*An explanation.*",
        "",
        "Made by `python -m benchmarks.calibration --page=docs/calibration.md "
        f"--resolution={table.space.resolution} --networks={comparisons[0].networks}`, with "
        f"`--runtimes` for older ones. {comparisons[0].networks} networks drawn "
        f"from space `{table.space.name}` at {table.space.resolution} px, which no table knows, "
        "are predicted by tables and measured in a session of their own. The first row is of the "
        "table of all blocks. `stored` is the prediction as it stands. `paced` is after one "
        "factor, found on ten other networks of that session: between two sessions a machine may "
        "change its pace as a whole, and that is no error of the table. `expected` is the error "
        "that a table expects of itself, `told` what it warns of. `no excess`: the same networks "
        "by the prior without what blocks take beyond their kinds of work. Figures are percent.",
        "",
        f"The device: {table.identity.describe()}.",
    ]
    for comparison in comparisons:
        if comparison.took(f"validate_{HERE}"):
            lines += ["", f"## {comparison.dtype}", "", *_times(comparison)]
            lines += ["", *_errors(comparison, HERE)]
            if comparison.took(f"validate_{PLAIN}"):
                lines += ["", "The same device without XNNPACK:", "", *_errors(comparison, PLAIN)]
    told = [each for comparison in comparisons for each in bars(comparison)]
    lines += ["", "## Bars", "", "| bar | |", "|---|---|"]
    lines += [f"| {words} | {'met' if met else 'missed'} |" for words, met in told]
    lines += ["", "How it is used: [howto/calibrate.md](howto/calibrate.md)."]
    return "\n".join(lines) + "\n"


def _times(comparison: Comparison) -> Iterator[str]:
    yield "| with nothing converted before | seconds | of the processor | measuring |"
    yield "|---|---|---|---|"
    for name, words in ((HERE, "table of all blocks"), ("few", f"{MORE} networks")):
        took = comparison.took(name)
        if took:
            table = LatencyTable.load(comparison.table(name))
            stopped = "" if took["whole"] else " (stopped once)"
            own = f"{took['processor_s']:.0f}" if "processor_s" in took else ""
            seconds = f"{took['seconds']:.0f}{stopped}"
            yield f"| {words} | {seconds} | {own} | {measuring_s(table):.0f} |"


def _errors(comparison: Comparison, device: str) -> Iterator[str]:
    session = Session.of(comparison, device)
    yield f"Halves of the session differ by {session.noise_percent:.1f} %."
    yield ""
    yield (
        "| table | expected | stored: MAPE | bias | paced: MAPE | within 5 % | within 10 % | "
        "Spearman | told |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for words, table in _rows(comparison, device):
        found = session.judge(table)
        expected = "" if found.expected_percent is None else f"{found.expected_percent:.1f}"
        yield (
            f"| {words} | {expected} | {found.stored.mape_percent:.2f} | "
            f"{found.stored.bias_percent:+.1f} | {found.paced.mape_percent:.2f} | "
            f"{found.paced.within_5_percent:.0f} | {found.paced.within_10_percent:.0f} | "
            f"{found.paced.spearman or 0:.3f} | {'; '.join(map(_short, found.doubts))} |"
        )


def _rows(comparison: Comparison, device: str) -> Iterator[tuple[str, LatencyTable]]:
    """(words, table) of the tables for a device that are there."""
    for name, words in _calls(comparison, device):
        if comparison.took(name):
            yield words, LatencyTable.load(comparison.table(name))
    if device == HERE:
        for prior in PRIORS:
            for name, count in ((f"few_{prior}", BY_PRIOR), ("few", MORE)):
                if comparison.took(f"few_{prior}") and comparison.took(name):
                    words = f"{count} networks, {prior.replace('_', ' ')} tables"
                    yield words, _priced(comparison, name, prior)
                    yield f"{words}, no excess", _priced(comparison, name, prior, excess=False)


def _calls(comparison: Comparison, device: str) -> Iterator[tuple[str, str]]:
    """(call, words) of the tables for a device but for those by priors."""
    yield device, "all blocks"
    yield ("few" if device == HERE else "few_plain"), f"{MORE} networks"
    for old in dict.fromkeys(comparison.runtimes) if device == HERE else (HERE,):
        words = old.replace("_", " ") if old != HERE else "XNNPACK"
        yield old, f"all blocks, of {words}"
        for count in (FEW, MORE):
            name = f"{device}_from_{old}_{count}"
            if comparison.took(name):
                few = LatencyTable.load(comparison.table(name)).few_shot
                assert few is not None
                yield name, f"{count} networks and the table of {words}: {few.method}"


def _priced(comparison: Comparison, name: str, prior: str, *, excess: bool = True) -> LatencyTable:
    """The networks of a call as a prior prices them."""
    table = LatencyTable.load(comparison.table(name))
    learnt = Prior.load(comparison.prior(prior))
    assert table.few_shot is not None and table.space is not None
    if not excess:
        learnt = replace(learnt, taught=Taught(learnt.taught.kinds, {}))
    networks = table.few_shot.networks
    latency_ms = [each.measurement.corrected_ms(table.sentinel_ms) for each in networks.values()]
    few = Few(table.space, networks, np.array(latency_ms))
    return replace(table, few_shot=by_prior(few, learnt, ()))


def _short(doubt: str) -> str:
    return doubt.partition(":")[0].partition(";")[0]


def _judged(comparison: Comparison, name: str) -> Judged:
    return Session.of(comparison, HERE).judge(LatencyTable.load(comparison.table(name)))
