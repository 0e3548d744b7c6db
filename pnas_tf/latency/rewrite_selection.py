"""Which export rewrites pay on a device: every block that one would change, measured without and
with it in one interleaved session.

Records and arithmetic; `build` does the measuring. Imports no TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import measurement_from_json
from pnas_tf.io import Json
from pnas_tf.io.serialization import record_of, value_of
from pnas_tf.space.blocks import Block
from pnas_tf.tflite.rewrites.choice import faster, rewrites_of_blocks, wanted_among

MAX_MARGIN = 0.5  # what a rewrite must save where the noise of its trial is not known


@dataclass(frozen=True)
class Trial:
    """One block measured without and with an export rewrite.

    Attributes:
        rewrite: its name with the shape.
        plain: without it; None where that variant could not be measured.
        rewritten: with it; None likewise.
        sentinel_ms: the reference model in the trial's session, where that corrects by it.
        failure: why a variant is missing.
    """

    rewrite: str
    plain: Measurement | None
    rewritten: Measurement | None
    sentinel_ms: float | None = None
    failure: str = ""

    @property
    def plain_ms(self) -> float:
        """Median in ms, drift taken out; infinite when it could not be measured."""
        return self._ms(self.plain)

    @property
    def rewritten_ms(self) -> float:
        """The same of the rewritten block."""
        return self._ms(self.rewritten)

    @property
    def margin(self) -> float:
        """Twice the standard error of the comparison, as a fraction."""
        if self.plain is None or self.rewritten is None:
            return 0.0
        return min(
            MAX_MARGIN, 2 * math.hypot(self.plain.relative_error, self.rewritten.relative_error)
        )

    def _ms(self, entry: Measurement | None) -> float:
        if entry is None:
            return math.inf
        return entry.corrected_ms(self.sentinel_ms)

    def to_json(self, rewrites: tuple[str, ...]) -> dict[str, Json]:
        """Raw values, and for readers whether `rewrites` has taken it."""
        return {
            "rewrite": self.rewrite,
            "chosen": bool(wanted_among((self.rewrite,), rewrites)),
            "plain_ms": self.plain and self.plain_ms,
            "rewritten_ms": self.rewritten and self.rewritten_ms,
            "sentinel_ms": self.sentinel_ms,
            "failure": self.failure,
            "plain": self.plain and self.plain.to_json(),
            "rewritten": self.rewritten and self.rewritten.to_json(),
        }


def choose(trials: Mapping[str, Trial]) -> tuple[str, ...]:
    """The rewrites that pay. Blocks of one shape are added up, since a rewrite is taken for a shape
    or not at all.

    A shape of which one variant could not be measured takes the other one.
    """
    shapes: dict[str, list[Trial]] = {}
    for trial in trials.values():
        if trial.plain is not None or trial.rewritten is not None:
            shapes.setdefault(trial.rewrite, []).append(trial)
    return faster(
        {name: sum(trial.plain_ms for trial in group) for name, group in shapes.items()},
        {name: sum(trial.rewritten_ms for trial in group) for name, group in shapes.items()},
        margins={name: max(trial.margin for trial in group) for name, group in shapes.items()},
    )


def forms(blocks: Iterable[Block], wanted: Iterable[str]) -> set[str]:
    """In which forms blocks are exported that a rewrite would change: "split_depthwise" where it
    is among `wanted`, "no split_depthwise" where not, both where it is for some shapes."""
    names = rewrites_of_blocks(blocks)
    taken = set(wanted_among(names, wanted))
    return {f"{'' if name in taken else 'no '}{name.partition('[')[0]}" for name in names}


def describe(trials: Mapping[str, Trial], rewrites: tuple[str, ...]) -> str:
    """What was chosen and by how much, in one line; "" when nothing was tried."""
    if not trials:
        return ""
    ratios = {
        key: trial.plain_ms / trial.rewritten_ms
        for key, trial in trials.items()
        if trial.plain is not None and trial.rewritten is not None
    }
    taken = [key for key, trial in trials.items() if wanted_among((trial.rewrite,), rewrites)]
    text = (
        f"large depthwise kernels are split where that was measured to be faster: in {len(taken)} "
        f"of the {len(trials)} blocks that have them"
    )
    found = sorted(ratios[key] for key in taken if key in ratios)
    if found:
        text += f", {found[0]:.3g} to {found[-1]:.3g} times as fast"
    left = sorted(ratios[key] for key in ratios if key not in taken)
    if left:
        text += (
            f"; not for {len(left)}, where it would be {left[0]:.3g} to {left[-1]:.3g} times "
            "as fast"
        )
    return text


@dataclass(frozen=True)
class _Row:
    """What a trial's entry holds besides derived figures."""

    rewrite: str
    plain: object
    rewritten: object
    sentinel_ms: float | None
    failure: str

    def __post_init__(self) -> None:
        if self.sentinel_ms is not None and not self.sentinel_ms > 0:
            raise ValueError(f"sentinel_ms of {self.sentinel_ms}, not a positive number")


def trials_from_json(
    document: Json, device: Device, settings: Settings, *, where: str
) -> dict[str, Trial]:
    """Latency key -> trial: the inverse of `Trial.to_json`. Raises UserError naming the place in
    `where`."""
    fix, trials = "Build the table again: pnas latency-table", {}
    rows = value_of(
        dict[str, dict[str, object]], document, what=f"trials of rewrites in {where}", fix=fix
    )
    for key, entry in rows.items():
        place = f"trials of rewrites in {where}, '{key}'"
        known = {field.name: entry[field.name] for field in fields(_Row) if field.name in entry}
        row = record_of(_Row, known, where=place, fix=fix)
        plain, rewritten = (
            None
            if measured is None
            else measurement_from_json(measured, device, settings, where=place)
            for measured in (row.plain, row.rewritten)
        )
        trials[key] = Trial(row.rewrite, plain, rewritten, row.sentinel_ms, row.failure)
    return trials
