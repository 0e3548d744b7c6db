"""Metadata in the model: written and read back, refused when wrong, and read by a client of
somebody else's (MediaPipe)."""

import io
import itertools
import json
import random
import re
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import tf_keras as keras
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import isolated
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.tflite import metadata_schema
from pnas_tf.tflite.associated_files import MAX_FILE_BYTES, read_files
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.export import ExportImages, export_models
from pnas_tf.tflite.metadata import Metadata, read_metadata, write_metadata
from pnas_tf.tflite.model import TfliteModel, pack, put_buffer
from pnas_tf.tflite.schema_reader import METADATA, buffer_of, parse
from tests.support import mediapipe

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAINING_IMAGES, TEST_IMAGES = 1400, 60

# format of the file -> arguments of `convert`
FORMATS = {
    "float32": {"dtype": "float32"},
    "float16": {"dtype": "float16"},
    "dynamic_int8": {"dtype": "dynamic_int8"},
    "int8_uint8_input": {"dtype": "int8", "input_type": "uint8", "output_type": "float32"},
    "int8_uint8_both": {"dtype": "int8", "input_type": "uint8", "output_type": "uint8"},
    "int8_float_input": {"dtype": "int8", "input_type": "float32", "output_type": "float32"},
}


@pytest.fixture(scope="module")
def digits():
    """Real handwritten digits, 32 x 32 x 3 pixels of uint8, and their classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.kron(np.rint(found.images * 255 / 16), np.ones((1, 4, 4))).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=-1), found.target


@pytest.fixture(scope="module")
def architecture():
    space = tiny()
    return Architecture(
        space, tuple(Zero() if choice.shortcut else MBConv(3, 3) for choice in space.choice_blocks)
    )


@pytest.fixture(scope="module")
def classifier(digits, architecture):
    """A classifier of digits, trained for a few seconds, that gives logits."""
    keras.utils.set_random_seed(0)
    pixels, truth = digits
    model = build_network(architecture)
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(
        normalised(pixels[:TRAINING_IMAGES]),
        truth[:TRAINING_IMAGES],
        batch_size=64,
        epochs=8,
        verbose=0,
    )
    return model


@pytest.fixture(scope="module")
def plain(architecture):
    """A float32 file without metadata, of random weights."""
    return convert(build_network(architecture), "float32")


@pytest.fixture
def about(architecture):
    return Metadata(
        name="digits",
        labels=LABELS,
        mean=(127.5,),
        std=(127.5,),
        description="Handwritten digits.",
        version="3",
        author="Ada",
        licence="Apache-2.0",
        files={
            "architecture.json": json.dumps(architecture.to_json()).encode(),
            "measurements.json": b"{}",
        },
    )


def read_back(content):
    """The metadata of bytes of ours."""
    return read_metadata(TfliteModel(content))


def read_theirs(content):
    """The metadata of bytes of anybody."""
    return read_metadata(TfliteModel.examined(content, where="the model"))


def normalised(pixels):
    return (pixels.astype(np.float32) - 127.5) / 127.5


def test_what_is_written_is_read(plain, about):
    written = write_metadata(plain, about)
    assert read_back(written) == read_theirs(written) == about
    assert set(read_files(written, where="x")) == {
        "labels.txt",
        "architecture.json",
        "measurements.json",
    }
    assert read_back(
        write_metadata(plain, replace(about, mean=(1.5, 2.5, 3.5), std=(4.0, 5.0, 6.0), files={}))
    ).mean == (1.5, 2.5, 3.5)


def test_the_same_content_gives_the_same_bytes_and_is_replaced_not_stacked(plain, about):
    written = write_metadata(plain, about)
    assert write_metadata(plain, about) == written
    assert write_metadata(written, about) == written
    assert (
        write_metadata(
            write_metadata(plain, replace(about, name="other", files={"long.txt": b"x" * 5000})),
            about,
        )
        == written
    )


def test_the_model_computes_what_it_did_and_its_weights_are_aligned(plain, about):
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    written = write_metadata(plain, about)
    np.testing.assert_array_equal(
        Classifier(written).logits(images), Classifier(plain).logits(images)
    )
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(written, 0)
    starts = [
        buffer._tab.Vector(buffer._tab.Offset(4))
        for buffer in map(model.Buffers, range(model.BuffersLength()))
        if buffer.DataLength()
    ]
    assert len(starts) > 20 and all(start % 16 == 0 for start in starts)


def test_any_unzip_program_finds_the_files(plain, about):
    with zipfile.ZipFile(io.BytesIO(write_metadata(plain, about))) as archive:
        assert archive.read("labels.txt").decode().split() == list(LABELS)
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {
            (1980, 1, 1, 0, 0, 0)
        }  # not of today: the same bytes tomorrow


def test_scores_are_named_for_what_they_are(architecture, about):
    model = build_network(architecture)

    def output(file):
        document = TfliteModel(write_metadata(file, about)).metadata
        return document["subgraph_metadata"][0]["output_tensor_metadata"][0]

    assert output(convert(model, "float32"))["name"] == "logit"
    scores = output(convert(with_probabilities(model), "float32"))
    assert scores["name"] == "probability" and scores["stats"] == {"max": [1.0], "min": [0.0]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": LABELS[:9]}, "10, one per output"),
        ({"labels": (*LABELS, "ten")}, "10, one per output"),
        ({"labels": (*LABELS[:9], "ni\nne")}, "one line"),
        ({"labels": (*LABELS[:9], "nine\n")}, "one line"),
        ({"labels": (*LABELS[:9], " ")}, "one line"),
        ({"mean": (1.0, 2.0)}, "1 or 3"),
        ({"std": (0.0,)}, "std above 0"),
        ({"mean": (float("nan"),)}, "finite"),
        ({"files": {"../../evil.sh": b""}}, "plain name"),
        ({"files": {"/etc/passwd": b""}}, "plain name"),
        ({"files": {"C:evil": b""}}, "plain name"),
        ({"files": {"..": b""}}, "plain name"),
        ({"files": {"labels.txt": b""}}, "labels.txt"),
        ({"files": {"large.bin": bytes(MAX_FILE_BYTES + 1)}}, "at most"),
        ({"files": {f"{number}.txt": b"" for number in range(64)}}, "fewer than"),
    ],
)
def test_wrong_metadata_is_refused(plain, about, change, said):
    with pytest.raises(UserError, match=re.escape(said)):
        write_metadata(plain, replace(about, **change))


def test_files_that_are_no_classifier_are_refused(plain, about):
    encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    for content, said in [
        (b"", "not a TensorFlow Lite model"),
        (b"PK\x03\x04 a zip file", "not a TensorFlow Lite model"),
        (plain[:-1000], "corrupt, truncated"),
        (plain[:200], "corrupt, truncated"),
        (plain[:4] + b"TFL9" + plain[8:], "not a TensorFlow Lite model"),
    ]:
        with pytest.raises(UserError, match=said):
            read_theirs(content)
    with pytest.raises(UserError, match="not an image classifier"):
        write_metadata(convert(encoder, "float32"), about)


def test_a_model_without_metadata_says_so(plain):
    with pytest.raises(UserError, match="no metadata"):
        read_back(plain)
    assert read_files(plain, where="x") == {}


def with_files(written, files):
    """The model with other files behind it."""
    stream = io.BytesIO(written[: zip_start(written)])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return stream.getvalue()


def zip_start(written):
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        return min(entry.header_offset for entry in archive.infolist())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([("labels.txt", "\n".join(LABELS)), ("../outside.txt", "x")], "plain name"),
        ([("labels.txt", "a\nb\n")], "10, one per output"),
        ([("other.txt", "x")], "a UTF-8 file 'labels.txt'"),
        ([("labels.txt", b"\xff\xfe")], "a UTF-8 file 'labels.txt'"),
        ([("labels.txt", "\n".join(LABELS)), ("labels.txt", "x")], "each name once"),
        ([("labels.txt", "\n".join(LABELS)), ("bomb.txt", bytes(MAX_FILE_BYTES + 1))], "at most"),
        ([(f"{number}.txt", "") for number in range(65)], "at most 64"),
    ],
    ids=["escape", "labels", "absent", "not text", "twice", "bomb", "many"],
)
def test_hostile_files_behind_a_model_are_refused(plain, about, files, said):
    with pytest.raises(UserError, match=said):
        read_theirs(with_files(write_metadata(plain, about), files))


def test_a_zip_that_lies_about_a_size_is_refused(plain, about):
    files = [("labels.txt", "\n".join(LABELS)), ("big.txt", bytes(MAX_FILE_BYTES + 9))]
    written = bytearray(with_files(write_metadata(plain, about), files))
    entry = written.rindex(
        b"PK\x01\x02"
    )  # big.txt in the central directory, its uncompressed size at byte 24
    written[entry + 24 : entry + 28] = struct.pack("<I", 100)
    with pytest.raises(UserError):
        read_theirs(bytes(written))


def test_mutated_files_are_read_or_refused_but_never_crash(plain, about):
    """300 files with up to 20 wrong bytes near the structures, a third of them cut as well."""
    written = write_metadata(plain, about)
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(written)
        for _ in range(generator.choice([1, 3, 20])):
            place = generator.choice(
                [generator.randrange(4000), len(mutated) - 1 - generator.randrange(12000)]
            )
            mutated[place] = generator.randrange(256)
        cut = generator.randrange(len(mutated)) if generator.random() < 1 / 3 else len(mutated)
        try:
            read_theirs(bytes(mutated[:cut]))
        except UserError:
            refused += 1
    assert 100 < refused < 300


def with_document(model, document):
    """The model with these bytes as its metadata."""
    parsed = parse(model)
    put_buffer(parsed, METADATA, document)
    return pack(parsed)


@pytest.mark.slow
def test_mutated_documents_are_decoded_or_refused(plain, about):
    content = buffer_of(parse(write_metadata(plain, about)), METADATA)
    generator = random.Random(1)
    refused = 0
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(generator.choice([1, 3, 20])):
            mutated[generator.randrange(len(mutated))] = generator.randrange(256)
        model = with_document(plain, bytes(mutated))
        try:
            assert TfliteModel.examined(model, where="x").metadata is not None
        except UserError as error:
            assert error.what == "metadata of x is corrupt"
            refused += 1
    assert 30 < refused < 290


@pytest.mark.slow
def test_a_document_that_grows_when_read_is_refused(plain, monkeypatch):
    """2,000 subgraphs that are one subgraph of 2,000 tensors that are one tensor: 30 KB that would
    read as four million tables."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    name = builder.CreateString("x" * 100)

    def table(slot, value):
        builder.StartObject(8)
        builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    def repeated(offset):
        builder.StartVector(4, 2000, 4)
        for _ in range(2000):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    tensor = table(0, name)
    graph = table(2, repeated(tensor))
    builder.Finish(table(3, repeated(graph)), file_identifier=b"M001")
    monkeypatch.setattr(isolated, "CPU_S", 1)
    with pytest.raises(UserError, match="x is harmful"):
        TfliteModel.examined(with_document(plain, bytes(builder.Output())), where="x")


