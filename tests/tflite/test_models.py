"""A trained network to files: all or nothing, bounds enforced, the layer that int8 breaks named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite import flatbuffer
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.export import Images, export_models, rewrites_of, write_models
from pnas_tf.tflite.layer_errors import describe, first_departure, layer_errors
from pnas_tf.tflite.metadata import Metadata, read_metadata
from pnas_tf.tflite.parity import Classifier
from pnas_tf.tflite.rewrites.choice import REWRITES
from pnas_tf.tflite.rewrites.rewrite import applicable

SIZE = 12
GENERATOR = np.random.default_rng(0)
TEST = GENERATOR.uniform(-0.5, 0.5, (40, SIZE, SIZE, 3)).astype(
    np.float32
)  # never the darkest or brightest pixel
LABELS = Metadata("test", ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(0)  # labels are what these weights say
    space = MBConvSpace("small", SIZE, 4, 8, 8, (Stage(8, 2, 2),), 16, (MBConv(3, 3), MBConv(7, 3)))
    return build_network(Architecture(space, (MBConv(7, 3), MBConv(3, 3))))


@pytest.fixture(scope="module")
def images(network: keras.Model) -> Images:
    labels = network(TEST).numpy().argmax(-1)
    return Images(TEST[:16], TEST, labels, TEST, labels)


def test_writes_proven_and_labelled_files(
    network: keras.Model, images: Images, tmp_path: Path
) -> None:
    config = ExportConfig(
        formats=("float32", "float16", "dynamic_int8", "int8"),
        max_accuracy_drop=0.3,
        debug_layers=True,
    )
    exported = export_models(network, images, LABELS, config)
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
        assert read_metadata(content).labels == LABELS.labels and report.size_bytes == len(content)
    assert exported.reports["model_float32.tflite"].max_logit_difference <= 1e-4
    assert "no layer departs" in (exported.layers or "")


def test_scores_are_probabilities_unless_logits_are_asked_for(
    network: keras.Model, images: Images
) -> None:
    for probabilities in (True, False):
        exported = export_models(
            network,
            images,
            LABELS,
            ExportConfig(max_accuracy_drop=0.3, probabilities=probabilities),
        )
        for name, tolerance in (("model_float32.tflite", 1e-6), ("model_int8.tflite", 4 / 512)):
            scores = Classifier(exported.contents[name]).logits(TEST)
            assert (np.abs(scores.sum(-1) - 1).max() <= tolerance) == probabilities
            report = exported.reports[name]
            assert (report.max_probability_difference is not None) == probabilities
            assert report.max_logit == pytest.approx(
                np.abs(network(TEST)).max()
            )  # parity speaks of logits in both


def test_calibration_spans_all_pixels(network: keras.Model, images: Images) -> None:
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


def test_a_broken_bound_leaves_no_file(
    network: keras.Model, images: Images, tmp_path: Path
) -> None:
    wrong = replace(images, validation_labels=(images.validation_labels + 1) % 4)
    for given, config, message in (
        (images, ExportConfig(max_logit_difference=0.0), "departs"),
        (replace(images, representative=TEST[:, :8]), ExportConfig(), "representative images"),
    ):
        with pytest.raises(UserError, match=message):
            write_models(export_models(network, given, LABELS, config), tmp_path)
    with pytest.raises(UserError, match="label"):
        write_models(
            export_models(network, wrong, Metadata("test", ("a", "b")), ExportConfig()), tmp_path
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "config, message",
    [
        (ExportConfig(formats=()), "--formats"),
        (ExportConfig(formats=("int4",)), "--formats"),
        (ExportConfig(representative_images=0), "--representative_images"),
        (ExportConfig(export_batch=0), "--export_batch"),
        (ExportConfig(formats=("int8",), debug_layers=True), "--debug_layers"),
        (ExportConfig(max_accuracy_drop=float("nan")), "--max_accuracy_drop"),
    ],
)
def test_refuses_settings_before_work(
    network: keras.Model, images: Images, config: ExportConfig, message: str
) -> None:
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
    for _ in range(20):
        middle = (one + other) / 2
        if network(middle[None]).numpy().argmax() == labels[0]:
            one = middle
        else:
            other = middle
    return np.stack([one, other])


def depthwise_kernels(content: bytes) -> list[list[int]]:
    parsed = flatbuffer.parse(content)
    graph = parsed.subgraphs[0]
    return [
        list(graph.tensors[op.inputs[1]].shape[1:3])
        for op in graph.operators
        if flatbuffer.op_name(parsed, op) == "DEPTHWISE_CONV_2D"
    ]


def test_each_format_takes_its_own_rewrites(network: keras.Model, images: Images) -> None:
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
    network: keras.Model, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(model: keras.Model, **how: object) -> bytes:
        if how["rewrites"]:  # as if the sum had been placed where its scale costs everything
            model = keras.models.clone_model(model)
            model.set_weights(
                [
                    -weight if weight.shape[:1] == (16,) else weight
                    for weight in network.get_weights()
                ]
            )
        return convert(model, **how)

    monkeypatch.setattr("pnas_tf.tflite.export.convert", spoilt)
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
def test_the_validation_split_decides_and_the_test_split_is_reported(
    network: keras.Model, images: Images, spoilt_split: str
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
    agreed = {"images": pixels[kept], "labels": ours[kept]}
    apart = {"images": pixels[differ], "labels": ours[differ]}
    first, second = (agreed, apart) if spoilt_split == "test" else (apart, agreed)
    given = Images(
        images.representative,
        first["images"],
        first["labels"],
        second["images"],
        second["labels"],
    )
    if spoilt_split == "validation":
        with pytest.raises(UserError, match="validation images"):
            export_models(network, given, LABELS, config)
        return
    exported = export_models(network, given, LABELS, config)
    assert exported.contents["model_int8.tflite"] == content
    assert exported.validation["model_int8.tflite"].accuracy_drop == 0
    assert exported.reports["model_int8.tflite"].accuracy_drop == 1


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
            convert(model), convert(model, dtype="int8", representative=TEST[:16]), TEST[:8]
        )

    assert first_departure(rows(network)) is None
    departed = first_departure(rows(broken))
    assert departed is not None and departed.layer == "block_01/expand_relu6"
    assert "first departure: block_01/expand_relu6" in describe(rows(broken))
    with pytest.raises(UserError, match="per-layer comparison"):
        layer_errors(
            convert(network),
            convert(network, dtype="int8", representative=TEST[:16], rewrites=REWRITES),
            TEST[:8],
        )
