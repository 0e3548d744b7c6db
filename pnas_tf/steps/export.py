"""Exports the trained network of a run folder to .tflite files and proves them equal to it.

  pnas export --run_dir=runs/demo

takes about 20 seconds (digits, space tiny) and writes model_float32.tflite, model_int8.tflite and
parity.json; it prints each file's size and how often it answers as the network does, and with
--verbose, as in log.txt, its largest logit difference and test accuracy.
--formats=float32,float16,dynamic_int8,int8 makes all formats, --quantize=qat, --prune=0.5 and
--cluster=32 train the network further, --debug_layers shows where int8 departs. A file that breaks
--max_logit_difference or --max_accuracy_drop on the validation split is refused and none is
written; the test split is only reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import DataConfig, ExportConfig, OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.run.layout import TABLES, Artifact, model_file
from pnas_tf.run.records import check_made_of
from pnas_tf.run.step import Demand, Step
from pnas_tf.run.terminal import DETAILS, say, warn
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.train import demands_of

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.tflite.quantize import AwareNetwork


def _tables(job: Inputs) -> list[Path]:
    """Of the device, where they say which rewrites pay."""
    return [job.folder / name for name in TABLES.values() if job.has(name)]


def _check(job: Inputs) -> None:
    from pnas_tf.tflite.options import check_config

    check_config(job.configs[ExportConfig])


def _demands(job: Inputs) -> tuple[Demand, ...]:
    """A batch, where the network is trained further."""
    from pnas_tf.tflite.options import trains_further

    further = trains_further(job.configs[ExportConfig])
    return demands_of(job.configs[TrainConfig]) if further else ()


def _begin(job: Inputs) -> None:
    check_made_of(job.folder.path, ["train"], [Artifact.ARCHITECTURE])
    _ = job.architecture, job.network_dataset


def require_network(path: Path) -> None:
    """Raises UserError where there is no file of a trained network."""
    if not path.is_file():
        raise UserError(
            f"no trained network at {path}",
            expected="what training leaves behind",
            received="no such file",
            fix="Train first: pnas train with the same --run_dir.",
        )


def _run(job: Inputs) -> None:
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.networks.network import build_network
    from pnas_tf.tflite.export import export_network, write_models
    from pnas_tf.tflite.options import rewrites_of, trains_further
    from pnas_tf.training.result import restore_weights

    config, architecture = job.configs[ExportConfig], job.architecture
    tables = [LatencyTable.load(path) for path in _tables(job)]
    model = build_network(
        architecture, normalisation=Normalisation.of(job.configs[OptimizerConfig])
    )
    restore_weights(model, job.folder / Artifact.TRAINING)
    if trains_further(config):
        model = compressed(job, model)
    exported = export_network(
        model,
        job.network_dataset,
        config,
        architecture=architecture,
        rewrites=rewrites_of(
            config, {table.identity.dtype: table.rewrites_of(architecture) for table in tables}
        ),
        progress=DETAILS,
        tell=say,
    )
    contents = {report.dtype: exported.contents[name] for name, report in exported.reports.items()}
    _check_budgets(job, contents)
    write_models(exported, job.folder.path)


def _check_budgets(job: Inputs, contents: Mapping[str, bytes]) -> None:
    """Raises UserError on a file beyond a budget; says which budgets the files are not held to."""
    from pnas_tf.report.budgets import check_exported, derived_budgets
    from pnas_tf.search.budgets import OF_FILES
    from pnas_tf.space.architecture import Architecture

    budgets, network = derived_budgets(job.folder.path), job.architecture
    if not budgets:
        return
    side = Architecture.load(job.folder / Artifact.ARCHITECTURE).space.resolution
    resized = network if network.space.resolution != side else None
    fix = (
        f"Export at --export_resolution={side}, or search at this size: "
        f"--resolution={network.space.resolution} in another --run_dir."
    ) * (resized is not None)
    config = job.configs[ExportConfig]
    for row in check_exported(
        budgets, contents, fix=fix, resized=resized, batch=config.export_batch
    ):
        if row["kind"] in OF_FILES:
            why = f"no file of --formats={','.join(config.formats)} can be held to it"
        elif row["value"] is None:
            why = f"it was predicted for one image of {side} pixels a call"
        else:
            why = f"derived at {side} pixels, it takes {row['value']:.4g} here"
        warn(f"{row['name']} of at most {row['most']:g} {row['unit']}: {why}")


def compressed(job: Inputs, model: keras.Model) -> keras.Model | AwareNetwork:
    """The network after the training that compression takes."""
    from pnas_tf.tflite.quantize import FineTuning, compress

    train, dataset = job.configs[TrainConfig], job.network_dataset
    tuning = FineTuning(
        lambda epoch: dataset.fit_batches(train, seed=job.seed, epoch=epoch),
        dataset.fit_steps(train),
        job.configs[ExportConfig],
        job.configs[OptimizerConfig],
    )
    return compress(model, tuning, progress=DETAILS)


def _summary(job: Inputs) -> str:
    """Each file's size, and how often it answers as the network does."""
    from pnas_tf.tflite.parity_report import load_reports

    parts = []
    for name, report in load_reports(job.folder / Artifact.PARITY).items():
        parts.append(
            f"{name} {report.size_bytes / 1000:.0f} kB, answers as the network on "
            f"{100 * report.top1_agreement:.4g} % of test images"
        )
        DETAILS(
            f"{job.folder / name}: {report.size_bytes / 1000:.0f} kB, largest logit difference "
            f"{report.max_logit_difference:.2g}, top-1 agreement {report.top1_agreement:.2%}, "
            f"test accuracy {report.tflite_accuracy or 0:.2%} "
            f"(Keras {report.keras_accuracy or 0:.2%})"
        )
    return "; ".join(parts)


def derivation_of(job: Inputs) -> tuple[Path, ...]:
    """derivation.json, whose budgets files are held to; none of a network that was not derived."""
    path = job.folder / Artifact.DERIVATION
    return (path,) if path.exists() else ()


EXPORT: Step[Inputs] = Step(
    "export",
    (RunConfig, DataConfig, TrainConfig, OptimizerConfig, ExportConfig),
    _run,
    writes=lambda job: (*map(model_file, job.configs[ExportConfig].formats), Artifact.PARITY),
    reads=lambda job: (
        job.folder / Artifact.ARCHITECTURE,
        job.folder / Artifact.NETWORK,
        *_tables(job),
        *derivation_of(job),
    ),
    identity=lambda job: {"dataset": job.network_dataset.identity},
    check=_check,
    begin=_begin,
    demands=_demands,
    summary=_summary,
    always=lambda job: job.configs[ExportConfig].debug_layers,
)
