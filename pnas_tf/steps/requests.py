"""What the options of a call ask for, looked at before TensorFlow is loaded and before anything is
made: names, files and values that no step could use. Knows nothing of the order of steps.

`Step.check` refuses the rest, which takes a table or a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pnas_tf.config import (
    ArchitectureConfig,
    BenchmarkConfig,
    CalibrateConfig,
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    DistributionConfig,
    ExportConfig,
    LatencyConfig,
    PretrainedConfig,
    PublishConfig,
    SearchConfig,
    SpaceConfig,
    SpecialiseConfig,
    TrainConfig,
    ValidateConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.options import Options, check_heeded
from pnas_tf.run.cluster import check_distribution
from pnas_tf.run.settings import Configs

Config = TypeVar("Config")


def check_requests(configs: Configs) -> None:
    """Raises UserError on options that no step can use."""
    for kind, check in _CHECKS.items():
        if kind in configs:
            check(configs[kind])
    if SpecialiseConfig in configs:
        from pnas_tf.steps.specialise_requests import requests_of

        requests_of(configs[SpecialiseConfig], configs[DeriveConfig])
    if ArchitectureConfig in configs:
        _start(configs[ArchitectureConfig], configs[PretrainedConfig], configs[TrainConfig])
    if SearchConfig in configs and DistributionConfig in configs:
        _engine(configs[SearchConfig], configs[DistributionConfig])


def check_given(*configs: object) -> None:
    """Raises UserError on options, given in Python, that no step can use or that do nothing beside
    the others of their class."""
    for config in configs:
        if not isinstance(config, Options):
            raise UserError(
                "options given in Python",
                expected="an object of a class of pnas_tf.config, or a device of pnas_tf.device",
                received=repr(config)[:200],
                fix="Give e.g. pnas_tf.device('android') or ExportConfig(formats=('int8',)).",
            )
    check_requests(Configs(configs))
    for config in configs:
        check_heeded(config)


def _data(config: DataConfig) -> None:
    from pnas_tf.data.dataset_name import check_dataset

    check_dataset(config.dataset, data_dir=config.data_dir)
    if config.offline_files and not os.path.isdir(os.path.expanduser(config.offline_files)):
        raise _absent("offline_files", [config.offline_files], "a folder with archives")


def _space(config: SpaceConfig) -> None:
    from pnas_tf.space.registry import load_space, named_space

    if config.space.endswith(".json"):
        load_space(config.space)
    elif config.space != SpaceConfig().space:  # auto
        named_space(config.space, classes=2, resolution=config.resolution, width=config.width)


def _pretrained(config: PretrainedConfig) -> None:
    from pnas_tf.interop.pretrained_files import find_pretrained

    if config.pretrained:
        find_pretrained(config.pretrained)


def _architecture(config: ArchitectureConfig) -> None:
    from pnas_tf.space.published import open_architecture

    if config.architecture:
        open_architecture(config.architecture)


def _search(config: SearchConfig) -> None:
    from pnas_tf.search.targets import check_request

    check_request(config)


def _start(
    architecture: ArchitectureConfig, pretrained: PretrainedConfig, train: TrainConfig
) -> None:
    if architecture.architecture and pretrained.pretrained and train.init == "scratch":
        raise UserError(
            f"--pretrained={pretrained.pretrained} with --init=scratch",
            expected="a network that starts from these weights",
            received="one that starts from random weights",
            fix="Leave one of the two out.",
        )


def _engine(search: SearchConfig, distribution: DistributionConfig) -> None:
    from pnas_tf.supernet.tape_limits import beyond_tape

    replicas, jit_compile = distribution.replicas or 1, distribution.jit_compile
    refusal = beyond_tape(replicas=replicas, jit_compile=jit_compile)
    if search.engine == "tape" and refusal is not None:
        raise refusal


def _derive(config: DeriveConfig) -> None:
    from pnas_tf.search.budgets import check_budgets

    check_budgets(config)


def _device(config: DeviceConfig) -> None:
    from pnas_tf.devices.benchmark_tool.binary import AUTO
    from pnas_tf.devices.host.runner import DELEGATES
    from pnas_tf.devices.registry import split_devices

    if "host" in split_devices(config.device) and config.delegate not in DELEGATES:
        raise UserError(
            f"--delegate={config.delegate} with --device={config.device}",
            expected=f"on this computer one of {', '.join(DELEGATES)}",
            received=config.delegate,
            fix="Leave it out, or measure on a phone: --device=android",
        )
    binary, is_far = config.benchmark_binary, config.device != "host"
    if binary != AUTO and not (is_far and binary.startswith("/")):  # it may be there
        _require_files("benchmark_binary", [binary])


def _latency(config: LatencyConfig) -> None:
    _rewrites(config.latency_rewrites)
    _require_files("original_table", [config.original_table])


def _benchmark(config: BenchmarkConfig) -> None:
    from pnas_tf.devices.sustained import duration_of

    _require_files("models", config.models)
    if config.sustained:
        duration_of(config.sustained)


def _calibrate(config: CalibrateConfig) -> None:
    _require_files("prior", config.prior)
    _require_files("old_table", [config.old_table])
    if config.old_table and config.prior:
        raise UserError(
            "--old_table with --prior",
            expected="one of them: both say what the device was like before it was measured",
            received=f"{config.old_table} and {','.join(config.prior)}",
            fix="Give one up: --old_table= or --prior=",
        )


def _export(config: ExportConfig) -> None:
    from pnas_tf.tflite.options import check_config

    check_config(config)
    _rewrites(config.rewrites)


def _rewrites(names: tuple[str, ...]) -> None:
    from pnas_tf.tflite.rewrites.choice import AUTO, NONE, check_names

    if names not in ((AUTO,), (NONE,)):
        check_names(names)


def _publish(config: PublishConfig) -> None:
    from pnas_tf.report.manifest import check_name

    check_name(config.model_name)


def _require_files(flag: str, paths: Sequence[str]) -> None:
    """Of those that are named: "" is none."""
    absent = [path for path in paths if path and not Path(path).is_file()]
    if absent:
        raise _absent(flag, absent, "files that exist")


def _absent(flag: str, paths: Sequence[str], expected: str) -> UserError:
    return UserError(
        f"--{flag}={','.join(paths)}",
        expected=expected,
        received="; ".join(f"{path} is {_kind(Path(path))}" for path in paths),
        fix=f"Correct --{flag}.",
    )


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file" if path.exists() else "not there"


_CHECKS: dict[type, Callable[..., None]] = {
    DataConfig: _data,
    SpaceConfig: _space,
    PretrainedConfig: _pretrained,
    ArchitectureConfig: _architecture,
    SearchConfig: _search,
    DeriveConfig: _derive,
    DistributionConfig: check_distribution,
    DeviceConfig: _device,
    LatencyConfig: _latency,
    CalibrateConfig: _calibrate,
    ExportConfig: _export,
    BenchmarkConfig: _benchmark,
    ValidateConfig: lambda config: _require_files("architectures", config.architectures),
    PublishConfig: _publish,
}
