"""What a prior is learnt from: networks of known architecture on one device, with what they take.

A table of measured blocks tells by these and by the networks that it predicts, one of few networks
by these, and measurements of exported files (latency.json) by the architectures that stand in the
files. Knows nothing of what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pnas_tf.devices.drift_correction import NONE, at_pace
from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import FORMAT as MEASUREMENTS
from pnas_tf.devices.record_file import load_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.calibration import calibration_architectures
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.op_features import features_of
from pnas_tf.latency.rewrite_selection import forms
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.within_networks import factors, prices_ms
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block

_NETWORKS = 40  # of each table of measured blocks, predicted by it
_FILE = {"what": "latency table or measurements", "made_by": "pnas latency-table, pnas benchmark"}
_AGAIN = "Measure again: pnas benchmark"


@dataclass(frozen=True)
class Source:
    """Networks on one device.

    Attributes:
        name: where they come from, in words.
        identity: of the device and its settings.
        networks: any, of any spaces.
        latency_ms: of each.
        error_percent: mean absolute error of these where a table predicts them; 0 where they were
            measured.
        blocks: latency key -> (block, what it adds to a network in ms), of a table of measured
            blocks.
    """

    name: str
    identity: Identity
    networks: tuple[Architecture, ...]
    latency_ms: tuple[float, ...]
    error_percent: float = 0.0
    blocks: Mapping[str, tuple[Block, float]] = field(default_factory=dict)

    @cached_property
    def features(self) -> np.ndarray:
        """[networks, features] of `op_features.FEATURES`."""
        return np.array([features_of(network.blocks) for network in self.networks])

    @property
    def unit(self) -> tuple[Device, Settings]:
        """The device as it was run: several sources may be of one."""
        return self.identity.device, self.identity.settings

    @property
    def forms(self) -> set[str]:
        """As `rewrite_selection.forms`."""
        blocks = (block for network in self.networks for block in network.blocks)
        return forms(blocks, self.identity.rewrites)

    def describe(self) -> str:
        """For a prior's list of what it was learnt from."""
        return f"{self.name}: {self.identity.describe()}"


def read_sources(paths: Iterable[str], *, dtype: str | None) -> list[Source]:
    """The sources in files of tables and of measurements; all measurements on one device under the
    same settings are one source, at the pace of the first file that tells one.

    Args:
        paths: latency_table.json and latency.json files.
        dtype: number format of those that are wanted; None: all that are there.

    Raises:
        UserError: a file is absent, damaged or of another kind, or among those that are wanted a
            table does not know its space or a measured file holds no architecture.
    """
    found: list[Source] = []
    measured: dict[Identity, list[tuple[str, Architecture, Measurement]]] = {}
    paces_ms: dict[Identity, float] = {}
    for path in dict.fromkeys(paths):
        document = atomic.read_json(path, **_FILE)
        if not isinstance(document, dict) or document.get("format") != MEASUREMENTS:
            table = LatencyTable.load(path)
            if dtype in (None, table.identity.dtype):
                found.append(source_of_table(path, table))
            continue
        pace_ms = _reference_ms(document)
        for identity, network, entry in _measured(path, document, dtype):
            measured.setdefault(identity, []).append((path, network, entry))
            if pace_ms is not None:
                paces_ms.setdefault(identity, pace_ms)
    for identity, rows in measured.items():
        files, networks, entries = zip(*rows)
        name = ", ".join(dict.fromkeys(files))
        latencies = tuple(each.corrected_ms(paces_ms.get(identity)) for each in entries)
        rewrites = sorted({each for entry in entries for each in entry.model.rewrites})
        identity = replace(identity, rewrites=tuple(rewrites))
        found.append(Source(name, identity, tuple(networks), latencies))
    return found


def source_of_table(name: str, table: LatencyTable) -> Source:
    """A table as a source. Raises UserError where it does not know its space."""
    if table.space is None:
        raise UserError(
            f"{name} among the sources of a prior",
            expected="a table that knows its space",
            received="one of an older version, or of others",
            fix="Build it again: pnas latency-table",
        )
    error_percent, blocks = 0.0, {}
    if table.few_shot is not None:
        networks = table.few_shot.architectures(table.space)
        latencies = [
            each.measurement.corrected_ms(table.sentinel_ms)
            for each in table.few_shot.networks.values()
        ]
    else:
        networks = calibration_architectures(table.space, count=_NETWORKS, seed=1)
        latencies = [table.predict_ms(network) for network in networks.values()]
        if table.calibration is not None:
            error_percent = table.calibration.held_out_mape_percent
        added_ms = prices_ms(table, table.space, *factors(table, table.space))
        known = table.space.distinct_blocks()
        blocks = {key: (known[key], ms) for key, ms in added_ms.items()}
    return Source(
        name, table.identity, tuple(networks.values()), tuple(latencies), error_percent, blocks
    )


def _measured(
    path: str, document: Mapping[str, object], dtype: str | None
) -> Iterator[tuple[Identity, Architecture, Measurement]]:
    """The networks of a latency.json in a number format (None: in any), for
    `Measurement.corrected_ms`."""
    described = value_of(
        dict[str, object], document.get("networks", {}), what=f"networks in {path}", fix=_AGAIN
    )
    pace_ms = _reference_ms(document) if document.get("correction") == NONE else None
    for name, entry in load_measurements(path).items():
        if dtype not in (None, entry.model.dtype):
            continue
        if name not in described:
            raise UserError(
                f"model {name} in {path}",
                expected="one that holds the architecture of its network, as pnas export makes it",
                received="one without, or a measurement of an earlier version",
                fix=f"Leave the file out. {_AGAIN} measures exported models with it.",
            )
        where = f"{path}, networks['{name}']"
        network = Architecture.from_json(described[name], where=where)  # type: ignore[arg-type]
        _check_size(f"model {name} in {path}", entry, network)
        paced = entry if pace_ms is None else at_pace(entry, pace_ms)
        yield Identity(entry.device, entry.settings, entry.model.dtype, ()), network, paced


def _reference_ms(document: Mapping[str, object]) -> float | None:
    """What the reference model took in the session of a latency.json."""
    found = document.get("sentinel_ms")
    return found if isinstance(found, float) and found > 0 else None


def _check_size(what: str, entry: Measurement, network: Architecture) -> None:
    """Raises UserError where the file was exported at another size than its network's."""
    space = network.space
    own = (1, space.resolution, space.resolution, space.channels)
    if entry.model.input_shape != own:
        raise UserError(
            what,
            expected=f"input {own}, as of the space of its network",
            received=f"{entry.model.input_shape}, by --export_resolution",
            fix="Leave the file out.",
        )
