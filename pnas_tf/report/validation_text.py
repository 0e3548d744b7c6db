"""The figures of validation.json as lines of text. Computes nothing anew."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from pnas_tf.errors import number_of
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.agreement import Agreement
from pnas_tf.latency.doubts import NOISE_PERCENT
from pnas_tf.latency.validate import FORMAT, VERSION

_MADE_BY = "delete it, then pnas validate --run_dir=..."


@dataclass(frozen=True)
class _Block:
    block: str
    key: str
    latency_ms: float


@dataclass(frozen=True)
class _Worst:
    name: str
    error_percent: float
    blocks: tuple[_Block, ...]


@dataclass(frozen=True)
class Validation:
    """What is told of a validation.

    headline: the document's own figures. session_calibration, pace: what was fitted on the table's
    own networks in the measuring session; without either the headline is of the table as stored.
    """

    table: str
    warnings: tuple[str, ...]
    headline: Agreement
    stored_calibration: Agreement
    stored_drift_corrected: Agreement
    macs_only: Agreement
    correction: str
    uncorrected: Agreement
    uncorrected_noise_percent: float | None
    noise_floor_mape_percent: float | None
    worst: tuple[_Worst, ...]
    session_calibration: Mapping[str, object] | None
    pace: float | None = None  # earlier versions had none


def read_validation(path: str | os.PathLike) -> Validation:
    """What `latency.validate` wrote. Raises UserError where it is damaged."""
    document = atomic.read_document(
        path, format=FORMAT, version=VERSION, what="validation of a table", made_by=_MADE_BY
    )
    told = {**document, "headline": _known(Agreement, document)}
    return record_of(Validation, _known(Validation, told), where=str(path), fix=_MADE_BY)


def validation_words(found: Validation) -> str:
    """What came of it, in a line."""
    row, noise = found.headline, found.noise_floor_mape_percent
    return (
        f"{row.networks} networks, predicted to within {row.mape_percent:.1f} % on average (bias "
        f"{row.bias_percent:+.1f} %), rank correlation {_rank(row.spearman, digits=2)}; noise "
        f"floor {_noise(noise, digits=1)}"
    )


def validation_lines(found: Validation) -> Iterator[str]:
    """Table, warnings, figures, noise floor, and the networks that were predicted worst."""
    yield found.table
    yield _figures(_basis(found), found.headline)
    yield _figures("the same by the clock, nothing taken out", found.uncorrected)
    yield _figures("as stored in the table", found.stored_calibration)
    corrected = "as stored, drift since then taken out where that helps"
    yield _figures(corrected, found.stored_drift_corrected)
    yield _figures("MACs only", found.macs_only)
    noise = found.noise_floor_mape_percent
    yield (
        f"noise floor of the measuring session: {_noise(noise)} (by the clock "
        f"{_noise(found.uncorrected_noise_percent)}); {found.correction}"
    )
    for entry in found.worst:
        slowest = sorted(entry.blocks, key=lambda block: -block.latency_ms)[:3]
        blocks = ", ".join(f"{block.block} {block.latency_ms:.3g} ms" for block in slowest)
        yield f"{entry.name}: {entry.error_percent:+.1f} %, slowest blocks: {blocks}"


def validation_warnings(found: Validation) -> Iterator[str]:
    """What they mean for the reader, in a line each."""
    noise = found.noise_floor_mape_percent
    if noise is not None and noise >= NOISE_PERCENT:
        yield (
            f"this comparison proves nothing: halves of the session differ by {noise:.1f} %; "
            "measure on a quieter device"
        )
    if found.warnings:
        doubts = number_of(len(found.warnings), "doubt")
        yield f"{doubts} about the measured times, e.g. {found.warnings[0]}"


def _basis(found: Validation) -> str:
    """What the headline's predictions are."""
    if found.session_calibration is not None:
        return "table and calibration of the measuring session"
    if found.pace is not None:
        return f"table times {found.pace:.3f}, its own networks' factor in the measuring session"
    return "as stored in the table, with the pace of the device since then"


def _known(kind: type, document: Mapping[str, Json]) -> dict[str, Json]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in document.items() if name in names}


def _figures(name: str, row: Agreement) -> str:
    return (
        f"{name}: {row.networks} networks, bias {row.bias_percent:+.2f} %, MAPE "
        f"{row.mape_percent:.2f} %, RMSE {row.rmse_ms:.4g} ms, within 5 % "
        f"{row.within_5_percent:.0f} %, within 10 % {row.within_10_percent:.0f} %, "
        f"Spearman {_rank(row.spearman)}, Kendall {_rank(row.kendall)}"
    )


def _noise(percent: float | None, *, digits: int = 2) -> str:
    return "unknown" if percent is None else f"{percent:.{digits}f} %"


def _rank(value: float | None, *, digits: int = 4) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"
