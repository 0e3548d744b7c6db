"""How a session takes the device's drift out: by the reference model beside each run, by that
around it, or not at all, whichever makes halves of the session agree best.

The reference model has noise of its own. On a device that does not drift a correction adds it, on
one that does it takes more out; only the session itself can tell. Arithmetic on records.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pnas_tf.devices.record import Measurement, ModelRun

NONE, BESIDE, AROUND = "none", "beside", "around"
ROUND = "round"  # by one run of the reference model a round; in files of earlier versions
# Runs of the reference model on each side of a run that tell the device's pace then.
WIDTHS = {BESIDE: 1, AROUND: 3}
LEAST_GAIN = 0.9  # of the noise without a correction; a gain that may be chance is none
CORRECTIONS = (NONE, BESIDE, AROUND, ROUND)


@dataclass(frozen=True)
class Corrected:
    """Measurements of a session, each run with the reference model's time beside it.

    Attributes:
        measurements: name -> runs with `sentinel_ns`.
        correction: of `CORRECTIONS`: what makes halves of the session agree best.
        noise_percent: by how much they then differ; None where no model has two runs.
        reference_ms: median of the reference model over the session; None where it never ran.
    """

    measurements: dict[str, Measurement]
    correction: str
    noise_percent: float | None
    reference_ms: float | None


def correct(
    measurements: Mapping[str, Measurement],
    sequence: Sequence[tuple[str, ModelRun]],
    reference: str,
) -> Corrected:
    """Chooses the correction of a session.

    Args:
        measurements: name -> runs, in the order of `sequence`; of the reference model too.
        sequence: (name, run) of all runs of the session in the order in which they ran.
        reference: name of the reference model.
    """
    models = {name: entry for name, entry in measurements.items() if name != reference}
    if reference not in measurements:
        return Corrected(models, NONE, noise_floor_percent(list(models.values())), None)
    reference_ms = measurements[reference].median_ms
    by_width = {
        kind: _with_reference(models, sequence, reference, width) for kind, width in WIDTHS.items()
    }
    noise: dict[str, float | None] = {
        kind: noise_floor_percent(list(entries.values()), reference_ms=reference_ms)
        for kind, entries in by_width.items()
    }
    plain = noise_floor_percent(list(models.values()))
    best = min(WIDTHS, key=lambda kind: noise[kind] or 0.0)
    least = noise[best]
    if not helps(least, plain):
        return Corrected(by_width[BESIDE], NONE, plain, reference_ms)
    return Corrected(by_width[best], best, least, reference_ms)


def helps(corrected: float | None, plain: float | None) -> bool:
    """Whether a correction takes noise out, by what is left of it and what there is without; with
    nothing to tell by it does not."""
    return corrected is not None and plain is not None and corrected < LEAST_GAIN * plain


def at_pace(entry: Measurement, reference_ms: float) -> Measurement:
    """Of a session that takes no drift out: each run with the session's median of the reference
    model beside it, so that only the pace of this session and of another counts."""
    pace_ns = reference_ms * 1e6
    return replace(entry, runs=tuple(replace(run, sentinel_ns=pace_ns) for run in entry.runs))


def noise_floor_percent(
    measurements: Sequence[Measurement], *, reference_ms: float | None = None
) -> float | None:
    """Mean difference in percent between each model's medians over its odd and its even runs.

    What no predictor can beat in one measuring session: halves of the same data differ by this
    much. None where no model has two runs.

    Args:
        measurements: of one session.
        reference_ms: what drift is taken out by (`Measurement.corrected_ms`); None: it stays in.
    """
    differences = []
    for entry in measurements:
        runs = entry.used_runs
        if len(runs) >= 2:
            first, second = (
                replace(entry, runs=runs[start::2]).corrected_ms(reference_ms) for start in (0, 1)
            )
            differences.append(abs(first - second) / ((first + second) / 2) * 100)
    return float(np.mean(differences)) if differences else None


def _with_reference(
    models: Mapping[str, Measurement],
    sequence: Sequence[tuple[str, ModelRun]],
    reference: str,
    width: int,
) -> dict[str, Measurement]:
    """The models with, in each run, the median time of the `width` runs of the reference model
    before it and of the `width` behind it."""
    times = [run for name, run in sequence if name == reference]
    seen = 0
    runs: dict[str, list[ModelRun]] = {name: [] for name in models}
    for name, run in sequence:
        if name == reference:
            seen += 1
        elif name in runs:
            near = times[max(0, seen - width) : seen + width]
            calm = [part for part in near if not part.disturbed] or near
            pace_ns = statistics.median([sample for part in calm for sample in part.net_ns])
            runs[name].append(replace(run, sentinel_ns=pace_ns))
    return {name: replace(models[name], runs=tuple(found)) for name, found in runs.items()}
