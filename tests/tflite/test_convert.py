"""Converted files: ops and delegate partitions counted, number formats, and what is refused."""

from collections import Counter

import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert, representative_batches
from pnas_tf.tflite.rewrites.choice import REWRITES
from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

RESOLUTION = 17
IMAGES = np.random.default_rng(0).uniform(-1, 1, (16, RESOLUTION, RESOLUTION, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Stem, first block, 7x7 stride 2, 3x3 with shortcut, head: every kind of layer once."""
    space = MBConvSpace(
        "small",
        RESOLUTION,
        10,
        8,
        8,
        (Stage(16, 2, 2),),
        32,
        (MBConv(3, 3), MBConv(7, 3)),
        padding="symmetric",
    )
    model = build_network(Architecture(space, (MBConv(7, 3), MBConv(3, 3))))
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [generator.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()]
            )
    return model


def ops(content: bytes) -> Counter:
    """Ops by name; DELEGATE counts the partitions that XNNPACK took."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return Counter(detail["op_name"] for detail in interpreter._get_ops_details())


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.slow
def test_everything_fused_in_one_partition(network: keras.Model, dtype: str) -> None:
    # Batch normalisation, ReLU6, and the zero padding of the odd sizes 17 and 9, where SAME is the
    # same, leave no op of their own.
    layers = {
        "CONV_2D": 7,
        "DEPTHWISE_CONV_2D": 3,
        "ADD": 2,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
        "DELEGATE": 1,
    }
    assert ops(convert(network, dtype=dtype, representative=IMAGES)) == layers
    # 7x7 becomes three, two more ADDs hold the sum and its ReLU6, and each piece sees its own part
    # of the padded input.
    ours = ops(convert(apply_rewrites(network, REWRITES), dtype=dtype, representative=IMAGES))
    pieces = {name: ours.pop(name) for name in ("PAD", "STRIDED_SLICE")}
    assert ours == {**layers, "DEPTHWISE_CONV_2D": 5, "ADD": 4}
    assert max(pieces.values()) <= 3


def test_padding_is_exact_where_same_would_not_be() -> None:
    space = MBConvSpace(
        "even", 16, 10, 8, 8, (Stage(8, 1, 2),), 16, (MBConv(3, 3),), padding="symmetric"
    )
    model = build_network(Architecture(space, (MBConv(3, 3),)))
    images = IMAGES[:, :16, :16]
    content = convert(model, "float32")
    assert (
        ops(content)["PAD"] == 2
    )  # SAME at even sizes pads only behind: not what PyTorch's networks do
    np.testing.assert_allclose(Classifier(content).logits(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    "dtype, relative, rewrites",
    [
        ("float32", 3e-6, ()),  # 25 eps; of 12 random networks at most 5.4e-7 was seen
        ("float32", 1e-5, REWRITES),
        ("float16", 5e-3, REWRITES),
        ("dynamic_int8", 0.1, ()),
        ("int8", 0.1, ()),
        ("int8", 0.1, REWRITES),
    ],
)
@pytest.mark.slow
def test_each_format_computes_the_network(
    network: keras.Model, dtype: str, relative: float, rewrites: tuple[str, ...]
) -> None:
    expected = network(IMAGES).numpy()
    logits = Classifier(
        convert(apply_rewrites(network, rewrites), dtype=dtype, representative=IMAGES)
    ).logits(IMAGES)
    assert np.abs(logits - expected).max() <= relative * max(1, np.abs(expected).max())


def test_sizes_follow_the_bits(network: keras.Model) -> None:
    whole, half = (len(convert(network, dtype=dtype)) for dtype in ("float32", "float16"))
    kernels = sum(
        np.prod(weight.shape) for weight in network.trainable_weights if weight.shape.rank > 1
    )
    assert (
        whole > 4 * kernels and whole - half > 1.2 * kernels
    )  # of 2 bytes saved a weight, an op for each tensor takes some back


@pytest.mark.parametrize("kind", ["int8", "uint8", "float32"])
def test_int8_takes_and_gives_the_asked_types(network: keras.Model, kind: str) -> None:
    content = convert(
        network, dtype="int8", representative=IMAGES, input_type=kind, output_type=kind
    )
    classifier = Classifier(content)
    assert (classifier.input["dtype"], classifier.output["dtype"]) == (
        np.dtype(kind),
        np.dtype(kind),
    )
    np.testing.assert_allclose(
        classifier.logits(IMAGES), network(IMAGES), atol=0.1 * np.abs(network(IMAGES)).max()
    )


def test_batch_is_fixed_and_filled(network: keras.Model) -> None:
    content = convert(network, dtype="int8", representative=IMAGES[:3], batch=4)
    assert Classifier(content).batch == 4
    single = Classifier(convert(network, "float32")).logits(IMAGES[:6])
    np.testing.assert_allclose(
        Classifier(convert(network, "float32", batch=4)).logits(IMAGES[:6]), single, atol=1e-5
    )


def test_representative_images_come_in_any_grouping() -> None:
    shape = (4, RESOLUTION, RESOLUTION, 3)
    as_array = list(representative_batches(IMAGES[:6], shape))
    assert [batch.shape for batch in as_array] == [shape, shape]
    np.testing.assert_array_equal(
        as_array[1][2:], IMAGES[:2]
    )  # the last batch is filled with the first images
    for grouping in (list(IMAGES[:6]), (IMAGES[:4], IMAGES[4:6])):
        np.testing.assert_array_equal(list(representative_batches(grouping, shape)), as_array)
    (one,) = representative_batches(IMAGES[:3], (7, *shape[1:]))  # fewer than one batch
    np.testing.assert_array_equal(one, IMAGES[[0, 1, 2, 0, 1, 2, 0]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dtype": "int4"}, "export format"),
        ({"dtype": "int8"}, "representative images that calibrate"),
        ({"dtype": "int8", "representative": IMAGES[:, :8]}, r"images of shape \(17, 17, 3\)"),
        ({"dtype": "int8", "representative": IMAGES[..., :1]}, r"images of shape \(17, 17, 3\)"),
        ({"dtype": "int8", "representative": IMAGES[0, 0, 0]}, "images of shape"),
        ({"dtype": "int8", "representative": IMAGES[:0]}, "at least one image"),
        ({"dtype": "int8", "representative": np.full_like(IMAGES, np.nan)}, "finite numbers"),
        ({"dtype": "int8", "representative": IMAGES, "input_type": "int16"}, "input_type"),
        ({"dtype": "float32", "output_type": "uint8"}, "output_type of a float32 export"),
        ({"batch": 0}, "batch of the export"),
    ],
)
def test_refuses(network: keras.Model, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(network, **{"dtype": "float32", **arguments})


def test_conversion_says_nothing(
    network: keras.Model, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    convert(network, dtype="int8", representative=IMAGES)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.records) == ("", "", [])
