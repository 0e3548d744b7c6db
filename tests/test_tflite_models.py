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
from PIL import Image

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
from pnas_tf.tflite.metadata import read_metadata
from pnas_tf.tflite.model import TfliteModel
from tests.support import mediapipe

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


def photographs():
    """(pixels [n, 96, 96, 3], their classes' numbers): of the flowers' test part three a class;
    where that is not on this machine, samples of other packages and None."""
    found = images_of("folder:flowers17", 96)
    if found is None:
        samples = pytest.importorskip("sklearn.datasets")
        whole = [samples.load_sample_image(name) for name in ("flower.jpg", "china.jpg")]
        return np.stack([Image.fromarray(each).resize((96, 96)) for each in whole]), None
    images, labels = found
    first = [place for k in range(17) for place in np.flatnonzero(labels == k)[:3]]
    return np.rint(images[first] * 127.5 + 127.5).astype(np.uint8), labels[first]


@pytest.mark.slow
def test_somebody_elses_client_names_photographs(tmp_path):
    """MediaPipe's best name is ours of the same pixels, wherever ours is sure of it, and right as
    often as 51 of the published accuracy are: below 80 % with a probability of 1e-3."""
    mediapipe.skip_where_absent()
    pixels, truth = photographs()
    models, pictures = tmp_path / "models", tmp_path / "pictures"
    models.mkdir()
    pictures.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(pictures / f"{number:03d}.png")
    names = [name for name in MODELS if MODELS[name]["dataset"] == "folder:flowers17"]
    assert len(names) == 2
    for name in names:
        (models / name).write_bytes((FOLDER / name).read_bytes())
    for name, answer in mediapipe.answers(models, pictures)["models"].items():
        model = TfliteModel.read(FOLDER / name)
        labels = read_metadata(model).labels
        scores = Classifier(model.content, what=name).logits((pixels - 127.5) / 127.5)
        best, second = np.sort(scores, axis=-1)[:, :-3:-1].T
        named = [categories[0][0] for categories in answer["categories"]]
        ours = [labels[place] for place in scores.argmax(-1)]
        sure = best - second > 0.05
        assert [a for a, clear in zip(named, sure) if clear] == [
            b for b, clear in zip(ours, sure) if clear
        ]
        assert sure.any()
        if truth is not None:
            right = [label == labels[place] for label, place in zip(named, truth)]
            assert np.mean(right) >= 0.8
