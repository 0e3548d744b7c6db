"""The report's figures in closed form, the refusals, and files that are no models."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.network import with_probabilities
from pnas_tf.tflite.classifier import Classifier, quantized, real
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.model import TfliteModel, without_softmax
from pnas_tf.tflite.parity import Tally, check_parity, compare, report_of
from pnas_tf.tflite.parity_report import ParityReport, load_reports, save_reports

SOUND = ParityReport("float32", 100, 1e-5, 1e-6, 9.0, 1.0, 0.9, 0.9, 1000)


def tiny_model() -> keras.Model:
    image = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(image))
    return keras.Model(image, keras.layers.Dense(3)(x))


def test_figures_in_closed_form() -> None:
    ours = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    theirs = ours + np.array(
        [[0.0, 0.5], [0.0, 0.0], [-4.0, 0.0], [0.0, 0.0]]
    )  # the third now says class 1
    report = report_of(ours, theirs, np.array([0, 1, 0, 0]), dtype="int8", size_bytes=7)
    assert (report.max_logit_difference, report.mean_logit_difference, report.max_logit) == (
        4.0,
        4.5 / 8,
        4.0,
    )
    assert (report.top1_agreement, report.keras_accuracy, report.tflite_accuracy) == (
        0.75,
        0.75,
        0.5,
    )
    assert report.accuracy_drop == 0.25
    assert report_of(ours, theirs, None, dtype="int8", size_bytes=7).accuracy_drop is None


def test_compares_through_the_interpreter_in_batches() -> None:
    model = tiny_model()
    images = np.random.default_rng(0).normal(size=(7, 4, 4, 3)).astype(np.float32)
    labels = model(images).numpy().argmax(-1)
    content = convert(model, "float32")
    report = compare(
        model, content, [(images[:4], labels[:4]), (images[4:], labels[4:])], dtype="float32"
    )
    assert report.images == 7 and report.size_bytes == len(content)
    assert (
        report.max_logit_difference < 1e-5
        and report.top1_agreement == report.keras_accuracy == report.tflite_accuracy == 1
    )
    changed = keras.models.clone_model(model)  # other weights: parity must see it
    assert (
        compare(changed, content, [(images, labels)], dtype="float32").max_logit_difference > 1e-2
    )
    with pytest.raises(UserError, match="at least one batch"):
        compare(model, content, [], dtype="float32")
    with pytest.raises(UserError, match="images for the model"):
        Classifier(content).logits(images[:, :3])


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": "float32"},
        {"dtype": "int8"},
        {"dtype": "int8", "input_type": "uint8", "output_type": "uint8"},
        {"dtype": "int8", "output_type": "float32"},
        {"dtype": "dynamic_int8"},
    ],
)
def test_logits_are_compared_behind_a_softmax_too(how: dict) -> None:
    model = tiny_model()
    images = np.random.default_rng(0).normal(size=(64, 4, 4, 3)).astype(np.float32)
    labels = model(images).numpy().argmax(-1)
    content = convert(with_probabilities(model), representative=images, **how)
    np.testing.assert_allclose(Classifier(content).logits(images).sum(-1), 1, atol=3 / 256)
    files = (content, convert(model, representative=images, **how))
    report, plain = (compare(model, file, [(images, labels)], dtype="x") for file in files)
    assert report.max_logit_difference == pytest.approx(
        plain.max_logit_difference, rel=0.3, abs=1e-5
    )  # of logits, not of probabilities
    assert plain.max_probability_difference is None and 0 <= report.max_probability_difference < (
        1e-6 if how["dtype"] == "float32" else 0.05
    )
    scores = Classifier(content).logits(images)
    assert report.tflite_accuracy == np.mean(scores.argmax(-1) == labels)
    assert without_softmax(convert(model, "float32")) == convert(model, "float32")
    assert TfliteModel(content).has_softmax
    assert not TfliteModel(without_softmax(content)).has_softmax


def test_bounds() -> None:
    config = ExportConfig(max_logit_difference=1e-4, max_accuracy_drop=0.02)
    check_parity(SOUND, config)
    quantised = replace(SOUND, dtype="int8", max_logit_difference=2.0, tflite_accuracy=0.885)
    check_parity(quantised, config)  # logits of int8 are not bounded, its accuracy is
    for report, message in (
        (replace(SOUND, max_logit_difference=1e-3), "departs"),  # more than 1e-4 of 9
        (replace(SOUND, max_logit=0.5, max_logit_difference=2e-4), "departs"),  # absolute below 1
        (replace(SOUND, max_logit_difference=float("nan")), "no numbers"),
        (replace(SOUND, max_probability_difference=2e-4), "departs"),
        (replace(SOUND, max_logit_difference=math.inf, max_logit=math.inf), "no numbers"),
        (replace(SOUND, max_probability_difference=math.nan), "no numbers"),
        (replace(quantised, max_logit_difference=math.nan), "int8 export gives no numbers"),
        (replace(SOUND, dtype="float16", max_logit=math.nan), "float16 export gives no numbers"),
        (replace(quantised, tflite_accuracy=0.87), "loses accuracy"),
        (replace(quantised, top1_agreement=0.59), "other answers"),
        (replace(SOUND, top1_agreement=math.nan), "other answers"),
    ):
        with pytest.raises(UserError, match=message):
            check_parity(report, config)
    for quantize, helps in (("ptq", "--quantize=qat"), ("qat", "--finetune_epochs")):
        with pytest.raises(UserError) as refused:
            check_parity(
                replace(quantised, tflite_accuracy=0.5), replace(config, quantize=quantize)
            )
        assert helps in refused.value.fix


@pytest.mark.parametrize("images", [7, 50, 1000])
def test_a_drop_is_refused_where_the_images_prove_it(images: int) -> None:
    """Files that answer a tenth of the images otherwise, right as often as wrong, lose nothing: by
    the normal approximation 2.3 % of them would be refused without a bound of 2 points, so that 60
    and more of 1000 come once in 10^9 runs. Files that lose a third of the images always are
    refused."""
    config, generator = ExportConfig(), np.random.default_rng(images)
    refused = 0
    for _ in range(1000):
        moved = generator.random(images) < 0.1
        drop = np.where(moved, generator.choice([-1, 1], images), 0).mean()
        report = replace(
            SOUND,
            dtype="int8",
            images=images,
            top1_agreement=1 - moved.mean(),
            keras_accuracy=0.8,
            tflite_accuracy=0.8 - drop,
        )
        try:
            check_parity(report, config)
        except UserError:
            refused += 1
    assert refused < 60
    lost = max(5, images // 3)
    broken = replace(report, top1_agreement=1 - lost / images, tflite_accuracy=0.8 - lost / images)
    with pytest.raises(UserError, match="loses accuracy"):
        check_parity(broken, replace(config, min_agreement=0.0))


@pytest.mark.parametrize("often", [60, 96, 99])
def test_a_file_that_never_changes_its_answer_is_refused(often: int) -> None:
    """Where so many of 100 images are of one class, it agrees with Keras on them and is as often
    right. Rare answers that are few prove nothing: 3 of 300."""
    answers = np.r_[np.zeros(3 * often, int), np.ones(300 - 3 * often, int)]
    keras_logits = np.eye(2)[answers]
    sound = np.where(np.arange(300)[:, None] % 50 == 49, keras_logits[:, ::-1], keras_logits)
    stuck = np.tile([1.0, 0.0], (300, 1))
    config = ExportConfig(max_accuracy_drop=1.0)
    files = [
        report_of(keras_logits, theirs, answers, dtype="int8", size_bytes=1)
        for theirs in (sound, stuck, keras_logits)
    ]
    check_parity(files[0], config)
    check_parity(files[2], config)
    assert files[1].top1_agreement == often / 100
    if often == 99:
        check_parity(files[1], config)
        return
    with pytest.raises(UserError, match="other answers") as error:
        check_parity(files[1], config)
    assert "50.00 % on average of those of each class" in error.value.received
    assert sum(files[1].answered_by_class) == 300 and files[1].agreed_by_class == (3 * often, 0)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_the_bound_follows_the_scale_of_the_logits(scale: float) -> None:
    """float32 rounds by a part of a number: what is sound at 1 is sound at 1,000. One weight that
    is wrong by a twentieth is refused at every scale."""
    model = wide_model(16, classes=10, scale=scale)
    images = np.random.default_rng(0).normal(size=(64, 4, 4, 3)).astype(np.float32)
    config = ExportConfig()
    for ending in (lambda network: network, with_probabilities):
        content = convert(ending(model), "float32")
        report = compare(model, content, [(images, np.zeros(64, int))], dtype="float32")
        assert report.max_logit == pytest.approx(scale, rel=1e-3)
        check_parity(report, config)
        # As float32 rounds: the largest logit by a hundredth of a thousandth.
        rounded = replace(report, max_logit_difference=1.1e-5 * scale)
        check_parity(rounded, config)
        changed = keras.models.clone_model(model)
        weights = model.get_weights()
        place = np.unravel_index(np.abs(weights[0]).argmax(), weights[0].shape)
        weights[0][place] *= 1.05
        changed.set_weights(weights)
        report = compare(changed, content, [(images, np.zeros(64, int))], dtype="float32")
        with pytest.raises(UserError, match="departs"):
            check_parity(report, config)


def wide_model(features: int, *, classes: int, scale: float = 1.0) -> keras.Model:
    """Its largest logit on the images of the tests is `scale`."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(features, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(classes)(x))
    images = np.random.default_rng(0).normal(size=(64, 4, 4, 3)).astype(np.float32)
    largest = np.abs(model(images)).max()
    model.layers[-1].set_weights([w * scale / largest for w in model.layers[-1].get_weights()])
    return model


