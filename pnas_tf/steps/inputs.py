"""What the steps of a run work from, loaded when first asked for. Knows files and options, and
nothing of what is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DistributionConfig,
    ExportConfig,
    PretrainedConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from pnas_tf.data.fitted_options import INHERIT, PRETRAINED
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import Configs, Settings
from pnas_tf.run.step import Job
from pnas_tf.run.terminal import say

if TYPE_CHECKING:
    from pnas_tf.data import ImageData
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.networks.pretrained import PretrainedWeights
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.training.distillation import Teacher
    from pnas_tf.training.distribution import Distribution

# Classes of options of which some are chosen by the number of images.
_FITTED: tuple[type, ...] = (SearchConfig, DeriveConfig, TrainConfig)
# What decides a run's search space.
OF_SPACE: tuple[type, ...] = (RunConfig, DataConfig, SpaceConfig, PretrainedConfig)


@dataclass(frozen=True)
class Inputs(Job):
    """The inputs of one step. Each raises UserError where its file or its options are wrong.

    Attributes:
        given: images that are no dataset by name; None: those of --dataset.
    """

    folder: RunFolder | RunFollower
    given: ImageData | None = None

    def only(self, kinds: Iterable[type]) -> Inputs:
        """Those of a step that takes these classes of options."""
        return self._with(self.configs.only(kinds))

    def before(self, to_come: frozenset[str]) -> Inputs:
        """Before the steps that leave these files have looked at them."""
        return dataclasses.replace(self, to_come=to_come)._with(self.configs, known=self)

    def at(self, folder: RunFolder, configs: Configs) -> Inputs:
        """In another folder with other options of the same images, which are those found."""
        return dataclasses.replace(self, folder=folder)._with(configs, known=self)

    @property
    def seed(self) -> int:
        """Of everything random in the run."""
        return self.configs[RunConfig].seed

    @cached_property
    def data(self) -> ImageData:
        """The run's images, split and augmented as its options say."""
        from pnas_tf.data import ImageData

        arrays = self.given.arrays if self.given else None
        return ImageData(self.configs[DataConfig], arrays)

    def fitted(self) -> Inputs:
        """These, with a value in place of each option that the number of images chooses: the one
        that something was made with, else what fits."""
        from pnas_tf.data.fitted_options import fitted_export, fitted_options

        kinds = [kind for kind in _FITTED if kind in self.configs]
        if DataConfig not in self.configs or not kinds:
            return self
        held, replicas = self.folder.held, 1
        if DistributionConfig in self.configs:
            replicas = self.distribution.replicas.total
        fitted = [
            fitted_options(
                self._started(_with_held(self.configs[kind], held)),
                self.data.sizes,
                replicas=replicas,
            )
            for kind in kinds
        ]
        configs = self.configs.replaced(fitted)
        if ExportConfig in configs and TrainConfig in configs:
            export = fitted_export(configs[ExportConfig], configs[TrainConfig], self.data.sizes)
            configs = configs.replaced([export])
        return self._with(configs)

    def _started(self, config: object) -> object:
        """A search or a training that has weights to start from starts from them, unless told
        otherwise."""
        match config:
            case SearchConfig(weights_init=None) if self.source:
                return dataclasses.replace(config, weights_init=PRETRAINED)
            case TrainConfig(init=None) if self.source:
                return dataclasses.replace(config, init=self._usual_init)
        return config

    @property
    def _usual_init(self) -> str:
        """Where a training starts unless told otherwise."""
        if not self.source:
            return "scratch"
        searched = SearchConfig in self.configs or self.has(Artifact.SEARCH_HISTORY)
        return INHERIT if searched else PRETRAINED

    @property
    def source(self) -> str:
        """Of weights to start from; "" for none."""
        known = PretrainedConfig in self.configs
        return self.configs[PretrainedConfig].pretrained if known else ""

    def _with(self, configs: Configs, known: Inputs | None = None) -> Inputs:
        """With other options, and the images and weights that were found. known: by whom; None:
        by this one."""
        found, known = dataclasses.replace(self, configs=configs), known or self
        for name, kind in (("data", DataConfig), ("pretrained", PretrainedConfig)):
            if name in vars(known) and kind in configs:
                vars(found)[name] = vars(known)[name]
        return found

    @cached_property
    def pretrained(self) -> PretrainedWeights:
        """Weights to start from, by `source`."""
        from pnas_tf.interop.pretrained_files import find_pretrained

        files = find_pretrained(self.source).files
        return _opened(self.source, tuple((path, path.stat().st_mtime_ns) for path in files))

    @cached_property
    def teacher(self) -> Teacher | None:
        """The network that the training learns from beside the labels."""
        from pnas_tf.interop.teachers import open_teacher

        source = self.configs[TrainConfig].teacher
        return open_teacher(source, self.data.class_names) if source else None

    @property
    def init(self) -> str:
        """Where a training starts."""
        return self.configs[TrainConfig].init or self._usual_init

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, with the dataset's classes."""
        from pnas_tf.data.run_space import check_channels, space_for

        config, known = self.configs[SpaceConfig], bool(self.source)
        found = space_for(self.data.facts, config, pretrained=known, searched=self.searched_space)
        check_channels(found)
        return found

    @cached_property
    def searched_space(self) -> SearchSpace | None:
        """The space in which the weights of --pretrained were searched; None where they are those
        of one network."""
        from pnas_tf.interop.pretrained_files import find_pretrained
        from pnas_tf.space.architecture import Architecture

        files = find_pretrained(self.source) if self.source else None
        if files is None or files.kind not in ("network", "supernet"):
            return None
        space = Architecture.load(files.network).space
        several = any(len(choice.candidates) > 1 for choice in space.choice_blocks)
        return space if several else None

    @cached_property
    def dataset(self) -> Dataset:
        """At the space's resolution."""
        dataset = self.data.at(self.space.resolution)
        self._tell_files(dataset)
        return dataset

    @cached_property
    def table(self) -> LatencyTable:
        """The run's own latency table."""
        from pnas_tf.latency.table import LatencyTable

        return LatencyTable.load(self.folder / Artifact.LATENCY_TABLE)

    @cached_property
    def targets(self) -> list[Target]:
        """What guides the search, the one it is named for first."""
        from pnas_tf.search.targets import search_targets

        return search_targets(self.space, self.table, self.configs[SearchConfig])

    @cached_property
    def distribution(self) -> Distribution:
        """The devices and processes, started."""
        from pnas_tf.training.distribution import start

        return start(self.configs[DistributionConfig])

    @cached_property
    def architecture(self) -> Architecture:
        """The derived network, at the resolution of --export_resolution where a step has that."""
        from pnas_tf.space.architecture import Architecture

        architecture = Architecture.load(self.folder / Artifact.ARCHITECTURE)
        if ExportConfig not in self.configs:
            return architecture
        resolution = self.configs[ExportConfig].export_resolution or architecture.space.resolution
        space = dataclasses.replace(architecture.space, resolution=resolution)
        return dataclasses.replace(architecture, space=space)

    @cached_property
    def network_dataset(self) -> Dataset:
        """At the derived network's resolution; in the training with the colours of that."""
        from pnas_tf.training.result import check_classes

        space, data = self.architecture.space, self.data
        if ExportConfig not in self.configs:
            data = data.for_training(self.configs[TrainConfig])
        dataset = data.at(space.resolution)
        check_classes(space.classes, dataset)
        self._tell_files(dataset)
        return dataset

    def _tell_files(self, dataset: Dataset) -> None:
        """Says once in a run what a folder's files are, and which are not used; those stand in a
        file."""
        from pnas_tf.data.file_tree import LEFT_OUT_FILE

        files = dataset.files
        if files is None or isinstance(self.folder, RunFollower):
            return
        path = self.folder / LEFT_OUT_FILE
        before = path.read_bytes() if path.is_file() else b""
        if self.folder.note(LEFT_OUT_FILE, files.write_csv).read_bytes() != before:
            say(files.summary(str(path)))


def by_name(files: Sequence[str]) -> dict[str, Path]:
    """Files that the user names, by their stems, by whole paths where two of those are alike."""
    paths = [Path(name) for name in dict.fromkeys(files)]
    alike = len({path.stem for path in paths}) < len(paths)
    return {str(path) if alike else path.stem: path for path in paths}


@lru_cache(maxsize=1)
def _opened(source: str, files: tuple[tuple[Path, int], ...]) -> PretrainedWeights:
    """Kept, for every step looks at them before the first one starts. files: with their times."""
    from pnas_tf.interop.pretrained import open_pretrained

    del files
    return open_pretrained(source)


def _with_held(config: object, held: Settings) -> object:
    """The config with the folder's value of each option that is not given."""
    known = held.get(type(config).__name__, {})
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    taken = {name: known[name] for name in names & set(known) if getattr(config, name) is None}
    return dataclasses.replace(config, **taken)  # type: ignore[type-var]
