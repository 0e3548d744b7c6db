"""The figures of validation.json as lines of text. Computes nothing anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pnas_tf.io import atomic
from pnas_tf.latency.drift import NOISE_PERCENT
from pnas_tf.latency.validate import FORMAT, VERSION

_ROWS = {
    "calibration stored in the table": "stored_calibration",
    "the same, drift corrected by the reference model": "stored_drift_corrected",
    "MACs only": "macs_only",
}


def read_validation(path: str | os.PathLike) -> dict[str, Any]:
    """The document that `latency.validate` wrote. Raises UserError where it is damaged."""
    made_by = "delete it, then pnas validate --run_dir=..."
    return atomic.read_document(
        path, format=FORMAT, version=VERSION, what="validation of a table", made_by=made_by
    )


def validation_lines(document: dict[str, Any]) -> Iterator[str]:
    """Table, warnings, figures, noise floor, and the networks that were predicted worst."""
    yield document["table"]
    for warning in document["warnings"]:
        yield f"WARNING {warning}"
    yield _figures("table and calibration of the measuring session", document)
    for name, key in _ROWS.items():
        yield _figures(name, document[key])
    noise = document["noise_floor_mape_percent"]
    yield f"noise floor of the measuring session: {noise:.2f} %"
    if noise >= NOISE_PERCENT:
        yield "WARNING errors below the noise floor mean nothing; measure on a quiet device"
    for entry in document["worst"]:
        slowest = sorted(entry["blocks"], key=lambda block: -block["latency_ms"])[:3]
        blocks = (f"{block['block']} {block['latency_ms']:.3g} ms" for block in slowest)
        yield f"{entry['name']}: {entry['error_percent']:+.1f} %, slowest blocks: " + ", ".join(
            blocks
        )


def _figures(name: str, row: dict[str, Any]) -> str:
    return (
        f"{name}: {row['networks']} networks, bias {row['bias_percent']:+.2f} %, MAPE "
        f"{row['mape_percent']:.2f} %, RMSE {row['rmse_ms']:.4g} ms, within 5 % "
        f"{row['within_5_percent']:.0f} %, within 10 % {row['within_10_percent']:.0f} %, "
        f"Spearman {_rank(row['spearman'])}, Kendall {_rank(row['kendall'])}"
    )


def _rank(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