def test_an_answer_that_is_too_large_for_us_is_refused(plain):
    """One long text that 300 files of the document share."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    name = builder.CreateString("x" * 100_000)
    entries = []
    for _ in range(300):
        builder.StartObject(5)
        builder.PrependUOffsetTRelativeSlot(0, name, 0)
        entries.append(builder.EndObject())
    builder.StartVector(4, len(entries), 4)
    for entry in entries:
        builder.PrependUOffsetTRelative(entry)
    files = builder.EndVector()
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(6, files, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"M001")
    with pytest.raises(UserError, match="16777216 bytes when read"):
        TfliteModel.examined(with_document(plain, bytes(builder.Output())), where="x")


def raw_scores(file, pixels):
    """What a client gets that hands a uint8 model the bytes of the image."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    scores = []
    for image in pixels:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(scores)


@pytest.mark.slow
def test_the_bytes_of_a_uint8_input_are_pixels_whatever_it_was_calibrated_with(
    classifier, digits, about
):
    """Calibrated on grey images alone, byte 255 stood for grey; a client that hands over pixels
    would be wrong without notice."""
    pixels = np.clip(digits[0][TRAINING_IMAGES : TRAINING_IMAGES + TEST_IMAGES], 60, 180)
    grey = normalised(np.clip(digits[0][:50], 60, 180))
    file = convert(
        classifier, dtype="int8", input_type="uint8", output_type="float32", representative=grey
    )
    expected = Classifier(file).logits(normalised(pixels))  # quantises with the file's own scale
    scale = np.abs(expected).max()
    assert np.abs(raw_scores(file, pixels) - expected).max() > 0.2 * scale
    written = write_metadata(file, about)
    difference = np.abs(raw_scores(written, pixels) - expected)
    # Half a level of the input, rounded twice. Of five trainings 0.011 and 0.056 were the most, and
    # of thirteen at least 0.52 above.
    assert difference.mean() < 0.04 * scale and difference.max() < 0.2 * scale
    assert write_metadata(written, about) == written


