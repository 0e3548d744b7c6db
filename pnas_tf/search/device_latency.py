"""Latency of sampled networks measured on the device while the search runs, for REINFORCE (section
3.3.2).

A network is exported and timed once; its figure is kept in a file before it is used, so that a
search that was killed and continued sees the same figures. Knows nothing of rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pnas_tf.config import ConversionConfig
from pnas_tf.devices.schedule import Runner, Schedule
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import to_json, value_of
from pnas_tf.latency.measure_sources import MeasurementSetup, comparable, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import MEASURED_PATHS
from pnas_tf.search.derive import architecture_of
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.space.base import SearchSpace

_FORMAT, _VERSION = "pnas_tf/measured_paths", 1


class MeasuredLatency:
    """path -> latency in ms of that network on `runner`'s device, exported as `table`'s blocks are.

    folder: keeps measured_paths.json and the models. Raises UserError when a network cannot be
    measured, or the file there is of another space, device or table.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: LatencyTable,
        *,
        runner: Runner,
        schedule: Schedule,
        folder: Path,
    ):
        self.space, self.table, self.runner, self.schedule, self.folder = (
            space,
            table,
            runner,
            schedule,
            folder,
        )
        self._file = folder / MEASURED_PATHS
        self._known: dict[str, float] = {}
        self._made_of = {
            "space": space.to_json(),
            "device": to_json(runner.device),
            "settings": to_json(runner.settings),
            "table": {**to_json(table.identity), "sentinel_ms": table.sentinel_ms},
        }
        if self._file.exists():
            document = atomic.read_document(
                self._file,
                format=_FORMAT,
                version=_VERSION,
                what="list of measured networks",
                made_by="delete it",
            )
            self._known = value_of(
                dict[str, float],
                document.get("latency_ms"),
                what=f"latency_ms of {self._file}",
                fix="Delete the file.",
            )
            self._check(document)

    def __call__(self, path: ChoiceIndices) -> float:
        key = ",".join(map(str, path))
        if key not in self._known:
            self._known[key] = self._measure(path)
            document = {"format": _FORMAT, "version": _VERSION, **self._made_of}
            atomic.write_json(self._file, {**document, "latency_ms": self._known})
        return self._known[key]

    def _check(self, document: Mapping[str, object]) -> None:
        """Raises UserError where the latencies are of something else; a file of an earlier version
        does not say of what."""
        others = [name for name, now in self._made_of.items() if document.get(name, now) != now]
        if others:
            raise UserError(
                f"{self._file} cannot be gone on with",
                expected="networks of the same space, device, settings and latency table",
                received=f"those of another {', '.join(others)}",
                fix="Search in another folder, or delete the file: its networks are then measured "
                "anew.",
            )

    def _measure(self, path: ChoiceIndices) -> float:
        identity = self.table.identity
        conversion = ConversionConfig(convert_workers=0, model_cache=str(self.folder / "models"))
        setup = MeasurementSetup(self.runner, self.schedule, conversion)
        session = measure_sources(
            {"network": architecture_of(self.space, path)},
            setup,
            dtype=identity.dtype,
            rewrites=identity.rewrites,
        )
        setup.forget_sessions()
        measured = comparable(session).get("network")
        if measured is None:
            raise UserError(
                "a sampled network could not be measured",
                expected="a latency",
                received=session.failures.get("network", "nothing"),
                fix="See docs/devices.md; or take latencies from the table: --rl_latency=table",
            )
        return measured.corrected_ms(self.table.sentinel_ms)
