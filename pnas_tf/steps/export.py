"""Exports the trained network of a run folder to .tflite files and proves them equal to it.

  pnas export --run_dir=runs/demo

takes about 20 seconds (digits, space tiny) and writes model_float32.tflite, model_int8.tflite and
parity.json; it prints a line a file: size, largest logit difference, test accuracy.
--formats=float32,float16,dynamic_int8,int8 makes all formats,
--quantize=qat, --prune=0.5 and --cluster=32 train the network further, --debug_layers shows where
int8 departs. A file that breaks --max_logit_difference or --max_accuracy_drop on the alpha part is
refused and none is written; the test part is only reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import DataConfig, ExportConfig, OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.run.layout import TABLES, Artifact, model_file
from pnas_tf.run.step import Step
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.space.architecture import Architecture
    from pnas_tf.tflite.export import Images
    from pnas_tf.tflite.metadata import Metadata


def _tables(job: Inputs) -> list[Path]:
    """Of the device, where they say which rewrites pay."""
    return [job.folder / name for name in TABLES.values() if job.has(name)]


def _check(job: Inputs) -> None:
    from pnas_tf.tflite.export import check_config

    check_config(job.configs[ExportConfig])


def _begin(job: Inputs) -> None:
    _ = job.architecture
    if not job.has(Artifact.NETWORK):
        raise UserError(
            f"no trained network at {job.folder / Artifact.NETWORK}",
            expected="what training leaves behind",
            received="no such file",
            fix=f"Train first: pnas train --run_dir={job.folder.path}",
        )
    _ = job.network_dataset


def _run(job: Inputs) -> None:
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.networks.network import build_network
    from pnas_tf.tflite.export import export_models, rewrites_of, write_models
    from pnas_tf.training.result import restore_weights

    config, architecture = job.configs[ExportConfig], job.architecture
    tables = [LatencyTable.load(path) for path in _tables(job)]
    model = build_network(
        architecture, normalisation=Normalisation.of(job.configs[OptimizerConfig])
    )
    restore_weights(model, job.folder / Artifact.TRAINING)
    aware = None
    if config.quantize == "qat" or config.prune or config.cluster:
        model, aware = compressed(job, model)
    exported = export_models(
        model,
        images_of(job),
        _metadata(job, architecture),
        config,
        rewrites=rewrites_of(
            config, {table.identity.dtype: table.rewrites_of(architecture) for table in tables}
        ),
        aware=aware,
        progress=print,
    )
    write_models(exported, job.folder.path)


def compressed(job: Inputs, model: keras.Model) -> tuple[keras.Model, keras.Model | None]:
    """(plain network, quantisation-aware network or None) after the training that compression
    takes."""
    from pnas_tf.tflite.quantize import Compression, FineTuning, compress

    config, train = job.configs[ExportConfig], job.configs[TrainConfig]
    optimizer, dataset = job.configs[OptimizerConfig], job.network_dataset
    compression = Compression(config.prune, config.cluster, config.quantize == "qat")
    tuning = FineTuning(
        lambda epoch: dataset.fit(train, seed=job.seed, epoch=epoch),
        dataset.fit_batches(train),
        epochs=config.finetune_epochs,
        learning_rate=config.finetune_learning_rate,
        momentum=optimizer.momentum,
        label_smoothing=optimizer.label_smoothing,
    )
    made = compress(model, compression, tuning, progress=print)
    return (model, made) if compression.aware else (made, None)


def images_of(job: Inputs) -> Images:
    """What conversion calibrates on, what decides (the alpha part), what is reported (test)."""
    from pnas_tf.tflite.export import Images

    dataset = job.network_dataset
    validation, validation_labels = dataset.alpha_arrays()
    test, test_labels = dataset.test_arrays()
    return Images(
        representative=dataset.representative_images(
            job.configs[ExportConfig].representative_images
        ),
        validation=validation,
        validation_labels=validation_labels,
        test=test,
        test_labels=test_labels,
        mean=dataset.normalization.mean,
        std=dataset.normalization.std,
    )


def _metadata(job: Inputs, architecture: Architecture) -> Metadata:
    from pnas_tf.tflite.metadata import Metadata

    config, dataset = job.configs[ExportConfig], job.network_dataset
    name = Artifact.ARCHITECTURE
    return Metadata(
        name=f"{architecture.space.name} for {dataset.name}",
        labels=dataset.class_names,
        author=config.author,
        licence=config.licence,
        description=f"Found by ProxylessNAS; {architecture.macs} MACs, {architecture.parameters} "
        "parameters.",
        mean=(dataset.normalization.mean,),
        std=(dataset.normalization.std,),
        files={str(name): (job.folder / name).read_bytes()},
    )


def _report(job: Inputs) -> int:
    from pnas_tf.tflite.parity import load_reports

    for name, report in load_reports(job.folder / Artifact.PARITY).items():
        print(
            f"{job.folder / name}: {report.size_bytes / 1000:.0f} kB, largest logit difference "
            f"{report.max_logit_difference:.2g}, top-1 agreement {report.top1_agreement:.2%}, "
            f"test accuracy {report.tflite_accuracy or 0:.2%} "
            f"(Keras {report.keras_accuracy or 0:.2%})"
        )
    return 0


EXPORT: Step[Inputs] = Step(
    "export",
    (RunConfig, DataConfig, TrainConfig, OptimizerConfig, ExportConfig),
    _run,
    writes=lambda job: (*map(model_file, job.configs[ExportConfig].formats), Artifact.PARITY),
    reads=lambda job: (
        job.folder / Artifact.ARCHITECTURE,
        job.folder / Artifact.NETWORK,
        *_tables(job),
    ),
    identity=lambda job: job.network_dataset.fingerprint,
    check=_check,
    begin=_begin,
    report=_report,
    always=lambda job: job.configs[ExportConfig].debug_layers,
)