@pytest.mark.slow
def test_a_uint8_input_that_cannot_be_pixels_is_refused(classifier, digits, about):
    file = convert(
        classifier, dtype="int8", input_type="uint8", representative=normalised(digits[0][:20])
    )
    with pytest.raises(UserError, match="every pixel stands for itself"):
        write_metadata(file, replace(about, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)))
    with pytest.raises(UserError, match="every pixel stands for itself"):
        write_metadata(file, replace(about, mean=(-10.0,)))


@pytest.fixture(scope="module")
def exported(classifier, digits, architecture, tmp_path_factory):
    """Folder of every format with metadata, and folder of test images as PNG files, one pixel per
    pixel."""
    models, pictures = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("pictures")
    about = Metadata(
        name="digits",
        labels=LABELS,
        mean=(127.5,),
        std=(127.5,),
        author="Ada",
        licence="Apache-2.0",
        description="Zwölf Boxkämpfer",
        files={"architecture.json": json.dumps(architecture.to_json()).encode()},
    )
    samples = normalised(digits[0][:100])
    for name, arguments in FORMATS.items():
        representative = {"representative": samples} if arguments["dtype"] == "int8" else {}
        content = convert(with_probabilities(classifier), **arguments, **representative)
        (models / f"{name}.tflite").write_bytes(write_metadata(content, about))
    (models / "logits.tflite").write_bytes(write_metadata(convert(classifier, "float32"), about))
    proven = export_models(
        classifier,
        ExportImages(samples, *[[(samples, digits[1][:100])]] * 3),
        about,
        ExportConfig(formats=("int8",)),
    )
    (models / "program.tflite").write_bytes(
        proven.contents["model_int8.tflite"]
    )  # as tools/export.py makes it by default
    for number, pixels in enumerate(digits[0][TRAINING_IMAGES : TRAINING_IMAGES + TEST_IMAGES]):
        Image.fromarray(pixels).save(pictures / f"{number:03d}.png")
    return models, pictures


