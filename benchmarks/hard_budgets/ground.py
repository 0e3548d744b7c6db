"""The spaces of the trial, each with its latency table, its footprint and its exporter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from pnas_tf.config import ConversionConfig, DeviceConfig, ExportConfig, LatencyConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.devices.host.runner import HostRunner
from pnas_tf.devices.schedule import schedule_for
from pnas_tf.latency.build import build_latency_table
from pnas_tf.latency.measure_sources import MeasurementSetup
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import Artifact
from pnas_tf.search.budgets import KINDS, Budget, bound_of
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derive import path_of
from pnas_tf.search.file_limits import UntrainedFiles
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import named_space
from pnas_tf.tflite.footprint import Footprint
from pnas_tf.tflite.footprint_reading import measure_footprint

GATED = MBConvSpace(
    "gated",
    40,
    10,
    16,
    8,
    (Stage(16, 2, 2), Stage(24, 2, 2), Stage(32, 2, 1)),
    64,
    (MBConv(3, 1), MBConv(5, 4), MBConv(7, 3), MBConv(3, 6, True, "hswish")),
    padding="symmetric",
)
SPACES = (named_space("tiny", classes=10), named_space("mcu", classes=10), GATED)
DTYPE, SEED = "int8", 19
TYPICAL = 100  # random networks that medians come from


@dataclass(frozen=True)
class Ground:
    """A space with what its budgets need. folder: of its files."""

    space: SearchSpace
    folder: Path
    conversion: ConversionConfig

    @cached_property
    def runner(self) -> HostRunner:
        """This computer, one thread."""
        return HostRunner(DeviceConfig())

    @property
    def setup(self) -> MeasurementSetup:
        """Measures as a table does."""
        schedule = schedule_for(DeviceConfig(), self.runner, seed=SEED)
        return MeasurementSetup(self.runner, schedule, self.conversion, print)

    @cached_property
    def table(self) -> LatencyTable:
        """Of this computer; built where there is none yet."""
        path = self.folder / Artifact.LATENCY_TABLE
        if not path.exists():
            config = LatencyConfig(latency_dtype=DTYPE, latency_rewrites=("split_depthwise",))
            build_latency_table(self.space, self.setup, config, seed=SEED).save(path)
        return LatencyTable.load(path)

    @cached_property
    def files(self) -> UntrainedFiles:
        """The exporter."""
        dataset = SimpleNamespace(
            resolution=self.space.resolution,
            class_names=tuple("0123456789"),
            name="digits",
            normalization=SimpleNamespace(mean=127.5, std=127.5),
            centre_fraction=1,
        )
        return UntrainedFiles(cast(Dataset, dataset), ExportConfig(), {DTYPE: self.table})

    @cached_property
    def footprint(self) -> Footprint:
        """Of the space's files; read off where it is not yet."""
        path = self.folder / Artifact.FOOTPRINT
        if not path.exists():
            measure_footprint(self.space, self.files, (DTYPE,), progress=print).save(path)
        return Footprint.load(path)

    @cached_property
    def typical(self) -> dict[str, np.ndarray]:
        """Kind -> what random networks take."""
        networks = [random_architecture(self.space, seed=each) for each in range(TYPICAL)]
        found = {}
        for kind in KINDS:
            quantity = self.bound(kind, 1.0).quantity
            found[kind] = np.array([quantity.of(path_of(network)) for network in networks])
        return found

    def bound(self, kind: str, most: float) -> Bound:
        """A budget as a bound."""
        return bound_of(Budget(kind, most, dtype=DTYPE), self.space, self.table, self.footprint)
