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

import dataclasses
import functools
from typing import Any

from pnas_tf.config import DataConfig, ExportConfig, OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder

CONFIGS = (RunConfig, DataConfig, TrainConfig, OptimizerConfig, ExportConfig)
BORROWED = (TrainConfig, OptimizerConfig)
NETWORK = "train/model.keras"
TABLES = ("latency_table_int8.json", "latency_table.json")  # the last one of a dtype counts


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    train: TrainConfig,
    optimizer: OptimizerConfig,
    config: ExportConfig,
) -> None:
    """The export step of a run."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.tflite.export import PARITY_FILE, check_config, file_name, rewrites_of
    from pnas_tf.tflite.parity import load_reports
    from pnas_tf.training.result import check_classes

    check_config(config)
    architecture = Architecture.load(folder / "architecture.json")
    if not (folder / NETWORK).is_file():
        raise UserError(
            f"no trained network at {folder / NETWORK}",
            expected="what training leaves behind",
            received="no such file",
            fix=f"Train first: pnas train --run_dir={folder.path}",
        )
    if config.export_resolution is not None:
        space = dataclasses.replace(architecture.space, resolution=config.export_resolution)
        architecture = dataclasses.replace(architecture, space=space)
    tables = [LatencyTable.load(folder / name) for name in TABLES if (folder / name).exists()]
    rewrites = rewrites_of(
        config, {table.identity.dtype: table.rewrites_of(architecture) for table in tables}
    )
    dataset = load_dataset(data, resolution=architecture.space.resolution)
    check_classes(architecture.space.classes, dataset)
    settings = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name != "debug_layers"
    }
    names = [file_name(dtype) for dtype in config.formats]
    if config.debug_layers:
        _export(folder, run, train, optimizer, config, architecture, rewrites, dataset)
    else:
        folder.step(
            "export",
            inputs={
                "architecture": folder / "architecture.json",
                "network": folder / NETWORK,
                "export": settings,
                "rewrites": rewrites,
                "dataset": dataset.fingerprint,
                "seed": run.seed,
                "training": train,
                "optimizer": optimizer,
                "decides": "alpha",
            },
            outputs=[*names, PARITY_FILE],
            work=functools.partial(
                _export, folder, run, train, optimizer, config, architecture, rewrites, dataset
            ),
        )
    for name, report in load_reports(folder / PARITY_FILE).items():
        print(
            f"{folder / name}: {report.size_bytes / 1000:.0f} kB, largest logit difference "
            f"{report.max_logit_difference:.2g}, "
            f"top-1 agreement {report.top1_agreement:.2%}, test accuracy "
            f"{report.tflite_accuracy or 0:.2%} "
            f"(Keras {report.keras_accuracy or 0:.2%})"
        )


def _export(
    folder: RunFolder,
    run: RunConfig,
    train: TrainConfig,
    optimizer: OptimizerConfig,
    config: ExportConfig,
    architecture: Any,
    rewrites: dict[str, tuple[str, ...]],
    dataset: Any,
) -> None:
    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.networks.network import build_network
    from pnas_tf.tflite.export import Images, export_models, write_models
    from pnas_tf.tflite.metadata import Metadata
    from pnas_tf.training.result import restore_weights

    model = build_network(architecture, normalisation=Normalisation.of(optimizer))
    restore_weights(model, folder / "train")
    aware = None
    if config.quantize == "qat" or config.prune or config.cluster:
        model, aware = _compressed(model, run, train, optimizer, config, dataset)
    normalization = dataset.normalization
    validation, validation_labels = dataset.alpha_arrays()
    test, test_labels = dataset.test_arrays()
    images = Images(
        representative=dataset.representative_images(config.representative_images),
        validation=validation,
        validation_labels=validation_labels,
        test=test,
        test_labels=test_labels,
        mean=normalization.mean,
        std=normalization.std,
    )
    metadata = Metadata(
        name=f"{architecture.space.name} for {dataset.name}",
        labels=dataset.class_names,
        author=config.author,
        licence=config.licence,
        description=f"Found by ProxylessNAS; {architecture.macs} MACs, {architecture.parameters} "
        "parameters.",
        mean=(normalization.mean,),
        std=(normalization.std,),
        files={"architecture.json": (folder / "architecture.json").read_bytes()},
    )
    exported = export_models(
        model, images, metadata, config, rewrites=rewrites, aware=aware, progress=print
    )
    write_models(exported, folder.path)


def _compressed(
    model: Any,
    run: RunConfig,
    train: TrainConfig,
    optimizer: OptimizerConfig,
    config: ExportConfig,
    dataset: Any,
) -> tuple[Any, Any]:
    """(plain network, quantisation-aware network or None) after the training that compression
    takes."""
    from pnas_tf.tflite.quantize import Compression, FineTuning, compress

    compression = Compression(config.prune, config.cluster, config.quantize == "qat")
    tuning = FineTuning(
        lambda epoch: dataset.fit(train, seed=run.seed, epoch=epoch),
        dataset.fit_batches(train),
        epochs=config.finetune_epochs,
        learning_rate=config.finetune_learning_rate,
        momentum=optimizer.momentum,
        label_smoothing=optimizer.label_smoothing,
    )
    made = compress(model, compression, tuning, progress=print)
    return (model, made) if compression.aware else (made, None)