@pytest.fixture(scope="module")
def client(request):
    """What MediaPipe makes of the exported models."""
    mediapipe.skip_where_absent()
    return mediapipe.answers(
        *request.getfixturevalue("exported")
    )  # only now: training takes seconds


# By which two runtimes' kernels may differ in one score: two steps of an int8 probability.
KERNELS = 2 / 256


def scores_of(classifier, images, name):
    """What Keras says in the terms of a file: logits of logits.tflite, probabilities of others."""
    network = classifier if name == "logits" else with_probabilities(classifier)
    return np.asarray(network(images))


def error_of(exported, classifier, images, name):
    """By how much the file's scores, by our runtime, differ from Keras' at most."""
    file = (exported[0] / f"{name}.tflite").read_bytes()
    return np.abs(Classifier(file).logits(images) - scores_of(classifier, images, name)).max()


def step_of_logits(file):
    """The step of the int8 logits before a file's softmax; 0 where they are floats."""
    model = parse(file)
    (graph,) = model.subgraphs
    softmax = [
        op
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.SOFTMAX
    ]
    (logits,) = (graph.tensors[op.inputs[0]] for op in softmax)
    scale = logits.quantization and logits.quantization.scale
    return 0.0 if scale is None else float(scale[0])


def moved(scores, by):
    """How far each score goes at most where every logit moves by up to `by`: its odds change by a
    factor of up to exp(2 by)."""
    factor = np.exp(2 * by)
    up = scores * factor / (1 - scores + scores * factor)
    down = scores / (scores + (1 - scores) * factor)
    return np.maximum(up - scores, scores - down)


def test_how_far_a_score_can_move():
    """By trying all corners of the box around the logits."""
    logits = np.array([0.3, -1.0, 2.0])
    corners = logits + 0.2 * np.array(list(itertools.product((-1, 1), repeat=3)))
    scores, at_corners = (scipy.special.softmax(each, axis=-1) for each in (logits, corners))
    farthest = np.abs(at_corners - scores).max(axis=0)
    np.testing.assert_allclose(moved(scores, 0.2), farthest, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, "program", "logits"])
def test_mediapipe_gives_the_right_labels(client, exported, classifier, digits, name):
    """Keras' label wherever the file's own error cannot change it, whatever training came to; so
    the numbers of right labels differ by no more than the images near a boundary."""
    answers = client["models"][f"{name}.tflite"]["categories"]
    part = slice(TRAINING_IMAGES, TRAINING_IMAGES + TEST_IMAGES)
    truth = [LABELS[digit] for digit in digits[1][part]]
    images = normalised(digits[0][part])
    scores = scores_of(classifier, images, name)
    best, second = np.sort(scores, axis=-1)[:, :-3:-1].T
    sure = best - second > 2 * (error_of(exported, classifier, images, name) + KERNELS)
    keras_right = sum(LABELS[digit] == label for digit, label in zip(scores.argmax(-1), truth))
    client_right = sum(answer[0][0] == label for answer, label in zip(answers, truth))
    # Guessing has 6 right, with a standard deviation of 2.3.
    assert keras_right > 0.5 * TEST_IMAGES and sure.sum() > 0.5 * TEST_IMAGES
    assert abs(client_right - keras_right) <= (~sure).sum()
    assert [answer[0][0] for answer, clear in zip(answers, sure) if clear] == [
        LABELS[digit] for digit, clear in zip(scores.argmax(-1), sure) if clear
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, "program"])
def test_mediapipes_scores_sum_to_one(client, name):
    step = (
        1 / 256 if name == "program" or name.startswith("int8") else 0
    )  # of an int8 probability, rounded once for each class
    for answer in client["models"][f"{name}.tflite"]["categories"]:
        assert abs(sum(score for _, score in answer) - 1) <= 1e-3 + 10 * step / 2
    (logits,) = (
        answers["categories"]
        for file, answers in client["models"].items()
        if file == "logits.tflite"
    )
    assert any(abs(sum(score for _, score in answer) - 1) > 0.5 for answer in logits)


