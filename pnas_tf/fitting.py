"""The whole way by one call: `pnas_tf.fit`, the library's `pnas run`.

Does the same steps in the same kind of folder, so that either goes on where the other stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    OptimizerConfig,
    OutputConfig,
    RunConfig,
    SearchConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact, model_file
from pnas_tf.run.os_errors import as_users
from pnas_tf.run.settings import Configs
from pnas_tf.run.signals import going_on
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.latency_table import LATENCY_TABLE
from pnas_tf.steps.pipeline import fit_options, run_steps, steps_asked_for, steps_to_do
from pnas_tf.steps.programs import program_of
from pnas_tf.steps.requests import check_given

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.data import ImageData
    from pnas_tf.search.budgets import Budget
    from pnas_tf.space.architecture import Architecture

_RUN = program_of("run")


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        run_dir: holds everything that the run made.
        optimizer: how its network was trained.
    """

    run_dir: Path
    optimizer: OptimizerConfig

    @functools.cached_property
    def summary(self) -> Mapping[str, Json]:
        """The figures of summary.json: accuracies as fractions, latencies in ms, sizes in bytes."""
        path = self.run_dir / Artifact.SUMMARY
        document = atomic.read_json(path, what="summary", made_by="pnas_tf.fit")
        return cast(Mapping[str, Json], document)

    @functools.cached_property
    def architecture(self) -> Architecture:
        """What was found."""
        from pnas_tf.space.architecture import Architecture

        return Architecture.load(self.run_dir / Artifact.ARCHITECTURE)

    @functools.cached_property
    def model(self) -> keras.Model:
        """The trained network: normalised images to logits."""
        from pnas_tf.networks.layers import Normalisation
        from pnas_tf.networks.network import build_network
        from pnas_tf.training.result import restore_weights

        model = build_network(self.architecture, normalisation=Normalisation.of(self.optimizer))
        restore_weights(model, self.run_dir / Artifact.TRAINING)
        model.architecture = self.architecture  # what `pnas_tf.export` writes into the files
        return model

    @property
    def files(self) -> dict[str, Path]:
        """Format -> exported .tflite."""
        formats = cast(Mapping[str, Json], self.summary["size_bytes"])
        return {dtype: self.run_dir / model_file(dtype) for dtype in formats}

    def report(self) -> Path:
        """The page for people, report.html; open it in a browser."""
        return self.run_dir / Artifact.REPORT

    def save(self, folder: str | os.PathLike) -> Path:
        """Copies the run folder; returns the copy, which `pnas run` and the other programs take."""
        left_out = shutil.ignore_patterns(str(Artifact.LOCK))
        shutil.copytree(self.run_dir, folder, dirs_exist_ok=True, ignore=left_out)
        return Path(folder)


@as_users()
def fit(
    data: ImageData,
    *,
    device: DeviceConfig = DeviceConfig(),
    max_latency_ms: float | None = None,
    budgets: Sequence[Budget] = (),
    run_dir: str | os.PathLike | None = None,
    options: Sequence[object] = (),
    seed: int = RunConfig.seed,
    restart: bool = RunConfig.restart,
) -> FitResult:
    """Labelled images and a device in, a network measured there out.

    Args:
        data: of `pnas_tf.data.from_folder`, `from_tfds` or `from_arrays`.
        device: of `pnas_tf.device`.
        max_latency_ms: what the network may take there; None: the middle of what the space can do.
        budgets: hard ones of `pnas_tf.budget` that it keeps besides; those of another device name
            the file of its table.
        run_dir: keeps everything, and a stopped run in it goes on. None takes a temporary folder,
            which lives as long as the result.
        options: objects of the classes of `pnas_tf.config`, in place of their defaults, e.g.
            `TrainConfig(epochs=60)`, `PretrainedConfig("imagenet")`, `OutputConfig(quiet=True)`.
        seed: of everything random.
        restart: makes anew what was made from other options or data, as `--restart` does.

    Returns:
        The network, its files and its figures.

    Raises:
        UserError: something cannot be used, or no network of the space is so fast.
    """
    check_given(device)
    scratch = None if run_dir is not None else tempfile.TemporaryDirectory(prefix="pnas_")
    place = os.path.expanduser(scratch.name if scratch is not None else os.fspath(run_dir or ""))
    run = RunConfig(run_dir=place, seed=seed, restart=restart)
    path = Path(place)
    named: dict[type, object] = {type(each): each for each in (run, data.config, device)}
    configs = _configs(options) | named
    configs |= _keeping(budgets, configs)
    with TERMINAL.speaking(), RunFolder(path) as folder, going_on("run_dir", run_dir):
        call = Inputs(folder, Configs(configs.values()), data)
        _listen(call.configs[OutputConfig])
        _RUN.check(call)
        _RUN.check_in_use(call, Configs((_configs(()) | named).values()))
        if max_latency_ms is None:
            _RUN.run(call)
        else:
            _run_within(max_latency_ms, call)
    result = FitResult(path, cast(OptimizerConfig, configs[OptimizerConfig]))
    if scratch is not None:
        weakref.finalize(result, scratch.cleanup)
    return result


