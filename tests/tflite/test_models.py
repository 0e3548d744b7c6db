"""A trained network to files: all or nothing, bounds enforced, the layer that int8 breaks named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.data.dataset_name import public_name
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.export import ExportImages, export_models, write_models
from pnas_tf.tflite.layer_errors import describe, first_departure, layer_errors
from pnas_tf.tflite.metadata import Metadata, read_metadata
from pnas_tf.tflite.model import TfliteModel, without_softmax
from pnas_tf.tflite.options import check_config, rewrites_of
from pnas_tf.tflite.rewrites.choice import REWRITES
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites

SIZE = 12
GENERATOR = np.random.default_rng(0)
TEST = GENERATOR.uniform(-0.5, 0.5, (40, SIZE, SIZE, 3)).astype(
    np.float32
)  # never the darkest or brightest pixel
LABELS = Metadata("test", ("a", "b", "c", "d"), mean=(127.5,), std=(127.5,))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)  # labels are what these weights say
    space = MBConvSpace("small", SIZE, 4, 8, 8, (Stage(8, 2, 2),), 16, (MBConv(3, 3), MBConv(7, 3)))
    return build_network(Architecture(space, (MBConv(7, 3), MBConv(3, 3))))


@pytest.fixture(scope="module")
def images(network: keras.Model) -> ExportImages:
    labels = network(TEST).numpy().argmax(-1)
    batches = [(TEST[:30], labels[:30]), (TEST[30:], labels[30:])]
    return ExportImages(TEST[:16], batches, batches, batches)


@pytest.mark.slow
def test_writes_proven_and_labelled_files(
    network: keras.Model, images: ExportImages, tmp_path: Path
) -> None:
    config = ExportConfig(
        formats=("float32", "float16", "dynamic_int8", "int8"),
        max_accuracy_drop=0.3,
        debug_layers=True,
    )
    told: list[str] = []
    exported = export_models(network, images, LABELS, config, tell=told.append)
    write_models(replace(exported, contents={"model_float16.tflite": b"older"}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model_float16.tflite",
        "parity.json",
    ]
    assert [path.name for path in write_models(exported, tmp_path)] == [
        "model_float32.tflite",
        "model_float16.tflite",
        "model_dynamic_int8.tflite",
        "model_int8.tflite",
        "parity.json",
    ]
    write_models(
        replace(exported, contents={"model_int8.tflite": exported.contents["model_int8.tflite"]}),
        tmp_path,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model_int8.tflite",
        "parity.json",
    ]  # none of an older export stays
    write_models(exported, tmp_path)
    for name, report in exported.reports.items():
        content = (tmp_path / name).read_bytes()
        assert read_metadata(
            TfliteModel(content)
        ).labels == LABELS.labels and report.size_bytes == len(content)
    assert exported.reports["model_float32.tflite"].max_logit_difference <= 1e-4
    assert len(told) == 1 and "no layer departs" in told[0]


@pytest.mark.slow
def test_scores_are_probabilities_unless_logits_are_asked_for(
    network: keras.Model, images: ExportImages
) -> None:
    for probabilities in (True, False):
        exported = export_models(
            network,
            images,
            LABELS,
            ExportConfig(max_accuracy_drop=0.3, probabilities=probabilities),
        )
        for name, tolerance in (("model_float32.tflite", 1e-6), ("model_int8.tflite", 1e-6)):
            scores = Classifier(exported.contents[name]).logits(TEST)
            assert (np.abs(scores.sum(-1) - 1).max() <= tolerance) == probabilities
            report = exported.reports[name]
            assert (report.max_probability_difference is not None) == probabilities
            assert report.max_logit == pytest.approx(
                np.abs(network(TEST)).max()
            )  # parity speaks of logits in both


@pytest.mark.parametrize(
    "classes, output",
    [(2, "float32"), (200, "float32"), (1000, "float32"), (1000, "uint8"), (2, "int8")],
)
def test_int8_answers_are_those_of_its_own_logits(classes: int, output: str) -> None:
    """With 1,000 classes a probability of 8 bits is one of a few values, and the best ones tie."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(32, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(classes)(x))
    answers = model(TEST).numpy().argmax(-1)
    labels = replace(LABELS, labels=tuple(f"class {number}" for number in range(classes)))
    batches = [(TEST, answers)]
    given = ExportImages([TEST[:16]], batches, batches, batches)
    config = ExportConfig(
        formats=("int8",), int8_output=output, max_accuracy_drop=1.0, min_agreement=0.0
    )
    lines: list[str] = []
    made = {
        probabilities: export_models(
            model,
            given,
            labels,
            replace(config, probabilities=probabilities),
            progress=lines.append,
        )
        for probabilities in (True, False)
    }
    scores, logits = (
        Classifier(made[wanted].contents["model_int8.tflite"]).logits(TEST)
        for wanted in (True, False)
    )
    np.testing.assert_array_equal(scores.argmax(-1), logits.argmax(-1))
    first, second = (made[wanted].reports["model_int8.tflite"] for wanted in (True, False))
    assert first.top1_agreement == second.top1_agreement
    found = TfliteModel.examined(
        made[True].contents["model_int8.tflite"], where="made", prepare=True
    )
    assert found.has_softmax == (output == "float32")
    assert any("ends in logits" in line for line in lines) == (output != "float32")
    if output == "float32":
        raised = np.exp(logits - logits.max(-1, keepdims=True))
        np.testing.assert_allclose(scores, raised / raised.sum(-1, keepdims=True), atol=1e-5)
        assert without_softmax(made[True].contents["model_int8.tflite"]) != found.content
        last = found.contents.ops[-1]
        # The CPU's delegate takes all from the first convolution to the probabilities.
        assert (last.name, last.partition, found.contents.partitions) == ("SOFTMAX", 0, 1)
        assert [op.partition for op in found.contents.ops] == [
            None,
            *[0] * (len(found.contents.ops) - 1),
        ]


