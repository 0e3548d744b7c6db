"""Networks to learn from: their answers are those of their files, whatever the order of classes."""

import dataclasses
import json
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.interop import teachers
from pnas_tf.interop.pretrained_files import teacher_files
from pnas_tf.interop.teachers import open_teacher
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.run.layout import Artifact
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.metadata import Metadata, write_metadata

NAMES = ("ant", "bee", "fly")
SPACE = MBConvSpace("learnt", 16, 3, 8, 8, (Stage(8, 1, 1),), 16, (MBConv(3, 2),))
ARCHITECTURE = Architecture(SPACE, (MBConv(3, 2),))


@pytest.fixture(scope="module")
def model():
    built = build_network(ARCHITECTURE)
    generator = np.random.default_rng(0)
    built.set_weights([generator.uniform(0.2, 0.6, each.shape) for each in built.get_weights()])
    return built


@pytest.fixture(scope="module")
def images():
    return tf.constant(np.random.default_rng(1).uniform(-1, 1, (4, 16, 16, 3)), tf.float32)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run folder with its network, and beside it a file that sees pixels / 255."""
    folder = tmp_path_factory.mktemp("run")
    ARCHITECTURE.save(folder / Artifact.ARCHITECTURE)
    (folder / Artifact.TRAINING).mkdir()
    model.save(folder / Artifact.NETWORK, save_format="keras")
    document = {
        "format": "pnas_tf/train_result",
        "version": 1,
        "class_names": NAMES,
        "normalization": {"mean": 127.5, "std": 127.5},
    }
    (folder / Artifact.TRAINING_RESULT).write_text(json.dumps(document))
    for name, network, normalised in (
        ("logits", model, (127.5, 127.5)),
        ("probabilities", with_probabilities(model), (127.5, 127.5)),
        ("of_others", model, (0.0, 255.0)),
    ):
        mean, std = ((each,) for each in normalised)
        metadata = Metadata(name, NAMES, mean, std)
        content = write_metadata(convert(network, "float32"), metadata)
        (folder / f"{name}.tflite").write_bytes(content)
    return folder


def softmax(logits):
    return tf.nn.softmax(logits).numpy()


@pytest.mark.parametrize("file", ["", "logits.tflite", "probabilities.tflite"])
@pytest.mark.slow
def test_answers_are_the_networks_own(run, model, images, file):
    teacher = open_teacher(str(run / file), NAMES)
    expected = softmax(model(images, training=False))
    np.testing.assert_allclose(softmax(teacher.logits(images)), expected, rtol=1e-3, atol=1e-4)
    turned = open_teacher(str(run / file), NAMES[::-1]).logits(images)
    np.testing.assert_allclose(turned, np.asarray(teacher.logits(images))[:, ::-1], rtol=1e-5)
    assert len({open_teacher(str(run / file), names).identity for names in (NAMES, NAMES)}) == 1


@pytest.mark.slow
def test_a_sure_file_teaches_what_its_network_does(images, tmp_path):
    """Of many classes those that get next to nothing have, softened, no more than they have."""
    names = tuple(f"class {number}" for number in range(200))
    pixels = keras.Input((16, 16, 3))
    scores = keras.layers.Dense(200)(keras.layers.GlobalAveragePooling2D()(pixels))
    network = keras.Model(pixels, scores)
    network.set_weights([np.zeros((3, 200)), 20.0 * (np.arange(200) == 3)])
    metadata = Metadata("sure", names, (127.5,), (127.5,))
    content = write_metadata(convert(with_probabilities(network), "float32"), metadata)
    (tmp_path / "sure.tflite").write_bytes(content)
    taught = open_teacher(str(tmp_path / "sure.tflite"), names).logits(images)
    expected = softmax(network(images) / 2)
    np.testing.assert_allclose(softmax(taught / 2), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "mean, std", [((127.5,), ()), ((127.5,), (0.0,)), ((1.0, 2.0), (1.0, 2.0)), ((), ())]
)
def test_a_normalisation_that_no_image_can_have_is_refused(run, monkeypatch, mean, std):
    said = dataclasses.replace(Metadata("logits", NAMES, (127.5,), (127.5,)), mean=mean, std=std)
    monkeypatch.setattr(teachers, "read_metadata", lambda _: said)
    with pytest.raises(UserError, match="--teacher=") as refused:
        open_teacher(str(run / "logits.tflite"), NAMES)
    assert "std" in refused.value.received


def test_pixels_are_normalised_as_the_file_says(run, model, images):
    teacher = open_teacher(str(run / "of_others.tflite"), NAMES)
    pixels = images.numpy() * 127.5 + 127.5
    expected = model(pixels / 255, training=False)
    np.testing.assert_allclose(teacher.logits(images), expected, rtol=1e-3, atol=1e-4)


def test_images_of_another_size_are_resized(run, model):
    """A plain image is plain at any size."""
    teacher = open_teacher(str(run), NAMES)
    small, large = (tf.fill([1, size, size, 3], 0.3) for size in (8, 16))
    np.testing.assert_allclose(teacher.logits(small), model(large, training=False), rtol=1e-4)


def test_what_is_no_teacher_is_refused_and_says_what_would_be(run, tmp_path):
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(convert(build_network(ARCHITECTURE), "float32"))
    alone = tmp_path / "far/from/alone.h5"  # its architecture is not beside it
    alone.parent.mkdir(parents=True)
    alone.write_bytes(b"")
    keras_3 = tmp_path / "mine.keras"
    with zipfile.ZipFile(keras_3, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
    for source, names, words in (
        (str(alone), NAMES, "the network that"),
        (str(keras_3), NAMES, "--teacher="),
        (str(run), ("ant", "bee", "wasp"), "classes of --teacher"),
        (str(bare), NAMES, "neither its classes nor"),
        (str(tmp_path / "absent.tflite"), NAMES, "absent.tflite"),
        (str(tmp_path / "absent"), NAMES, "absent"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            open_teacher(source, names)
        assert refused.value.fix and "imagenet" not in refused.value.fix  # which is no teacher
    assert [path.name for path in teacher_files(str(bare))] == ["bare.tflite"]


@pytest.mark.parametrize("source", ["imagenet", "efficientnet_lite1"])
def test_a_network_of_imagenets_classes_is_fine_tuned_before_it_teaches(source):
    with pytest.raises(UserError, match="of ImageNet's classes") as refused:
        open_teacher(source, NAMES)
    assert f"--pretrained={source}" in refused.value.fix and "--teacher=RUN" in refused.value.fix


def test_a_folder_whose_training_has_not_ended_is_no_teacher_yet(run, tmp_path):
    shutil.copy(run / "architecture.json", tmp_path)
    with pytest.raises(UserError, match="--teacher") as refused:
        open_teacher(str(tmp_path), NAMES)
    assert "whose training has ended" in refused.value.fix
