"""Archives on disk go where TFDS looks for downloads, checked."""

import gzip
import hashlib
import socket
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pnas_tf.config import DataConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError

NAMES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Archives in MNIST's format, 40 + 20 images, that stand for the published ones: TFDS is told
    their checksums."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents = {
            "images-idx3": struct.pack(">iiii", 2051, count, 28, 28) + images.tobytes(),
            "labels-idx1": struct.pack(">ii", 2049, count) + labels.tobytes(),
        }
        for kind, content in contents.items():
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
    builder = tfds.builder("fashion_mnist", data_dir=str(tmp_path / "tfds"), try_gcs=False)
    infos = {
        url: type(info)(
            size=(folder / info.filename).stat().st_size,
            filename=info.filename,
            checksum=hashlib.sha256((folder / info.filename).read_bytes()).hexdigest(),
        )
        for url, info in builder.url_infos.items()
    }
    monkeypatch.setattr(type(builder), "url_infos", infos)
    monkeypatch.setattr("tensorflow_datasets.image_classification.mnist._TRAIN_EXAMPLES", 40)
    monkeypatch.setattr("tensorflow_datasets.image_classification.mnist._TEST_EXAMPLES", 20)
    return folder


def test_prepared_from_archives_without_network(small_mnist, tmp_path, no_network):
    config = DataConfig(
        dataset="fashion_mnist",
        data_dir=str(tmp_path / "tfds"),
        offline_files=str(small_mnist),
        alpha_fraction=0.5,
    )
    dataset = load_dataset(config, resolution=28)
    assert (dataset.train_size, dataset.validation_size, dataset.test_size) == (20, 20, 20)
    assert dataset.class_names[:2] == ("T-shirt/top", "Trouser")
    images, labels = dataset.test_arrays()
    truth = np.frombuffer(
        gzip.decompress((small_mnist / NAMES[2]).read_bytes()), np.uint8, offset=16
    ).reshape(20, 28, 28)
    shown = {image.tobytes() for image in np.rint(images[..., 0] * 127.5 + 127.5).astype(np.uint8)}
    assert shown == {image.tobytes() for image in truth} and sorted(labels) == sorted(
        np.arange(20) % 10
    )


def test_missing_and_wrong_archives_are_named_with_checksums(small_mnist, tmp_path):
    (small_mnist / NAMES[0]).unlink()
    (small_mnist / NAMES[1]).write_bytes(b"something else")
    with pytest.raises(UserError, match="archives of fashion_mnist") as error:
        load_dataset(
            DataConfig(
                dataset="fashion_mnist",
                data_dir=str(tmp_path / "tfds"),
                offline_files=str(small_mnist),
            ),
            resolution=28,
        )
    assert f"{NAMES[0]} is missing" in error.value.received
    assert (
        f"{NAMES[1]} has sha256 {hashlib.sha256(b'something else').hexdigest()}"
        in error.value.received
    )
    assert NAMES[2] not in error.value.received and NAMES[0] in error.value.expected
    assert not list((tmp_path / "tfds").rglob("*.gz"))


def test_folder_must_exist(tmp_path):
    with pytest.raises(UserError, match="offline_files"):
        load_dataset(
            DataConfig(
                dataset="fashion_mnist", data_dir=str(tmp_path), offline_files=str(tmp_path / "no")
            ),
            resolution=28,
        )
