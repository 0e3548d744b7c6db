"""A picture is the same wherever it goes: training batch, calibration, exported file and somebody
else's client. Every file of the corpus, against the colours of its table, by a network whose logits
are the colours in the middle of the four quarters of the picture."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras
from PIL import Image, ImageCms, ImageOps

from pnas_tf.config import DataConfig, ExportConfig
from pnas_tf.data import image_format
from pnas_tf.data.dataset import Dataset, load_dataset
from pnas_tf.data.sources import Batching, FileSource, Order
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.export import export_models
from pnas_tf.tflite.export_inputs import ExportImages, images_of
from pnas_tf.tflite.metadata import Metadata
from tests.support import mediapipe

CORPUS = Path(__file__).parent.parent / "data" / "images"
TABLE = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))
HAS = {"heic": image_format.heic_is_readable(), "avif": image_format.avif_is_readable()}
RIGHT = {
    name: row
    for name, row in TABLE.items()
    if "refused" not in row and HAS.get(row.get("needs"), True)
}
SIZE = 32  # the short side of the scene
LABELS = tuple(f"{place} {colour}" for place in "ABCD" for colour in ("red", "green", "blue"))
INT8_LEVELS = 4  # by which rounding in int8 moves a mean of pixels, at most
NOISE = (
    "png_text_flipped.png",
    "png_rgb_16_bits_near_key.png",
    "png_rgb_16_bits_near_key_interlaced.png",
    "jpg_odd_scan.jpg",
)
# Pillow takes the fourth byte, which nobody has filled, for opacity; and it scales greys of few
# bits to 8, but not the one that is transparent.
NOT_BY_PILLOW = ("bmp_32_bits_unused.bmp", "png_grey_2_bits_key.png", "png_grey_4_bits_key.png")


@pytest.fixture(scope="module", params=[0, 1024], ids=["streamed", "in memory"])
def dataset(request, tmp_path_factory) -> Dataset:
    """The whole corpus as training part and as test part; what cannot be read is left out."""
    root = tmp_path_factory.mktemp("corpus")
    for part in ("train", "test"):
        for number, path in enumerate(sorted((CORPUS / "files").iterdir())):
            folder = root / part / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    config = DataConfig(
        dataset=f"folder:{root}",
        augmentation="none",
        in_memory_mb=request.param,
        skip_unreadable=True,
    )
    return load_dataset(config, resolution=SIZE)


def files_of(source) -> FileSource:
    return source if isinstance(source, FileSource) else source.origin


def names_at(source, positions) -> list[str]:
    paths = files_of(source).paths
    return [Path(paths[position]).name for position in positions]


def check(name: str, quarters: np.ndarray, *, more: float = 0.0) -> None:
    """quarters: [4, 3], colours in 0..255. Of a picture that has no four plain quarters (noise) the
    table cannot say them."""
    row = RIGHT[name]
    mean = np.mean(row["corners"], axis=0)
    if not np.allclose(mean, row["mean"], atol=row["tolerance"] + 1):
        assert name in NOISE
        return
    np.testing.assert_allclose(
        quarters, row["corners"], atol=row["tolerance"] + 1 + more, err_msg=name
    )


def places() -> list[int]:
    """Of the four quarters' middles among 8 x 8 cells."""
    return [row * 8 + column for row in (1, 6) for column in (1, 6)]