@pytest.mark.slow
def test_agreement_has_a_bound_of_its_own(network: keras.Model, images: ExportImages) -> None:
    """Labels that nobody gives: both are always wrong, so accuracy drops by nothing."""
    wrong = [(TEST, np.full(len(TEST), 7))]
    given = replace(images, validation=wrong, sample=wrong, test=wrong)
    config = ExportConfig(formats=("int8",), rewrites=("none",), min_agreement=1.0)
    exported = export_models(network, given, LABELS, replace(config, min_agreement=0.0))
    report = exported.validation["model_int8.tflite"]
    assert report.accuracy_drop == 0 and report.rewrites == ()
    if report.top1_agreement < 1:
        with pytest.raises(UserError, match="other answers than Keras"):
            export_models(network, given, LABELS, config)
    edge = edge_of(network, TEST)  # int8 cannot tell the two apart
    apart = replace(given, validation=[(edge, np.full(2, 7))])
    with pytest.raises(UserError, match="other answers than Keras") as error:
        export_models(network, apart, LABELS, config)
    assert "50.00 % of 2 validation images" in error.value.received


def test_calibration_spans_all_pixels(network: keras.Model, images: ExportImages) -> None:
    """(pixel - 127.5) / 127.5 runs from -1 to 1 though no calibration image does: the int8 input
    must not clip it."""
    exported = export_models(
        network,
        images,
        LABELS,
        ExportConfig(formats=("int8",), int8_input="int8", max_accuracy_drop=0.3),
    )
    scale, zero_point = Classifier(exported.contents["model_int8.tflite"]).input["quantization"]
    assert scale == pytest.approx(2 / 255, rel=1e-3) and zero_point in (-1, 0)