def _listen(output: OutputConfig) -> None:
    TERMINAL.verbose, TERMINAL.quiet = output.verbose, output.quiet or TERMINAL.quiet


def _configs(options: Sequence[object]) -> dict[type, object]:
    configs: dict[type, object] = {kind: kind() for kind in _RUN.configs}
    for config in options if isinstance(options, Sequence) else [options]:
        if type(config) not in configs or isinstance(config, RunConfig | DataConfig | DeviceConfig):
            taken = sorted(kind.__name__ for kind in configs)
            raise UserError(
                "an option of fit",
                expected=f"objects of {', '.join(taken)}; run, data and device have arguments of "
                "their own",
                received=repr(config)[:200],
                fix="Give e.g. options=[TrainConfig(epochs=60)].",
            )
        configs[type(config)] = config
    return configs


def _keeping(budgets: Sequence[Budget], configs: Mapping[type, object]) -> dict[type, object]:
    """The options that ask for these budgets, beside those that are given.

    Raises:
        UserError: a further device's table is no file, or files of two number formats are meant.
    """
    derive = cast(DeriveConfig, configs[DeriveConfig])
    search = cast(SearchConfig, configs[SearchConfig])
    for budget in budgets:
        if budget.kind == "latency_ms" and budget.table is not None:
            if not isinstance(budget.table, str | os.PathLike):
                raise UserError(
                    "budget of another device's latency",
                    expected="the file of its table",
                    received="a table in memory",
                    fix="Save it: pnas_tf.budget('latency_ms', 12, table=table.save('phone.json'))",
                )
            pair = f"{os.fspath(budget.table)}={float(budget.most)}"
            search = dataclasses.replace(search, also=(*search.also, pair))
            continue
        if budget.kind == "size_kb" and derive.max_size_kb and derive.size_dtype != budget.dtype:
            raise UserError(
                "budgets of two files' sizes",
                expected="one number format",
                received=f"{derive.size_dtype} and {budget.dtype}",
                fix="Give the one that ships.",
            )
        name = f"max_{budget.kind}"
        held = getattr(derive, name)
        dtype = budget.dtype if budget.kind == "size_kb" else derive.size_dtype
        kept = {name: budget.most if held is None else min(budget.most, held), "size_dtype": dtype}
        derive = dataclasses.replace(derive, **kept)  # type: ignore[arg-type]
    return {DeriveConfig: derive, SearchConfig: search}


def _run_within(max_latency_ms: float, call: Inputs) -> None:
    """The run with that budget. What cannot be done is refused before the table is measured, which
    says what the budget is in the search; the folder takes the settings when that is known."""
    from pnas_tf.search.budgets import check_budgets

    assert isinstance(call.folder, RunFolder)
    derive = call.configs[DeriveConfig]
    limited = dataclasses.replace(derive, max_latency_ms=max_latency_ms)
    check_budgets(limited)
    tighter = min((limited, derive), key=lambda each: each.max_latency_ms or math.inf)
    ahead = call.at(call.folder, call.configs.replaced([tighter]))
    asked = steps_asked_for(_RUN.steps, ahead)
    _RUN.prepare(asked, ahead)
    fit_options(asked, ahead)
    within = ahead.at(call.folder, call.configs.replaced(_within(max_latency_ms, call)))
    _RUN.work(steps_to_do(_RUN.steps, within), within)


def _within(max_latency_ms: float, call: Inputs) -> list[object]:
    """The options of search and derivation with that budget, or the slowest network's latency where
    it is above that: as the target, unless the search has another, and then of the derivation."""
    from pnas_tf.search.quantities import latency_quantity
    from pnas_tf.search.targets import AUTO

    search, derive = call.configs[SearchConfig], call.configs[DeriveConfig]
    run_steps(steps_to_do((LATENCY_TABLE,), call), call)
    _, slowest = latency_quantity(call.space, call.table).range
    most, held = min(float(max_latency_ms), float(slowest)), derive.max_latency_ms
    is_target = (search.objective, search.target_latency_ms) == ("latency", AUTO)
    if is_target:
        search = dataclasses.replace(search, target_latency_ms=str(most))
    if not is_target or held is not None:
        least = most if held is None else min(most, held)
        derive = dataclasses.replace(derive, max_latency_ms=least)
    return [search, derive]
