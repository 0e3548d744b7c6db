"""Every published model is the file that the manifest names, and as good as it says where the data
can be had offline."""

import functools
import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import pnas_tf as pnas
from pnas_tf.config import DataConfig
from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.data.dataset import load_dataset
from pnas_tf.io import atomic
from pnas_tf.report.manifest import MAX_BYTES, read_manifest
from pnas_tf.report.model_card import model_card
from pnas_tf.run.layout import published_card
from pnas_tf.space.architecture import Architecture
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.model import TfliteModel

FOLDER = Path(__file__).parent.parent / "tflite_models"
MODELS = read_manifest(FOLDER)
# Folders of photographs that nobody may hand out with the models.
FOLDERS = {
    "folder:flowers17": os.environ.get("PNAS_TF_FLOWERS17", ""),
    "folder:cifar10": os.environ.get("PNAS_TF_CIFAR10", ""),
}
# Debian's package of the dataset, or a folder with the published archives. Of these the test images
# alone are read, without TFDS, which would prepare all 70,000.
FASHION = Path(os.environ.get("PNAS_TF_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


def test_manifest_and_folder_name_the_same_files():
    assert {path.name for path in FOLDER.glob("*.tflite")} == set(MODELS)
    assert {(entry["dataset"], entry["dtype"]) for entry in MODELS.values()} >= {
        (dataset, dtype) for dataset in ("digits", "fashion_mnist") for dtype in ("float32", "int8")
    }


@pytest.mark.parametrize("name", sorted(MODELS))
def test_file_is_the_one_named(name):
    entry = MODELS[name]
    assert atomic.sha256_of(FOLDER / name) == entry["sha256"]
    assert (FOLDER / name).stat().st_size == entry["size_bytes"] <= MAX_BYTES
    architecture = Architecture.from_json(entry["architecture"], where=name)
    classifier = Classifier(TfliteModel.read(FOLDER / name, run=True).content, what=name)
    assert classifier.image_shape == [
        architecture.space.resolution,
        architecture.space.resolution,
        3,
    ]
    assert classifier.output["shape"].tolist() == [1, architecture.space.classes]


@pytest.mark.parametrize("network", sorted({name.rsplit("_", 1)[0] for name in MODELS}))
def test_a_card_says_what_the_manifest_says(network):
    entries = {name: MODELS[name] for name in MODELS if name.rsplit("_", 1)[0] == network}
    card = (FOLDER / published_card(network)).read_text(encoding="utf-8")
    assert card == model_card(network, entries)
    _, front, text = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert (matter["license"], matter["pipeline_tag"]) == ("apache-2.0", "image-classification")
    (result,) = matter["model-index"][0]["results"]
    told = {
        (kind, name): metric["value"]
        for metric in result["metrics"]
        for kind in ("accuracy", "latency")
        for name in entries
        if metric["type"] == kind and name in metric["name"]
    }
    assert told == {
        **{("accuracy", name): entry["test_accuracy"] for name, entry in entries.items()},
        **{("latency", name): entry["latency_ms"]["median"] for name, entry in entries.items()},
    }
    for name, entry in entries.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        low, high = accuracy_interval(entry["test_accuracy"], entry["parity"]["images"])
        assert (
            f"{100 * entry['test_accuracy']:.2f} % ({100 * low:.1f} to {100 * high:.1f} %)" in row
        )
        assert entry["latency_ms"]["device"]["processor"] in text and entry["command"] in text


@functools.cache
def images_of(dataset, resolution):
    """(images, labels) of the test split; None where the dataset is not on this machine."""
    folder = FOLDERS.get(dataset)
    if folder == "" or (dataset == "fashion_mnist" and not FASHION.is_dir()):
        return None
    if dataset == "fashion_mnist":
        pixels, labels = (
            np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=head)
            for name, head in (("t10k-images-idx3-ubyte.gz", 16), ("t10k-labels-idx1-ubyte.gz", 8))
        )
        data = pnas.data.from_arrays(pixels.reshape(-1, 28, 28), labels, range(10)).at(resolution)
        splits = (data.train_unaugmented, data.validation_once, data.test_batches)
        batches = [pair for each in splits for pair in each(batch_size=100).as_numpy_iterator()]
        return tuple(np.concatenate(column) for column in zip(*batches))
    with tempfile.TemporaryDirectory() as prepared:
        config = DataConfig(dataset=f"folder:{folder}" if folder else dataset, data_dir=prepared)
        return load_dataset(config, resolution=resolution).test_arrays()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_accuracy_is_what_the_manifest_says(name):
    entry = MODELS[name]
    found = images_of(entry["dataset"], entry["architecture"]["space"]["resolution"])
    if found is None:
        pytest.skip(f"the images of {entry['dataset']} are not on this machine")
    images, labels = found
    assert len(labels) == entry["parity"]["images"]
    logits = Classifier(TfliteModel.read(FOLDER / name, run=True).content, what=name).logits(images)
    assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(
        entry["test_accuracy"], abs=0.001
    )