@pytest.mark.slow
def test_mediapipe_shows_the_probabilities_of_keras(client, exported, classifier, digits):
    """As far from Keras as our own runtime's are from the same file, two steps more, and what two
    steps of the logits make of a score."""
    images = normalised(digits[0][TRAINING_IMAGES : TRAINING_IMAGES + TEST_IMAGES])
    expected = scores_of(classifier, images, "float32")
    for name in FORMATS:
        tolerance = 1e-4
        if name != "float32":
            file = (exported[0] / f"{name}.tflite").read_bytes()
            tolerance = error_of(exported, classifier, images, name) + KERNELS
            tolerance += moved(Classifier(file).logits(images), 2 * step_of_logits(file))
        answers = [dict(answer) for answer in client["models"][f"{name}.tflite"]["categories"]]
        assert all(set(answer) == set(LABELS) for answer in answers)
        scores = np.array([[answer[label] for label in LABELS] for answer in answers])
        assert scores.shape == expected.shape
        assert (np.abs(scores - expected) <= tolerance).all(), name


@pytest.mark.slow
def test_a_strangers_reader_finds_every_field(client):
    """MediaPipe's generated reader of the public schema, not ours."""
    found = client["models"]["int8_uint8_input.tflite"]["metadata"]
    assert {
        name: found[name] for name in ("name", "author", "license", "description", "version")
    } == {
        "name": "digits",
        "author": "Ada",
        "license": "Apache-2.0",
        "description": "Zwölf Boxkämpfer",
        "version": "1",
    }
    assert [(file["name"], file["type"]) for file in found["associatedFiles"]] == [
        ("architecture.json", 1)
    ]
    image = found["subgraphMetadata"][0]["inputTensorMetadata"][0]
    assert (
        image["processUnits"][0]["options"] == {"mean": [127.5], "std": [127.5]}
        and image["processUnits"][0]["optionsType"] == 1
    )
    assert image["content"]["contentPropertiesType"] == 2
    assert image["content"]["contentProperties"] == {
        "colorSpace": 1,
        "defaultSize": {"width": 32, "height": 32},
    }
    assert image["stats"] == {"max": [1.0] * 3, "min": [-1.0] * 3}
    scores = found["subgraphMetadata"][0]["outputTensorMetadata"][0]
    assert [(file["name"], file["type"]) for file in scores["associatedFiles"]] == [
        ("labels.txt", 2)
    ]
    assert scores["content"]["contentPropertiesType"] == 1


@pytest.mark.slow
def test_our_tables_are_those_of_the_public_schema(client):
    """Every table of ours against the .fbs that MediaPipe ships: fields, their order and the
    members of unions."""
    source = re.sub(r"//[^\n]*", "", client["schema"])
    tables = {
        name: re.findall(r"(\w+)\s*:\s*(\[?)(\w+)\]?", body)
        for name, body in re.findall(r"table (\w+)\s*{([^}]*)}", source)
    }
    unions = {
        name: re.findall(r"\w+", body)
        for name, body in re.findall(r"union (\w+)\s*{([^}]*)}", source)
    }
    scalars = {"string", "uint", "int", "float"}
    enums = set(re.findall(r"enum (\w+)", source))
    for table, fields in metadata_schema.TABLES.items():
        public = tables[table]
        for field, (name, vector, kind) in zip(
            fields, public
        ):  # newer fields at the end are left alone
            expected = (
                kind
                if kind in scalars
                else "byte"
                if kind in enums
                else "union"
                if kind in unions
                else "table"
            )
            assert (field.name, field.kind) == (name, expected + ("s" if vector else ""))
            if kind in unions:
                assert len(field.of) == len(unions[kind])
                assert all(ours in (None, theirs) for ours, theirs in zip(field.of, unions[kind]))
            elif expected == "table":
                assert field.of == (kind,)
        assert len(fields) == len(public) or table == "SubGraphMetadata"