@pytest.mark.slow
def test_a_broken_bound_leaves_no_file(
    network: keras.Model, images: ExportImages, tmp_path: Path
) -> None:
    for given, config, message in (
        (images, ExportConfig(max_logit_difference=0.0), "departs"),
        (replace(images, representative=TEST[:, :8]), ExportConfig(), "representative images"),
    ):
        with pytest.raises(UserError, match=message):
            write_models(export_models(network, given, LABELS, config), tmp_path)
    with pytest.raises(UserError, match="label"):
        write_models(
            export_models(network, images, replace(LABELS, labels=("a", "b")), ExportConfig()),
            tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "config, message",
    [
        (ExportConfig(formats=("int4",)), "--formats"),
        (ExportConfig(formats=("int8",), debug_layers=True), "--debug_layers"),
        (ExportConfig(formats=("float32",), quantize="qat"), "--quantize"),
        (ExportConfig(cluster=1), "--cluster"),
        (ExportConfig(cluster=2, prune=0.5), "--cluster with --prune"),
    ],
)
def test_refuses_settings_before_work(
    network: keras.Model, images: ExportImages, config: ExportConfig, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_config(config)
    with pytest.raises(UserError, match=message):
        export_models(network, images, LABELS, config)


def test_rewrites_are_those_of_the_table_of_each_kind() -> None:
    one = "split_depthwise[k7 s1 6x6x24]"
    assert set(rewrites_of(ExportConfig(), {}).values()) == {REWRITES}
    assert set(rewrites_of(ExportConfig(), {"float32": ()}).values()) == {
        ()
    }  # measured without: the table speaks of plain files
    assert rewrites_of(ExportConfig(), {"float32": (one,), "int8": REWRITES}) == {
        "float32": (one,),
        "float16": (one,),
        "dynamic_int8": (one,),
        "int8": REWRITES,
    }
    assert set(rewrites_of(ExportConfig(rewrites=("none",)), {"float32": REWRITES}).values()) == {
        ()
    }
    assert set(rewrites_of(ExportConfig(rewrites=(one,)), {"float32": ()}).values()) == {(one,)}
    with pytest.raises(UserError, match="unknown export rewrite"):
        rewrites_of(ExportConfig(rewrites=("unroll",)), {})


def edge_of(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Two images that are nearly one, on both sides of a decision of Keras: int8, which cannot tell
    them apart, gives both one class and so differs from Keras in one of them."""
    labels = network(images).numpy().argmax(-1)
    one, other = images[0], images[np.flatnonzero(labels != labels[0])[0]]
    for _ in range(14):  # their best logits then differ by far more than roundings
        middle = (one + other) / 2
        if network(middle[None]).numpy().argmax() == labels[0]:
            one = middle
        else:
            other = middle
    return np.stack([one, other])


def depthwise_kernels(content: bytes) -> list[list[int]]:
    ops = TfliteModel(content).contents.ops
    return [op.inputs[1].shape[1:3] for op in ops if op.name == "DEPTHWISE_CONV_2D"]


@pytest.mark.slow
def test_each_format_takes_its_own_rewrites(network: keras.Model, images: ExportImages) -> None:
    exported = export_models(
        network,
        images,
        LABELS,
        ExportConfig(max_accuracy_drop=0.3),
        rewrites={"float32": (), "int8": applicable(network)},
    )
    assert [7, 7] in depthwise_kernels(exported.contents["model_float32.tflite"])
    assert [7, 7] not in depthwise_kernels(exported.contents["model_int8.tflite"])
    assert exported.reports["model_float32.tflite"].rewrites == ()
    report = exported.reports["model_int8.tflite"]
    assert report.rewrites == applicable(network) and report.beside_plain is None
    report = exported.validation["model_int8.tflite"]
    assert report.rewrites == applicable(network)
    assert report.beside_plain["images"] == len(
        TEST
    )  # int8 with the rewrite beside int8 without, on the same images
    assert report.beside_plain["rewritten"]["accuracy"] == report.tflite_accuracy
    assert 0 <= report.beside_plain["plain"]["top1_agreement"] <= 1


def test_a_split_that_costs_int8_its_accuracy_stays_out(
    network: keras.Model, images: ExportImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(model: keras.Model, rewrites: tuple[str, ...]) -> keras.Model:
        rewritten = apply_rewrites(model, rewrites)
        if rewrites:  # as if the sum had been placed where its scale costs everything
            classifier = rewritten.get_layer("head/classifier")
            kernel, bias = classifier.get_weights()
            classifier.set_weights([-kernel, bias])
        return rewritten

    monkeypatch.setattr("pnas_tf.tflite.export.apply_rewrites", spoilt)
    lines: list[str] = []
    exported = export_models(
        network,
        images,
        LABELS,
        ExportConfig(formats=("int8",), max_accuracy_drop=0.3),
        progress=lines.append,
    )
    report = exported.validation["model_int8.tflite"]
    assert report.rewrites == exported.reports["model_int8.tflite"].rewrites == ()
    assert [7, 7] in depthwise_kernels(exported.contents["model_int8.tflite"])
    assert report.beside_plain["rewritten"]["accuracy"] < 0.7 <= report.tflite_accuracy
    assert "costs accuracy" in lines[0]


@pytest.mark.parametrize("spoilt_split", ["validation", "test"])
@pytest.mark.slow
def test_the_validation_split_decides_and_the_test_split_is_reported(
    network: keras.Model, images: ExportImages, spoilt_split: str
) -> None:
    """Test labels under which int8 does far worse than Keras change no decision."""
    config = ExportConfig(formats=("int8",), max_accuracy_drop=0.0, probabilities=False)
    sound = export_models(network, images, LABELS, replace(config, max_accuracy_drop=1.0))
    content = sound.contents["model_int8.tflite"]
    pixels = np.concatenate([TEST, edge_of(network, TEST)])
    theirs = Classifier(content).logits(pixels).argmax(-1)
    ours = network(pixels).numpy().argmax(-1)
    differ = ours != theirs
    assert theirs[-1] == theirs[-2] and differ[-2:].sum() == 1
    kept = np.where(ours == theirs)[0]
    agreed, apart = [(pixels[kept], ours[kept])], [(pixels[differ], ours[differ])]
    first, second = (agreed, apart) if spoilt_split == "test" else (apart, agreed)
    given = ExportImages(images.representative, first, first, second)
    if spoilt_split == "validation":
        with pytest.raises(UserError, match="validation images"):
            export_models(network, given, LABELS, config)
        return
    exported = export_models(network, given, LABELS, config)
    assert exported.contents["model_int8.tflite"] == content
    assert exported.validation["model_int8.tflite"].accuracy_drop == 0
    assert exported.reports["model_int8.tflite"].accuracy_drop == 1


@pytest.mark.slow
def test_names_the_first_layer_where_int8_departs(network: keras.Model) -> None:
    broken = keras.models.clone_model(network)
    broken.set_weights(network.get_weights())
    # One channel 3000 times the others takes the whole int8 range of the tensor, and the others
    # become 0.
    kernel, offset = broken.get_layer("block_00/project_bn").get_weights()[:2]
    kernel[0], offset[0] = 1e-6, 3000.0
    broken.get_layer("block_00/project_bn").set_weights(
        [kernel, offset, *broken.get_layer("block_00/project_bn").get_weights()[2:]]
    )
    following = broken.get_layer("block_01/expand")
    weights = following.get_weights()[0]
    weights[:, :, 0] = (
        0  # nothing after it sees that channel, so what departs next is what was rounded away
    )
    following.set_weights([weights])

    def rows(model: keras.Model) -> list:
        return layer_errors(
            convert(model, "float32"),
            convert(model, dtype="int8", representative=TEST[:16]),
            TEST[:8],
        )

    assert first_departure(rows(network)) is None
    departed = first_departure(rows(broken))
    assert departed is not None and departed.layer == "block_01/expand_relu6"
    assert "first departure: block_01/expand_relu6" in describe(rows(broken))
    with pytest.raises(UserError, match="per-layer comparison"):
        layer_errors(
            convert(network, "float32"),
            convert(apply_rewrites(network, REWRITES), dtype="int8", representative=TEST[:16]),
            TEST[:8],
        )


def test_a_shape_that_the_network_has_not_is_refused(
    network: keras.Model, images: ExportImages
) -> None:
    (shape, *_) = applicable(network)
    config = ExportConfig(formats=("float32",), rewrites=(shape,), max_accuracy_drop=0.3)
    exported = export_models(network, images, LABELS, config)
    assert exported.reports["model_float32.tflite"].rewrites == (shape,)
    with pytest.raises(UserError, match="--rewrites=split_depthwise") as refused:
        export_models(network, images, LABELS, replace(config, rewrites=(f"{shape}]",)))
    assert shape in refused.value.expected


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("digits", "digits"),
        ("folder:/home/ada/customers/acme", "folder:acme"),
        ("folder:acme/", "folder:acme"),
        ("csv:/home/ada/labels.csv", "csv:labels.csv"),
        ("arrays:0123abcd", "arrays:0123abcd"),
    ],
)
def test_no_file_tells_where_its_images_lay(name: str, shown: str) -> None:
    assert public_name(name) == shown