def test_figures_are_the_same_in_one_batch_and_in_many() -> None:
    generator = np.random.default_rng(0)
    ours, theirs = generator.normal(size=(2, 50, 7))
    labels = generator.integers(0, 7, 50)
    shares = np.exp(theirs) / np.exp(theirs).sum(-1, keepdims=True)
    whole = report_of(ours, theirs, labels, dtype="x", size_bytes=1, probabilities=shares)
    tally = Tally()
    for part in (slice(0, 3), slice(3, 40), slice(40, 50)):
        tally.add(ours[part], theirs[part], labels[part], probabilities=shares[part])
    parts = tally.report(dtype="x", size_bytes=1)
    assert parts.mean_logit_difference == pytest.approx(whole.mean_logit_difference, rel=1e-12)
    assert replace(parts, mean_logit_difference=0) == replace(whole, mean_logit_difference=0)
    right = labels[shares.argmax(-1) == labels]
    assert whole.right_by_class == tuple(np.bincount(right, minlength=7))
    assert whole.max_logit_difference == np.abs(ours - theirs).max()
    assert whole.keras_accuracy == (ours.argmax(-1) == labels).mean()
    tally.add(ours[:1] * np.nan, theirs[:1], labels[:1], probabilities=shares[:1])
    tally.add(ours[:1], theirs[:1], labels[:1], probabilities=shares[:1])
    assert np.isnan(tally.report(dtype="x", size_bytes=1).max_logit_difference)


