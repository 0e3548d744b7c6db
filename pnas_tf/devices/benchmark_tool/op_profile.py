"""Reads the per-operator tables of `benchmark_model --enable_op_profiling=true`, printed or CSV.
Pure text in, rows out.

Knows nothing of devices or models. Source: the tool's public README and the layout of
stats_calculator.cc.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pnas_tf.devices.benchmark_tool.log_lines import lines_of, strip_prefix
from pnas_tf.devices.failures import GarbledOutput

_SECTION = re.compile(r"^={1,100} ([^=]+) ={1,100}$")
_INITIALISATION = "Benchmark Initialization"
_HEADING = re.compile(rf"^.{{0,30}}Profiling Info for ({_INITIALISATION}|Regular Benchmark Runs)\b")
# What an accelerator executes, and the runtime's own steps, which are no operations of a model.
_OF_ACCELERATOR = re.compile(r"gpu|nnapi|dispatch|^litert_|^delegate$", re.IGNORECASE)
_NOT_OF_CPU = re.compile(
    rf"{_OF_ACCELERATOR.pattern}|^AllocateTensors$|^ModifyGraph|^LiteRT::", re.IGNORECASE
)
_COLUMNS = {
    "node type": "node_type",
    "first": "first_ms",
    "avg ms": "avg_ms",
    "avg_ms": "avg_ms",
    "%": "percent",
    "times called": "times_called",
}


@dataclass(frozen=True)
class OperatorTime:
    """One executed operator: mean time an invocation in ms, and its share of the whole in
    percent."""

    node_type: str
    name: str
    first_ms: float
    avg_ms: float
    percent: float
    times_called: int


def parse_profile(output: str) -> tuple[OperatorTime, ...]:
    """The operators of the last "Run Order" table, in the order in which they ran; () when the
    output holds none.

    TensorFlow Lite's tool prints two such tables under headings; that of the initialisation is
    passed over. Raises GarbledOutput on a row that does not fit.
    """
    rows: list[OperatorTime] = []
    columns: list[str] | None = None
    in_run_order = initialises = False
    for line in lines_of(output):
        _, text = strip_prefix(line)
        if heading := _HEADING.match(text):
            initialises = heading.group(1) == _INITIALISATION
        if match := _SECTION.match(text.strip()):
            in_run_order, columns = match.group(1) == "Run Order" and not initialises, None
            rows = [] if in_run_order else rows
        elif not in_run_order:
            continue
        elif not text.strip():
            in_run_order = bool(columns is None)
        elif columns is None:
            columns = _read_header(text)
        else:
            rows.append(_read_row(text, columns))
    return tuple(rows)


def first_on_cpu(operators: Sequence[OperatorTime]) -> str:
    """The first operation that no accelerator executed, XNNPACK's among them; "" where there is
    none. Behind one that is the whole of XNNPACK stands no name of an op."""
    left = (row.node_type for row in operators if not _NOT_OF_CPU.search(row.node_type))
    return next(left, "")


def is_cpus_alone(operators: Sequence[OperatorTime]) -> bool:
    """Whether a profile shows operations, and no accelerator's among them."""
    accelerated = any(_OF_ACCELERATOR.search(row.node_type) for row in operators)
    return bool(first_on_cpu(operators)) and not accelerated


def _read_header(text: str) -> list[str]:
    names = [
        part.strip(" []").lower()
        for part in (text.split("\t") if "\t" in text else text.split(","))
    ]
    columns = [_COLUMNS.get(name, name) for name in names if name]
    if not {"node_type", "first_ms", "avg_ms", "percent", "times_called", "name"} <= set(columns):
        raise GarbledOutput(
            "the profile of benchmark_model has an unknown header", received=text.strip()[:200]
        )
    return columns


def _read_row(text: str, columns: list[str]) -> OperatorTime:
    if "\t" in text and text.startswith("\t"):
        parts = [part.strip() for part in text[1:].split("\t", len(columns) - 1)]
    # CSV: node types hold commas ("Convolution (NHWC, F32)"), names never do: the tool writes a tab
    # for each
    else:
        parts = [part.strip() for part in text.rsplit(", ", len(columns) - 1)]
    if len(parts) != len(columns):
        raise GarbledOutput(
            "the profile of benchmark_model has a broken row", received=text.strip()[:200]
        )
    cells = dict(zip(columns, parts))
    try:
        row = OperatorTime(
            cells["node_type"],
            cells["name"],
            float(cells["first_ms"]),
            float(cells["avg_ms"]),
            float(cells["percent"].rstrip("%")),
            int(cells["times_called"]),
        )
        if not all(map(math.isfinite, (row.first_ms, row.avg_ms, row.percent))):
            raise ValueError("no finite time")
        return row
    except ValueError as error:
        raise GarbledOutput(
            "the profile of benchmark_model has a broken row", received=text.strip()[:200]
        ) from error
