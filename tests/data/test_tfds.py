"""Datasets that somebody else prepared with TFDS: pixels of every kind, other names of features and
splits, and what cannot be used, refused by name."""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.data.dataset_name import check_dataset
from pnas_tf.data.image_reader import decode
from pnas_tf.errors import UserError

LABEL = tfds.features.ClassLabel(names=["cat", "dog"])
LABELS = np.arange(12) % 2


def prepare(root, name, images, labels=LABELS, *, splits=("train",), label=LABEL, **written):
    """By TFDS's own helper for data of one's own, which names no supervised keys."""
    shape, dtype = images.shape[1:], images.dtype
    features = {"photo": tfds.features.Image(shape=shape, dtype=dtype), "kind": label}
    examples = tf.data.Dataset.from_tensor_slices({"photo": images, "kind": labels})
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={split: examples for split in splits},
        data_dir=str(root),
        **{"disable_shuffling": True, **written},
    )
    return {"dataset": name, "data_dir": str(root)}


def random(channels, dtype=np.uint8):
    """12 images of one colour each, 8 x 8."""
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (12, 1, 1, channels))
    return np.broadcast_to(values.astype(dtype), (12, 8, 8, channels)).copy()


def as_file(pixels):
    """What the reader of image files makes of them. pixels: uint8 [height, width, 4]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return decode(stream.getvalue()).pixels


@pytest.mark.parametrize(
    "images, reader",
    [(random(4), as_file), (random(3, np.uint16), lambda pixels: pixels // 256)],
)
def test_pixels_are_those_of_image_files(tmp_path, images, reader):
    """In memory and streamed: transparency lies over white, 16 bits become the upper 8."""
    named = prepare(tmp_path, "shades", images)
    for augmentation in ("none", "imagenet"):
        dataset = load_dataset(DataConfig(**named, augmentation=augmentation), resolution=8)
        ((batch, _),) = dataset.test_batches(batch_size=12)
        wanted = np.stack([reader(images[place]) for place in dataset.test_split.positions])
        pixels = batch.numpy() * 127.5 + 127.5
        assert np.abs(pixels - wanted).max() <= 1.001  # both round once


def sharded(root):
    """120 images of one shade each, that of their number. TFDS reads 16 images of a shard in turn
    where their order means nothing."""
    images = np.broadcast_to(np.arange(120, dtype=np.uint8)[:, None, None, None], (120, 8, 8, 3))
    config = tfds.download.DownloadConfig(num_shards=3)
    written = {"download_config": config, "disable_shuffling": False}
    return prepare(root, "sharded", images, np.arange(120) // 60, **written)


def shades(batches):
    return [
        round(float(image[0, 0, 0] * 127.5 + 127.5)) for images, _ in batches for image in images
    ]


def test_images_of_several_shards_have_one_place_in_memory_and_streamed(tmp_path):
    """So that one image is tested on at all resolutions or at none."""
    named = sharded(tmp_path)
    held, streamed = (
        load_dataset(DataConfig(**named, augmentation="none", in_memory_mb=mb), resolution=8)
        for mb in (1, 0)
    )
    assert np.array_equal(held.train_split.source.labels, streamed.train_split.source.labels)
    for positions in ("train_split", "validation_split", "test_split"):
        one, other = (getattr(dataset, positions).positions for dataset in (held, streamed))
        assert np.array_equal(one, other)
    tested = [sorted(shades(dataset.test_batches(batch_size=4))) for dataset in (held, streamed)]
    assert tested[0] == tested[1]


@pytest.mark.parametrize("seed", [0, 5])
def test_the_order_of_records_does_not_depend_on_the_global_seed(tmp_path, seed):
    """Of shards and of images: a stopped training goes on where it was whatever else draws."""
    config = DataConfig(**sharded(tmp_path), augmentation="none", in_memory_mb=0)
    dataset = load_dataset(config, resolution=8)
    tf.random.set_seed(None)
    wanted = shades(dataset.train_batches(batch_size=8, seed=1, epoch=0))
    tf.random.set_seed(seed)
    found = shades(dataset.train_batches(batch_size=8, seed=1, epoch=0))
    tf.random.set_seed(None)
    assert found == wanted != sorted(wanted)


def test_splits_are_called_as_parts_of_folders_are(tmp_path):
    named = prepare(tmp_path, "parts", random(3), splits=("Training", "DEV", "extra"))
    dataset = load_dataset(DataConfig(**named, augmentation="none"), resolution=8)
    assert (dataset.train_size + dataset.validation_size, dataset.test_size) == (12, 12)


def test_what_cannot_be_used_is_refused_by_name(tmp_path):
    colour = random(3)
    odd = tfds.features.ClassLabel(names=["cat", "d\u202eog"])
    one = tfds.features.ClassLabel(names=["cat"])
    for number, (given, words) in enumerate(
        (
            ({"labels": np.where(LABELS == 0, -1, 1)}, "none for 6 of 12"),
            ({"label": odd}, "U+202E"),
            ({"label": one, "labels": LABELS * 0}, "['cat']"),
            ({"label": tfds.features.Scalar(np.int64)}, "kind: Scalar"),
            ({"images": colour[..., :1] / np.float32(255)}, "pixels of float32"),
            ({"splits": ("test",)}, "['test']"),
        )
    ):
        named = prepare(tmp_path, f"strange{number}", **{"images": colour, **given})
        with pytest.raises(UserError) as error:
            load_dataset(DataConfig(**named, augmentation="none"), resolution=8)
        assert words in error.value.received


def test_records_that_tensorflow_does_not_read_are_refused(tmp_path):
    config = DataConfig(**prepare(tmp_path, "photographs", random(3)))
    (info,) = tmp_path.rglob("dataset_info.json")
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
    with pytest.raises(UserError, match="'photographs'") as error:
        load_dataset(config, resolution=8)
    assert error.value.received == "ArrayRecord" and "--data_dir" in error.value.fix


def test_damage_is_told_and_close_names_are_those_of_the_folder(tmp_path):
    config = DataConfig(**prepare(tmp_path, "photographs", random(3)), augmentation="none")
    (records,) = tmp_path.rglob("*.tfrecord*")
    whole = records.read_bytes()
    for damaged in (whole[:-200], whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        records.write_bytes(damaged)
        with pytest.raises(UserError, match="'photographs' is damaged") as error:
            load_dataset(config, resolution=8)
        assert "DataLossError" in error.value.received
        assert f" {tmp_path / 'photographs' / '1.0.0'} " in error.value.fix
    records.unlink()
    with pytest.raises(UserError, match="'photographs' is damaged") as error:
        load_dataset(config, resolution=8)
    assert "NotFoundError" in error.value.received
    (info,) = tmp_path.rglob("dataset_info.json")
    info.write_text("{")
    with pytest.raises(UserError, match="'photographs' is damaged"):
        load_dataset(config, resolution=8)
    with pytest.raises(UserError, match="unknown dataset") as error:
        check_dataset("photo-graphs", data_dir=str(tmp_path))
    assert "close ones: photographs" in error.value.expected
    for place in (info.parent, info.parent.parent, tmp_path):
        with pytest.raises(UserError, match="dataset=folder") as error:
            check_dataset(f"folder:{place}", data_dir="")
        assert error.value.fix == f"Write --dataset=photographs --data_dir={tmp_path}"
    (tmp_path / "photographs" / "1.0.0").rename(tmp_path / "photographs" / "1.0.0.incomplete")
    with pytest.raises(UserError, match="not whole"):
        load_dataset(config, resolution=8)


def test_a_damaged_dataset_is_prepared_anew_once_its_files_are_removed(tmp_path):
    """Those of TFDS; what is kept beside them goes then. Nothing else is ever deleted."""
    config = DataConfig(data_dir=str(tmp_path), in_memory_mb=0)
    whole = load_dataset(config, resolution=8)
    folder = tmp_path / "digits" / "1.0.0"
    assert list(folder.glob("pnas_tf-labels*"))
    (folder / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="'digits' is damaged") as error:
        load_dataset(config, resolution=8)
    assert "tfrecord" in error.value.received and str(folder) in error.value.fix
    for file in folder.iterdir():
        if "labels-" not in file.name:
            file.unlink()
    assert load_dataset(config, resolution=8).fingerprint == whole.fingerprint


def encoded(pixels, kind="JPEG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def prepare_files(root, files):
    """A dataset of encoded images, as builders keep the files that they download."""
    examples = [
        (number, {"photo": io.BytesIO(content), "kind": number % 2})
        for number, content in enumerate(files)
    ]
    features = {"photo": tfds.features.Image(), "kind": LABEL}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="files",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": examples},
        data_dir=str(root),
        disable_shuffling=True,
    )
    return {"dataset": "files", "data_dir": str(root)}


def pixels_of(dataset):
    """By position in the training images, as bytes."""
    found = {}
    for subset in (dataset.train_split, dataset.validation_split, dataset.test_split):
        ((batch, _),) = dataset._plain(subset, 16)
        found.update(zip(subset.positions.tolist(), batch.numpy() * 127.5 + 127.5))
    return np.stack([found[place] for place in sorted(found)])


def test_encoded_images_are_read_as_files_are(tmp_path, caplog):
    """Upright, over white though three channels are declared, damage told; the rest by
    TensorFlow's decoder."""
    top = np.full((8, 8, 3), 250, np.uint8)
    top[:4] = 10
    turned = Image.Exif()
    turned[0x0112] = 6
    hidden = np.dstack([top, np.zeros((8, 8), np.uint8)])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    cut = encoded(noise, quality=95)[:4000] + b"\xff\xd9"
    special = [encoded(top, exif=turned), encoded(hidden, "PNG"), cut]
    plain = [encoded(top, "PNG"), encoded(top[..., 0], "PNG")]
    named = prepare_files(tmp_path, [*special, *plain, *special, *plain, *plain])
    for megabytes, augmentation in ((1, "none"), (0, "none"), (0, "imagenet")):
        config = DataConfig(**named, augmentation=augmentation, in_memory_mb=megabytes)
        pixels = pixels_of(load_dataset(config, resolution=8))
        assert pixels[0, :, 5:].max() < 40 and pixels[0, :, :3].min() > 220
        assert pixels[1].min() > 254
        for place in (3, 4):
            assert np.abs(pixels[place] - top).max() < 2 or augmentation == "imagenet"
        assert "image 2 of split 'train' of dataset 'files/1.0.0' is damaged" in caplog.text
        caplog.clear()


def test_an_image_of_which_nothing_decodes_is_refused_by_its_place(tmp_path):
    good = encoded(random(3)[0])
    named = prepare_files(tmp_path, [*[good] * 7, b"no image at all", *[good] * 4])
    with pytest.raises(UserError, match=r"image 7 of split .train. of dataset .files/1\.0\.0."):
        load_dataset(DataConfig(**named, augmentation="none"), resolution=8)


def test_labels_that_are_kept_are_those_of_the_records(tmp_path):
    """Records of the same number, replaced in place."""
    config = DataConfig(**prepare(tmp_path, "shades", random(3)), in_memory_mb=0)
    before = load_dataset(config, resolution=8).train_split.source.labels
    prepare(tmp_path / "other", "shades", random(3), 1 - LABELS)
    for file in (tmp_path / "other/shades/1.0.0").iterdir():
        file.rename(tmp_path / "shades/1.0.0" / file.name)
    after = load_dataset(config, resolution=8).train_split.source.labels
    assert np.array_equal(after, 1 - before)
    (kept,) = (tmp_path / "shades/1.0.0").glob("pnas_tf-labels*")
    times = kept.stat().st_mtime_ns
    load_dataset(config, resolution=8)
    assert kept.stat().st_mtime_ns == times