def test_reports_come_back_and_damage_is_named(tmp_path: Path) -> None:
    path = save_reports(
        tmp_path / "parity.json",
        validation={"model_float32.tflite": replace(SOUND, images=50)},
        test={"model_float32.tflite": SOUND},
    )
    assert load_reports(path) == {"model_float32.tflite": SOUND}
    assert load_reports(path, split="validation")["model_float32.tflite"].images == 50
    path.write_text(path.read_text().replace('"images"', '"pictures"'))
    with pytest.raises(UserError, match="parity report"):
        load_reports(path)


def test_reports_of_the_test_split_alone_are_read_as_such(tmp_path: Path) -> None:
    models = {"model_float32.tflite": SOUND.to_json()}
    path = atomic.write_json(
        tmp_path / "parity.json", {"format": "pnas_tf/parity", "version": 1, "models": models}
    )
    assert load_reports(path) == {"model_float32.tflite": SOUND}
    with pytest.raises(UserError, match="validation figures"):
        load_reports(path, split="validation")


@pytest.mark.parametrize("entry", [None, [], {}, {"test": SOUND.to_json()}, SOUND.to_json()])
def test_a_file_without_both_splits_is_refused(entry: object, tmp_path: Path) -> None:
    document = {"format": "pnas_tf/parity", "version": 2, "models": {"model_int8.tflite": entry}}
    path = atomic.write_json(tmp_path / "parity.json", document)
    with pytest.raises(UserError, match="validation and test"):
        load_reports(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-200],
        lambda content: content[:300],
        lambda content: b"PK" + b"0" * 500,
        lambda content: content[:4] + b"TFL9" + content[8:],
    ],
)
def test_refuses_files_that_are_no_models(damage) -> None:
    with pytest.raises(UserError, match="the file"):
        TfliteModel.examined(damage(convert(tiny_model(), "float32")), where="the file")


def test_quantisation_round_trip_is_within_half_a_step_and_saturates() -> None:
    detail = {"dtype": np.uint8, "quantization": (0.1, 3)}
    values = np.linspace(-0.3, 25.2, 1001).astype(np.float32)
    assert np.abs(real(quantized(values, detail), detail) - values).max() <= 0.0501
    np.testing.assert_array_equal(quantized(np.array([-9.0, 99.0]), detail), [0, 255])
    integers = {"dtype": np.uint8, "quantization": (0.0, 0)}  # as where the model casts them
    np.testing.assert_array_equal(quantized(np.array([0.0, 7.0, 300.0]), integers), [0, 7, 255])
    plain = {"dtype": np.float32, "quantization": (0.0, 0)}
    np.testing.assert_array_equal(real(quantized(values, plain), plain), values)


def test_no_image_has_no_answer() -> None:
    classifier = Classifier(convert(tiny_model(), "float32"))
    assert classifier.logits(np.zeros((0, 4, 4, 3))).shape == (0, 3)
