"""What training leaves behind is read back to the bit; tools/train.py end to end on a folder of
JPEGs."""

import base64
import io
import json
import os

import numpy as np
import pytest
from forked_program import assert_refused, run
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.training.answers import load_answers
from pnas_tf.training.evaluate import evaluate
from pnas_tf.training.result import check_classes, restore_weights, save_result

ARCHITECTURE = Architecture(
    MBConvSpace(
        "micro",
        8,
        2,
        stem_width=8,
        first_width=8,
        stages=(Stage(8, 1, 2),),
        head_width=16,
        candidates=(MBConv(3, 3),),
        stem_stride=1,
    ),
    (MBConv(3, 3),),
)


@pytest.fixture
def jpegs(tmp_path):
    """Two classes that brightness tells apart."""
    generator = np.random.default_rng(0)
    for number in range(48):
        folder = tmp_path / "images" / ("bright" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 60, (14, 16, 3)) + 180 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.jpg")
    return tmp_path / "images"


def test_model_comes_back_to_the_bit(jpegs, tmp_path):
    dataset = load_dataset(DataConfig(dataset=f"folder:{jpegs}"), resolution=8)
    model = build_network(ARCHITECTURE)
    model.set_weights(seeded_weights(model, seed=0))
    document = save_result(model, dataset, tmp_path / "train", batch_size=8, seed=0)
    assert json.loads((tmp_path / "train/result.json").read_text()) == document
    assert (
        document["class_names"] == ["bright", "dark"]
        and document["test_images"] == dataset.test_size
    )
    again = build_network(ARCHITECTURE)
    restore_weights(again, tmp_path / "train")
    assert all(
        np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True)
    )
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == [
        "answers.json",
        "model.keras",
        "result.json",
    ]


@pytest.mark.slow
def test_the_answers_are_those_of_the_test_files(jpegs, tmp_path):
    """A network that answers "bright" always: the pictures are the dark files of the test split, as
    bright as those are."""
    dataset = load_dataset(DataConfig(dataset=f"folder:{jpegs}"), resolution=8)
    model = build_network(ARCHITECTURE)
    *weights, bias = (np.zeros_like(weight) for weight in model.get_weights())
    model.set_weights([*weights, bias + np.array([2.0, 0.0])])
    document = save_result(model, dataset, tmp_path, batch_size=8, seed=0)
    answers = load_answers(tmp_path / "answers.json")
    dark = [
        os.path.relpath(dataset.test_split.file_of(place), jpegs)
        for place, label in enumerate(dataset.test_split.labels)
        if label == 1
    ]
    assert [mistake.file for mistake in answers.mistakes] == dark and dark
    sure = 1 / (1 + np.exp(-2))
    assert np.allclose([mistake.score for mistake in answers.mistakes], sure, atol=1e-6)
    for mistake in answers.mistakes:
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(mistake.picture))))
        assert abs(seen.mean() - np.asarray(Image.open(jpegs / mistake.file)).mean()) < 8
    assert answers.accuracy == document["test_accuracy"] == 1 - len(dark) / dataset.test_size
    assert document["test_loss"] == pytest.approx(
        evaluate(model, dataset.test_batches(batch_size=8)).loss, rel=1e-5
    )


def test_absent_and_damaged_models_are_refused(tmp_path):
    model = build_network(ARCHITECTURE)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"trained network: no weights at .*model\.keras"):
        restore_weights(model, tmp_path)
    (tmp_path / "model.keras").write_bytes(b"PK half of it")
    with pytest.raises(UserError, match=r"trained network: weights .*model\.keras are damaged"):
        restore_weights(model, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_class_counts_must_agree(jpegs):
    dataset = load_dataset(DataConfig(dataset=f"folder:{jpegs}"), resolution=8)
    check_classes(2, dataset)
    with pytest.raises(UserError, match="another number of classes"):
        check_classes(10, dataset)


@pytest.mark.slow
def test_the_tool_on_a_folder_of_jpegs_and_again(jpegs, tmp_path):
    run_dir = tmp_path / "run"
    ARCHITECTURE.save(run_dir / "architecture.json")
    arguments = [
        f"--run_dir={run_dir}",
        f"--dataset=folder:{jpegs}",
        "--epochs=8",
        "--batch_size=8",
        "--learning_rate=0.1",
    ]
    first = run("train", *arguments, cwd=tmp_path)
    assert first.status == 0, first.output
    assert "test accuracy" in first.output
    assert "train 8/8: loss" in (run_dir / "log.txt").read_text()
    result = json.loads((run_dir / "train/result.json").read_text())
    # 10 images; of 24 trainings (12 seeds, oneDNN with SSE4.1 and with AVX-512) all were right in
    # each, and the loss was near its floor, the 0.2 of label smoothing.
    assert result["test_accuracy"] >= 0.8
    dataset = load_dataset(DataConfig(dataset=f"folder:{jpegs}"), resolution=8)
    model = build_network(ARCHITECTURE)
    restore_weights(model, run_dir / "train")
    assert result["test_accuracy"] == pytest.approx(
        evaluate(model, dataset.test_batches(batch_size=8)).accuracy
    )
    before = (run_dir / "train/result.json").read_bytes()
    for more, words in (
        ((), ""),
        (("--evaluate_epochs=3",), "--evaluate_epochs=3 changed nothing"),
    ):
        again = run("train", *arguments, *more, cwd=tmp_path)
        assert again.status == 0 and "complete, skipped" in again.output
        assert words in again.output and ("changed nothing" in again.output) == bool(more)
    assert (run_dir / "train/result.json").read_bytes() == before
    refused = run("train", f"--run_dir={run_dir}", "--batch_size=16", cwd=tmp_path)
    assert_refused(refused, "--batch_size")
