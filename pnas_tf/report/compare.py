"""Finished runs beside one another. Accuracies are compared on the same test images alone,
latencies on the same device with the same settings and of as many images a call; what differs in
any stands in a group of its own.

Reads run folders. Measures and trains nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pnas_tf.config import DataConfig
from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.devices.record import Device, Settings
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.latency.drift import DRIFT_PERCENT
from pnas_tf.report import summary_table as cells
from pnas_tf.report.reproduce import dataset_fingerprint
from pnas_tf.report.run_files import RunFiles, check_of_one_network, read_run
from pnas_tf.report.words import device_words, one_line
from pnas_tf.run.layout import Artifact, run_dir_option
from pnas_tf.tflite.parity_report import ParityReport


@dataclass(frozen=True)
class Network:
    """One exported file of one run. accuracy: a fraction of `images`. reference_ms: what the
    reference model took in the session that measured it. front: whether no other network of its
    group is both faster and at least as accurate."""

    run: str
    dtype: str
    accuracy: float | None
    images: int
    latency_ms: float | None
    reference_ms: float | None
    size_bytes: float | None
    ram_bytes: float | None
    macs: int
    front: bool = False


@dataclass(frozen=True)
class Group:
    """Networks whose figures may be compared. fingerprint: of images and test split; "" where the
    run does not say, which then stands alone. batch: images of a call."""

    dataset: str
    fingerprint: str
    device: Device
    settings: Settings
    batch: int
    networks: tuple[Network, ...]
    notes: tuple[str, ...]

    @property
    def describe(self) -> str:
        """One line for beside its figures."""
        images = f", {self.networks[0].images} test images" if self.networks else ""
        words = device_words({"device": to_json(self.device), "settings": to_json(self.settings)})
        known = f" ({self.fingerprint})" if self.fingerprint else " (not known which images)"
        call = f", {self.batch} images a call" if self.batch > 1 else ""
        return f"{self.dataset}{images}{known} on {words}{call}"


def compare_runs(folders: Sequence[str | os.PathLike]) -> list[Group]:
    """The groups, those of the first run first.

    Args:
        folders: of finished runs; one that is named twice counts once.

    Raises:
        UserError: a folder holds no finished run, or one of which an earlier step was done anew, or
            a file in it is damaged.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    groups: dict[tuple[object, ...], Group] = {}
    for name, path in zip(_names(paths), paths, strict=True):
        check_of_one_network(path)
        run = read_run(path)
        prints = dataset_fingerprint(run.records)
        parts = [prints[key] for key in ("images", "test split") if key in prints]
        fingerprint = "-".join(part[:8] for part in parts) if len(parts) == 2 else ""
        for network, device, settings in _networks(run, name):
            data = run.settings.get(DataConfig.__name__, {})
            dataset = one_line(str(data.get("dataset", "images of no name")))
            # Of one fingerprint, "folder:photos" and its whole path are the same images.
            # Which cores a run was held to is no matter, but it is whether it was held to any.
            free = replace(device, cores=()), bool(device.cores)
            key = (fingerprint or path, free, settings, run.batch)
            empty = Group(dataset, fingerprint, device, settings, run.batch, (), ())
            group = groups.setdefault(key, empty)
            groups[key] = replace(group, networks=(*group.networks, network))
    return [
        replace(group, networks=with_front(group.networks), notes=_notes(group.networks))
        for group in groups.values()
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Each folder by as little of its path as tells it from the others."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return [one_line(name) for name in names]
    raise AssertionError("paths are distinct")


def _networks(run: RunFiles, name: str) -> list[tuple[Network, Device, Settings]]:
    """The exported files that were measured, in the order of their export."""
    if not run.measured:
        raise UserError(
            f"run {run.path} is not finished",
            expected="exported files and their measurements",
            received="no measurement of the files" if run.reports else "no exported files",
            fix="Go on: pnas train, then pnas export and pnas benchmark, with "
            f"{run_dir_option(run.path)}; what is complete is skipped.",
        )
    document = atomic.read_json(
        run.path / Artifact.BENCHMARK, what="latency measurement", made_by="pnas benchmark"
    )
    reference = document.get("sentinel_ms") if isinstance(document, dict) else None
    return [
        (
            Network(
                name,
                report.dtype,
                report.tflite_accuracy,
                report.images,
                entry.median_ms,
                cells.number(reference),
                report.size_bytes,
                _ram_bytes(run, report),
                run.exported.macs,
            ),
            entry.device,
            entry.settings,
        )
        for report in run.reports.values()
        if (entry := run.measured.get(report.dtype)) is not None
    ]


def _ram_bytes(run: RunFiles, report: ParityReport) -> float | None:
    """By the summary, where there is one and it is of this file."""
    sizes, ram = (run.summary.get(key) for key in ("size_bytes", "ram_bytes"))
    if not isinstance(sizes, dict) or not isinstance(ram, dict):
        return None
    is_of_it = sizes.get(report.dtype) == report.size_bytes
    return cells.number(ram.get(report.dtype)) if is_of_it else None


def with_front(networks: Sequence[Network]) -> tuple[Network, ...]:
    """The networks with `front` as it is among them."""

    def beats(one: Network, other: Network) -> bool:
        first, second = place_of(one), place_of(other)
        if first is None or second is None:
            return False
        return first != second and first[0] <= second[0] and first[1] >= second[1]

    return tuple(
        replace(
            network,
            front=place_of(network) is not None
            and not any(beats(other, network) for other in networks),
        )
        for network in networks
    )


def place_of(network: Network) -> tuple[float, float] | None:
    """(latency in ms, accuracy), where both are known."""
    if network.latency_ms is None or network.accuracy is None:
        return None
    return network.latency_ms, network.accuracy


def _notes(networks: Sequence[Network]) -> tuple[str, ...]:
    """What limits the comparison: the device's own pace, and the number of images."""
    notes = []
    paces = {network.run: ms for network in networks if (ms := network.reference_ms)}
    if paces and max(paces.values()) / min(paces.values()) - 1 > DRIFT_PERCENT / 100:
        slow, fast = max(paces, key=paces.__getitem__), min(paces, key=paces.__getitem__)
        notes.append(
            f"the device was {100 * (paces[slow] / paces[fast] - 1):.1f} % slower when {slow} was "
            f"measured than for {fast}, by the same reference model: measure both again before "
            "comparing their latencies"
        )
    known = [network for network in networks if network.accuracy is not None and network.images]
    if len(known) > 1:
        best = max(known, key=lambda network: network.accuracy or 0.0)
        low = accuracy_interval(best.accuracy or 0.0, best.images)[0]
        near = sum((network.accuracy or 0.0) >= low for network in known) - 1
        if near:
            notes.append(
                f"{near + 1} of {len(known)} networks are within the {cells.INTERVAL} of the most "
                f"accurate one: {best.images} test images do not tell them apart"
            )
    return tuple(notes)