def quarters_of(images: np.ndarray) -> np.ndarray:
    """[n, SIZE, SIZE, 3] in, [n, 4, 3] out."""
    cells = images.reshape(-1, 8, SIZE // 8, 8, SIZE // 8, 3).mean((2, 4))
    return cells.reshape(-1, 64, 3)[:, places()]


def quarters_network() -> keras.Model:
    """What `quarters_of` computes."""
    image = keras.Input((SIZE, SIZE, 3))
    cells = keras.layers.Flatten()(keras.layers.AveragePooling2D(SIZE // 8)(image))
    model = keras.Model(image, keras.layers.Dense(len(LABELS))(cells))
    chosen = np.eye(64 * 3).reshape(64 * 3, 64, 3)[:, places()].reshape(64 * 3, len(LABELS))
    model.layers[-1].set_weights([chosen, np.zeros(len(LABELS))])
    return model


@pytest.mark.slow
def test_all_that_is_readable_is_used(dataset: Dataset) -> None:
    assert {Path(path).name for path in files_of(dataset.test_split.source).paths} == set(RIGHT)


def test_every_use_sees_the_picture(dataset: Dataset) -> None:
    train, validation, test = dataset.train_split, dataset.validation_split, dataset.test_split
    both = np.union1d(train.positions, validation.positions)
    trained = Batching(8, Order(1, 2)).positions(both)
    for batches, source, positions in (
        (dataset.combined_batches(batch_size=8, seed=1, epoch=2), train.source, trained),
        (dataset.representative_batches(10**6, batch_size=8), train.source, train.positions),
        (dataset.validation_once(batch_size=8), train.source, validation.positions),
        (dataset.test_batches(batch_size=8), test.source, test.positions),
    ):
        images = np.concatenate([images for images, _ in batches.as_numpy_iterator()])
        names = names_at(source, positions)
        assert len(images) > len(names) - 8  # training drops what fills no batch
        for name, quarters in zip(names, quarters_of(images * 127.5 + 127.5)):
            check(name, quarters)


@pytest.fixture(scope="module")
def exported(dataset: Dataset) -> dict[str, bytes]:
    """float32 and int8 of the network of quarters, calibrated by the corpus."""
    config = ExportConfig(probabilities=False, max_accuracy_drop=1.0, min_agreement=0.0)
    given = images_of(dataset, config)
    about = Metadata("colours", LABELS, mean=(127.5,), std=(127.5,))
    few = ExportImages(given.representative, given.sample, given.sample, given.sample)
    return dict(export_models(quarters_network(), few, about, config).contents)


@pytest.mark.slow
def test_exported_files_see_the_picture(dataset: Dataset, exported: dict[str, bytes]) -> None:
    names = names_at(dataset.test_split.source, dataset.test_split.positions)
    for model, content in exported.items():
        classifier = Classifier(content)
        batches = dataset.test_batches(batch_size=1).as_numpy_iterator()
        for name, (images, _) in zip(names, batches, strict=True):
            quarters = classifier.logits(images).reshape(4, 3) * 127.5 + 127.5
            check(name, quarters, more=INT8_LEVELS if "int8" in model else 0)


def as_an_app_does(path: Path) -> Image.Image | None:
    """What docs/android.md asks of an app, by Pillow: upright, sRGB, over white, the central
    square. None of what Pillow gives no 8 bits of grey or RGB."""
    try:
        image = Image.open(path)
        image.load()
    except (OSError, SyntaxError, ValueError):
        return None
    if image.mode not in ("L", "LA", "P", "RGB", "RGBA"):
        return None
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    clear = image.mode in ("LA", "RGBA") or "transparency" in image.info
    if clear:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        alpha = image.getchannel("A")
        colours = in_srgb(image.convert("RGB"), profile)
        colours.putalpha(alpha)
        return square(Image.alpha_composite(white, colours).convert("RGB"))
    return square(in_srgb(image if image.mode == "L" else image.convert("RGB"), profile))


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB. A profile that cannot be read, or is of other channels, is none."""
    if not profile:
        return image.convert("RGB")
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, given, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")


def square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [0], indirect=True)
def test_somebody_elses_client_sees_the_picture(exported: dict[str, bytes], tmp_path: Path) -> None:
    models, pictures = tmp_path / "models", tmp_path / "pictures"
    models.mkdir()
    pictures.mkdir()
    for name, content in exported.items():
        (models / name).write_bytes(content)
    shown = []
    for name in sorted(RIGHT):
        picture = as_an_app_does(CORPUS / "files" / name)
        if picture is not None and name not in NOT_BY_PILLOW:
            picture.save(pictures / f"{len(shown):03d}.png")
            shown.append(name)
    assert len(shown) > 0.8 * len(RIGHT)
    for model, answer in mediapipe.answers(models, pictures)["models"].items():
        for name, categories in zip(shown, answer["categories"], strict=True):
            scores = dict(categories)
            logits = np.array([scores[label] for label in LABELS])
            more = INT8_LEVELS if "int8" in model else 0
            check(name, logits.reshape(4, 3) * 127.5 + 127.5, more=more)
