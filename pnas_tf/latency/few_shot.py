"""Prices of blocks that were not measured but follow from a few measured networks: what a
calibrated table holds in place of measured blocks.

A record and its JSON. Knows neither how prices are found nor how networks are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import measurement_from_json
from pnas_tf.errors import number_of
from pnas_tf.io.serialization import Json, record_of, value_of
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.ops import CandidateOp, op_to_json

LEAVE_ONE_OUT, BY_PRIOR = "leave-one-out", "by the prior's own devices"
# In a run folder, which keeps what a calibration was asked for.
MEASURE_BLOCKS = "pnas latency-table --measurements=0 --prior= --old_table= --max_error_percent="
# In one whose table was read from a file, or lacks blocks that could not be measured.
MEASURE_ANEW = "pnas latency-table --original_table= --restart"


@dataclass(frozen=True)
class Price:
    """What a block adds to a network, with its standard deviation, in ms. measured: the block was
    measured alone, and its price is that, scaled to what it takes within a network."""

    latency_ms: float
    deviation_ms: float
    measured: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.latency_ms < 1e9 and 0 <= self.deviation_ms < 1e9):
            raise ValueError(f"a price of {self.latency_ms} ms, give or take {self.deviation_ms}")


@dataclass(frozen=True)
class MeasuredNetwork:
    """ops: of the space of the table."""

    ops: tuple[CandidateOp, ...]
    measurement: Measurement


@dataclass(frozen=True)
class FewShot:
    """Prices of all blocks of a space, from a few measured networks.

    Attributes:
        method: "prior", "op kinds", "factor" or "line".
        source: what else the prices come from, in words: the prior, the old table.
        networks: name -> what was measured.
        prices: latency key -> price.
        expected_error_percent: mean absolute error to expect of a network's prediction, before
            blocks were measured alone; None where nothing says.
        error_basis: `LEAVE_ONE_OUT` or `BY_PRIOR`; "" without an expected error.
        doubts: what a reader must be told.
    """

    method: str
    source: str
    networks: Mapping[str, MeasuredNetwork]
    prices: Mapping[str, Price]
    expected_error_percent: float | None = None
    error_basis: str = ""
    doubts: tuple[str, ...] = field(default_factory=tuple)

    @property
    def measurements(self) -> dict[str, Measurement]:
        """Of the networks."""
        return {name: each.measurement for name, each in self.networks.items()}

    def architectures(self, space: SearchSpace) -> dict[str, Architecture]:
        """Name -> measured network of `space`, the space of the table."""
        return {name: Architecture(space, each.ops) for name, each in self.networks.items()}

    def describe(self) -> str:
        """For beside a figure: that it is no measurement of blocks, and what to expect of it."""
        measured = sum(price.measured for price in self.prices.values())
        networks = number_of(len(self.networks), "measured network")
        blocks = f" and {number_of(measured, 'measured block')}" if measured else ""
        error = (
            "expected error unknown"
            if self.expected_error_percent is None
            else f"expected error {self.expected_error_percent:.1f} % {self.error_basis}"
        )
        if blocks and self.expected_error_percent is not None:
            error += ", before blocks were measured"
        source = f", {self.source}" if self.source else ""
        return f"estimated from {networks}{blocks} by {self.method}{source} ({error})"

    def to_json(self) -> dict[str, Json]:
        """With all raw values of the networks."""
        return {
            "method": self.method,
            "source": self.source,
            "expected_error_percent": self.expected_error_percent,
            "error_basis": self.error_basis,
            "doubts": list(self.doubts),
            "networks": {
                name: {"ops": [op_to_json(op) for op in each.ops], **each.measurement.to_json()}
                for name, each in self.networks.items()
            },
            "prices": {key: asdict(price) for key, price in self.prices.items()},
        }

    @classmethod
    def from_json(
        cls, document: Json, device: Device, settings: Settings, *, where: str
    ) -> FewShot:
        """The inverse of `to_json`; device and settings stand once in a table. Raises UserError."""
        fix = "Calibrate again: pnas calibrate"
        read = record_of(_Document, document, where=f"{where}, few_shot", fix=fix)
        networks = {}
        for name, entry in read.networks.items():
            ops = value_of(
                tuple[CandidateOp, ...], entry.get("ops"), what=f"ops of {name} in {where}", fix=fix
            )
            networks[name] = MeasuredNetwork(
                ops, measurement_from_json(entry, device, settings, where=f"{where}, {name}")
            )
        return cls(
            read.method,
            read.source,
            networks,
            read.prices,
            read.expected_error_percent,
            read.error_basis,
            read.doubts,
        )


@dataclass(frozen=True)
class _Document:
    """What the file holds."""

    method: str
    source: str
    expected_error_percent: float | None
    error_basis: str
    doubts: tuple[str, ...]
    networks: dict[str, dict[str, object]]
    prices: dict[str, Price]
