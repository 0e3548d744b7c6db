"""The whole way: dataset and latency in, a measured .tflite out.

  pnas run --dataset=digits --target_latency_ms=auto --run_dir=runs/demo

takes about 5 minutes on 2 cores and leaves model_float32.tflite, model_int8.tflite, summary.json
and report.html in the run folder. Each step (latency table, search, train, export, benchmark) is
also a program of its own on the same folder; a step that is complete and whose inputs have not
changed is skipped, so a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DataConfig,
    DeviceConfig,
    DistributionConfig,
    TrainConfig,
)
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import RunFollower
from pnas_tf.run.layout import Artifact
from pnas_tf.run.records import check_owner
from pnas_tf.run.refusal import unless_refused
from pnas_tf.run.settings import Configs, chosen_options, other_options
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import DETAILS, TERMINAL, say, warn
from pnas_tf.space.architecture import Architecture
from pnas_tf.steps.benchmark import BENCHMARK
from pnas_tf.steps.chosen_space import tell_space
from pnas_tf.steps.derive import DERIVE, SWEEP
from pnas_tf.steps.effects import EFFECTS
from pnas_tf.steps.export import EXPORT, require_network
from pnas_tf.steps.footprint import FOOTPRINT
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.latency_table import LATENCY_TABLE, LATENCY_TABLE_INT8
from pnas_tf.steps.search import SEARCH
from pnas_tf.steps.train import TRAIN

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset

PIPELINE: tuple[Step[Inputs], ...] = (
    LATENCY_TABLE,
    LATENCY_TABLE_INT8,  # whose rewrites the export takes: a file is as large as they make it
    FOOTPRINT,
    SEARCH,
    EFFECTS,
    DERIVE,
    SWEEP,
    TRAIN,
    EXPORT,
    BENCHMARK,
)

# What reads or refuses a file of the run.
_READERS: dict[str, Callable[[Path], object]] = {
    Artifact.LATENCY_TABLE: LatencyTable.load,
    Artifact.ARCHITECTURE: Architecture.load,
    Artifact.NETWORK: require_network,
}


def steps_asked_for(steps: Sequence[Step[Inputs]], call: Inputs) -> list[Step[Inputs]]:
    """Those that the options of `call` ask for.

    Raises:
        UserError: a file in the run folder is another step's.
    """
    asked = [step for step in steps if step.wanted(call.only(step.configs))]
    for step in asked:
        check_owner(step.name, step.writes(call.only(step.configs)), call.folder.path)
    return asked


def steps_to_do(steps: Sequence[Step[Inputs]], call: Inputs) -> list[Step[Inputs]]:
    """Those that the options of `call` ask for, with whose settings the run folder agrees.

    Of a worker that follows a chief, up to the last that all do together.

    Raises:
        UserError: the folder was made with other settings, or a file there is another step's.
    """
    todo = steps_asked_for(steps, call)
    settings = {
        type(config): config for step in todo for config in step.settings(call.only(step.configs))
    }
    call.folder.settle(settings.values())
    if isinstance(call.folder, RunFollower):
        while todo and not todo[-1].together:
            todo.pop()
    return todo


def check_files(todo: Sequence[Step[Inputs]], call: Inputs) -> None:
    """Raises UserError, without TensorFlow, on a file of the run that the first steps work from,
    up to one that works from what another makes, where it is absent or damaged. A chief may still
    make it for its followers."""
    if isinstance(call.folder, RunFollower):
        return
    made: set[Path] = set()
    for step in todo:
        job = call.only(step.configs)
        paths = [path for path in step.reads(job) if path.is_relative_to(call.folder.path)]
        if not made.isdisjoint(paths):
            return
        for path in paths:
            _READERS.get(path.relative_to(call.folder.path).as_posix(), str)(path)
        made.update(call.folder / name for name in step.writes(job))


def check_steps(todo: Sequence[Step[Inputs]], call: Inputs) -> None:
    """Raises UserError where a step cannot do what the options ask for, as far as it does not
    depend on a file that one before it may make anew."""
    to_come: frozenset[str] = frozenset()
    for step in todo:
        job = call.only(step.configs).before(to_come)
        step.check(job)
        to_come |= frozenset(map(str, step.writes(job)))


def fit_options(todo: Sequence[Step[Inputs]], call: Inputs) -> Inputs:
    """The call with a value for each option that the number of images chooses; says which.

    Raises:
        UserError: the images do not suffice for a batch of one of the steps, or it has no equal
            part for every replica.
    """
    from pnas_tf.data.fitted_options import check_demands
    from pnas_tf.training.distribution import check_shares

    fitted = call.fitted()
    if fitted is call:
        return call
    sizes, dataset = fitted.data.sizes, fitted.data.config.dataset
    for step in todo:
        job = fitted.only(step.configs)
        demands = step.demands(job)
        check_demands(demands, sizes, dataset=dataset)
        if DistributionConfig in step.configs:
            check_shares(demands, fitted.distribution.replicas)
    chosen = {
        name: value
        for step in todo
        for kind in step.configs
        for name, value in chosen_options(call.configs[kind], fitted.configs[kind]).items()
    }
    if chosen and isinstance(call.folder, RunFolder):
        words = " ".join(f"--{name}={value}" for name, value in chosen.items())
        DETAILS(f"for {sizes.train} train and {sizes.validation} validation images: {words}")
    return fitted


def run_steps(todo: Sequence[Step[Inputs]], call: Inputs) -> int:
    """Does the steps, one after the other, unless they are complete. A worker that follows waits
    for those that are the chief's alone.

    Returns:
        The highest exit status of a step.

    Raises:
        UserError: what a step cannot use, before the first one starts where that is known then.
    """
    status = 0
    with TERMINAL.stages():
        for number, step in enumerate(todo):
            job = call.only(step.configs)
            if isinstance(call.folder, RunFollower) and not step.together:
                inputs = functools.partial(step.inputs, job)
                call.folder.wait_for(step.name, inputs, step.writes(job))
                continue
            check_steps(todo[number:], call)
            TERMINAL.stage = f"{f'[{number + 1}/{len(todo)}] ' * (len(todo) > 1)}{step.name}"
            status = max(status, _perform(step, job))
    return status


def _perform(step: Step[Inputs], job: Inputs) -> int:
    if isinstance(job.folder, RunFollower):
        return step.perform(job)
    with unless_refused(job.folder.path, (*step.writes(job), *step.partial)):
        return step.perform(job)


def check_run(call: Inputs) -> None:
    """Refuses, before any work starts, a device or a dataset that is not there, and a training that
    the networks of the space cannot have."""
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.training.forward import check_depth

    check_depth(call.space, call.configs[TrainConfig])
    runner_for(call.configs[DeviceConfig]).close()
    dataset = call.dataset
    say(
        f"{dataset.name}: {len(dataset.class_names)} classes; {dataset.train_size} train, "
        f"{dataset.validation_size} validation, {dataset.test_size} test images"
    )
    share = call.configs[DataConfig].test_fraction
    if share != DataConfig.test_fraction and call.data.facts.test_examples is not None:
        warn(f"--test_fraction={share:g} is not used: the dataset has a test split of its own")
    for line in idle_views(call.configs, dataset):
        warn(line)
    tell_space(call)


def idle_views(configs: Configs, dataset: Dataset) -> list[str]:
    """Options of random crops and colours that --augmentation=auto does not look at for `dataset`:
    it may at another resolution, so that they are said and not refused."""
    kind = dataset.augmentation.kind
    if kind == "imagenet":
        return []
    given = other_options(DataConfig(), configs[DataConfig])
    views = ("min_crop_scale", "distort_color")
    values: dict[str, object] = {name: given[name] for name in views if name in given}
    if TrainConfig in configs and configs[TrainConfig].train_distort_color is not None:
        values["train_distort_color"] = configs[TrainConfig].train_distort_color
    return [
        f"--{name}={value} is not used at {dataset.resolution} px: --augmentation is {kind}"
        for name, value in values.items()
    ]
