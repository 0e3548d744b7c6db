"""The export step on a dataset: which of its images fine-tuning sees."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pnas_tf.config import DataConfig, ExportConfig, OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import Configs
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.steps import export
from pnas_tf.steps.inputs import Inputs
from pnas_tf.tflite import export as tflite_export
from pnas_tf.tflite import quantize
from pnas_tf.tflite.export_inputs import central_part, pictures_of
from pnas_tf.tflite.metadata import read_metadata
from pnas_tf.tflite.model import TfliteModel
from pnas_tf.tflite.parity_report import load_reports

SPACE = MBConvSpace("micro", 8, 10, 8, 8, (Stage(8, 1, 2),), 16, (MBConv(3, 3),), stem_stride=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    config = DataConfig(data_dir=str(tmp_path_factory.mktemp("tfds")), augmentation="none")
    return load_dataset(config, resolution=8)


def images_of(batches) -> set[bytes]:
    return {image.tobytes() for images, _ in batches.as_numpy_iterator() for image in images}


def job_of(folder, dataset, train, config):
    """The export of a run in `folder`, of a dataset that is loaded."""
    Architecture(SPACE, (MBConv(3, 3),)).save(folder / Artifact.ARCHITECTURE)
    job = Inputs(RunFolder(folder), Configs([RunConfig(), train, OptimizerConfig(), config]))
    vars(job)["network_dataset"] = dataset
    return job


@pytest.mark.slow
@pytest.mark.parametrize("way", [{"prune": 0.5}, {"cluster": 4}, {"quantize": "qat"}])
@pytest.mark.parametrize("train_on_alpha", [True, False])
def test_fine_tuning_sees_what_training_saw(dataset, way, train_on_alpha, tmp_path, monkeypatch):
    seen: set[bytes] = set()
    genuine = quantize.compress

    def recording(model, tuning, **how):
        def data(epoch):
            batches = tuning.data(epoch)
            seen.update(images_of(batches))
            return batches

        return genuine(model, dataclasses.replace(tuning, data=data), **how)

    monkeypatch.setattr(quantize, "compress", recording)
    train = TrainConfig(train_on_alpha=train_on_alpha, batch_size=64)
    job = job_of(tmp_path, dataset, train, ExportConfig(finetune_epochs=1, **way))
    export.compressed(job, build_network(Architecture(SPACE, (MBConv(3, 3),))))
    held_out = images_of(dataset.validation_once(batch_size=64))
    weights = images_of(dataset.train_unaugmented(batch_size=1))
    assert seen and not seen & images_of(dataset.test_batches(batch_size=64)) - held_out - weights
    if train_on_alpha:
        assert seen & (held_out - weights)
    else:
        assert not seen & (held_out - weights)
        # Every image of the part but the rest of the last batch.
        assert len(seen) > dataset.train_size - 64 - 10


def test_an_export_at_another_size_says_what_was_judged_at_the_derivations(
    dataset, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("pnas_tf.report.budgets.ram_bytes", lambda _: {})
    rows = [
        {"kind": kind, "dtype": "int8", "name": kind, "unit": unit, "most": 10, "predicted": 9}
        for kind, unit in (("latency_ms", "ms"), ("macs", "MACs"), ("size_kb", "kB"))
    ]
    document = {"format": "pnas_tf/derivation", "version": 1, "budgets": rows}
    (tmp_path / Artifact.DERIVATION).write_text(json.dumps(document))
    job = job_of(tmp_path, dataset, TrainConfig(), ExportConfig(export_batch=2))
    export._check_budgets(job, {"int8": bytes(10_000)})
    (latency,) = (record.getMessage() for record in caplog.records)
    assert "predicted for one image of 8 pixels a call" in latency
    caplog.clear()
    job = job_of(tmp_path, dataset, TrainConfig(), ExportConfig(export_resolution=16))
    export._check_budgets(job, {"int8": bytes(10_000)})
    latency, macs = (record.getMessage() for record in caplog.records)
    assert "latency_ms of at most 10 ms: it was predicted for one image of 8 pixels" in latency
    assert f"takes {job.architecture.macs:.4g} here" in macs
    with pytest.raises(UserError, match="beyond its budget") as refused:
        export._check_budgets(job, {"int8": bytes(10_001)})
    assert refused.value.fix.startswith("Export at --export_resolution=8, or")


@pytest.mark.slow
def test_the_files_are_decided_on_the_alpha_part(dataset, tmp_path, monkeypatch):
    """Which images the export of a run calibrates, decides and reports on, and what it writes."""
    monkeypatch.setattr("pnas_tf.training.result.restore_weights", lambda model, folder: None)
    given = []
    genuine = tflite_export.export_models

    def recording(model, images, *rest, **how):
        given.append(images)
        return genuine(model, images, *rest, **how)

    monkeypatch.setattr(tflite_export, "export_models", recording)
    config = ExportConfig(
        formats=("int8",), representative_images=50, max_accuracy_drop=1.0, min_agreement=0.0
    )
    export.EXPORT.run(job_of(tmp_path, dataset, TrainConfig(), config))
    (images,) = given
    held_out = images_of(dataset.validation_once(batch_size=64))
    assert images_of(images.validation) == held_out
    representative = [image for batch in images.representative for image in batch.numpy()]
    assert len(representative) == 50
    assert {image.tobytes() for image in representative} <= images_of(
        dataset.train_unaugmented(batch_size=1)
    )
    assert images_of(images.sample) <= held_out
    assert images_of(images.test) == images_of(dataset.test_batches(batch_size=64))
    for split, size in (("validation", dataset.validation_size), ("test", dataset.test_size)):
        (report,) = load_reports(tmp_path / "parity.json", split=split).values()
        assert report.images == size


def test_a_network_and_its_dataset_are_enough(dataset):
    """What a notebook calls: no run folder, no step."""
    architecture = Architecture(SPACE, (MBConv(3, 3),))
    config = ExportConfig(formats=("float32",), author="someone")
    exported = tflite_export.export_network(
        build_network(architecture), dataset, config, architecture=architecture
    )
    (content,) = exported.contents.values()
    metadata = read_metadata(TfliteModel(content))
    assert metadata.labels == dataset.class_names and metadata.author == "someone"
    for word in ("upright", "sRGB", "over white", "central square", "8 x 8 pixels"):
        assert word in metadata.description
    cropped = dataclasses.replace(dataset, centre_fraction=0.875)
    assert "central square of 0.875 of the side" in pictures_of(cropped)
    assert central_part(pictures_of(cropped)) == 0.875 and central_part("12 MACs.") == 1.0
    found = json.loads(metadata.files["architecture.json"])
    assert Architecture.from_json(found, where="metadata") == architecture
    (report,) = exported.reports.values()
    assert report.images == dataset.test_size
    larger = Architecture(dataclasses.replace(SPACE, resolution=16), (MBConv(3, 3),))
    with pytest.raises(UserError, match="10 classes, 8 pixels"):
        tflite_export.export_network(build_network(larger), dataset, config, architecture=larger)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images():
    """1,200 test images at 224 px are 0.72 GB as one float32 array."""
    few, many = (peak_mb(process) for process in [started_export(40), started_export(1200)])
    assert many - few < 500


def started_export(test_images: int) -> subprocess.Popen:
    program = Path(__file__).parent.parent / "support" / "export_memory.py"
    return subprocess.Popen(
        [sys.executable, str(program), str(test_images)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )


def peak_mb(process: subprocess.Popen) -> float:
    printed, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors[-2000:]
    return float(printed.splitlines()[-1])


def test_one_rule_says_what_is_fitted_on(dataset):
    both = TrainConfig(train_on_alpha=True, batch_size=64)
    held = TrainConfig(train_on_alpha=False, batch_size=64)
    assert dataset.fit_steps(held) == dataset.train_size // held.batch_size
    assert dataset.fit_steps(both) == (
        (dataset.train_size + dataset.validation_size) // both.batch_size
    )
    for config, same in ((both, dataset.combined_batches), (held, dataset.train_batches)):
        how = {"seed": 3, "epoch": 2, "start_batch": 1}
        for ours, theirs in zip(
            dataset.fit_batches(config, **how).as_numpy_iterator(),
            same(batch_size=config.batch_size, **how).as_numpy_iterator(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours[1], theirs[1])
            np.testing.assert_array_equal(ours[0], theirs[0])
