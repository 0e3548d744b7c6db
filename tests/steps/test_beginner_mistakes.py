"""What beginners type, each refused before TensorFlow is loaded by a message that is enough by
itself: it holds the words that lead on."""

import sys

import pytest
from typed_commands import called, typed


@pytest.fixture
def desk(tmp_path):
    """A working folder as people have it."""
    (tmp_path / "photos/cat").mkdir(parents=True)
    (tmp_path / "photos/dog").mkdir()
    (tmp_path / "my photos").mkdir()
    for name in ("labels.csv", "photos.zip", "notes.txt"):
        (tmp_path / name).write_text("path,label\n")
    return tmp_path


MISTAKES = {
    # which images
    "a folder without its prefix": (["run", "--dataset=photos"], ["--dataset=folder:photos"]),
    "the same with a slash": (["run", "--dataset=photos/"], ["--dataset=folder:photos/"]),
    "the same with a dot": (["run", "--dataset=./photos"], ["--dataset=folder:./photos"]),
    "an absolute path": (["run", "--dataset={desk}/photos"], ["--dataset=folder:{desk}/photos"]),
    "a folder that is not there": (["run", "--dataset=./photo"], ["no such path", "photos"]),
    "a folder misspelt": (["run", "--dataset=folder:photso"], ["no such path", "photos"]),
    "a prefix in capitals": (["run", "--dataset=Folder:photos"], ["--dataset=folder:photos"]),
    "a table without its prefix": (["run", "--dataset=labels.csv"], ["--dataset=csv:labels.csv"]),
    "a table for a folder": (["run", "--dataset=folder:labels.csv"], ["--dataset=csv:labels.csv"]),
    "a folder for a table": (["run", "--dataset=csv:photos"], ["--dataset=folder:photos"]),
    "an archive": (["run", "--dataset=folder:photos.zip"], ["archive", "Unpack"]),
    "a name of TFDS misspelt": (["search", "--dataset=cifra10"], ["cifar10", "cifra10"]),
    "a folder's name misspelt": (["search", "--dataset=photo"], ["folder:photos"]),
    # a variable of a script that is not set
    "no run folder": (["run", "--run_dir="], ["--run_dir", "not empty"]),
    "no dataset": (["run", "--dataset="], ["--dataset", "not empty"]),
    "no folder": (["run", "--dataset=folder:"], ["empty PATH"]),
    "no table": (["run", "--dataset=csv:"], ["empty PATH"]),
    "a blank": (["run", "--run_dir= "], ["--run_dir", "not empty"]),
    "no formats": (["export", "--formats="], ["--formats", "not empty"]),
    "a list with a hole": (["benchmark", "--models=a.tflite,,b.tflite"], ["--models", "not empty"]),
    "no device": (["run", "--device="], ["--device", "not empty"]),
    "no space": (["run", "--space="], ["--space", "not empty"]),
    "no target": (["run", "--target_latency_ms="], ["--target_latency_ms", "not empty"]),
    "no name": (["publish", "--model_name="], ["--model_name", "not empty"]),
    # how flags are written
    "a value without dashes": (["run", "dataset=digits"], ["Write --dataset=digits"]),
    "a dash that is none": (["run", "–epochs=3"], ["Write --epochs=3"]),
    "a blank in a path": (["run", "--dataset=folder:my", "photos"], ["in quotes", "photos"]),
    "a folder alone": (["run", "photos"], ["--dataset=folder:photos"]),
    "a hyphen for an underscore": (["run", "--batch-size=4"], ["--batch_size"]),
    "capitals": (["run", "--Epochs=3"], ["--epochs"]),
    "a letter too few": (["run", "--epoch=3"], ["--epochs"]),
    "an option of another program": (["train", "--warmup_epochs=3"], ["pnas run, search"]),
    "a number in words": (["train", "--epochs=many"], ["--epochs", "integer", "many"]),
    "half an epoch": (["train", "--epochs=1.5"], ["--epochs", "integer", "1.5"]),
    "a unit": (["run", "--target_latency_ms=40ms"], ["a number of ms", "=40"]),
    "a decimal comma": (["run", "--target_latency_ms=4,5"], ["a number of ms", "4,5"]),
    "a word that is no choice": (["run", "--algorithm=twopath"], ["two_path", "twopath"]),
    "no command": (["--dataset=digits"], ["pnas run --dataset=digits"]),
    "two commands": (["search", "train"], ["stray argument", "train"]),
    # which device, which files
    "the device's name": (["run", "--device=pixel"], ["android", "'pixel'"]),
    "a device in capitals": (["run", "--device=Android"], ["--device=android"]),
    "an address": (["run", "--device=pi@raspberrypi.local"], ["--device=ssh:pi@raspberrypi.local"]),
    "a delegate that this computer lacks": (["run", "--delegate=gpu"], ["--device=android"]),
    "a format's other name": (["export", "--formats=float32,fp16"], ["float16", "fp16"]),
    "a model that is not there": (["benchmark", "--models=absent.tflite"], ["absent.tflite"]),
    "a folder of models": (["benchmark", "--models=photos"], ["photos", "a folder"]),
    "a space that is none": (["run", "--space=mobilenet"], ["proxyless", "'mobilenet'"]),
    "a space file that is not there": (["run", "--space=mine.json"], ["mine.json"]),
    "a resolution too small": (["run", "--resolution=4"], ["--resolution", "at least 8"]),
    "no width": (["run", "--width=0"], ["--width", "above 0"]),
    "every image for testing": (["run", "--test_fraction=1"], ["--test_fraction", "below 1"]),
    "two ways that exclude each other": (
        ["search", "--engine=tape", "--jit_compile"],
        ["--engine=tape with --jit_compile"],
    ),
    "a tape for two": (
        ["run", "--engine=tape", "--strategy=mirrored", "--replicas=2"],
        ["2 replicas"],
    ),
    "a search before the table": (["search"], ["no latency table", "pnas latency-table"]),
    "a validation before the table": (["validate"], ["no latency table"]),
    "a training before the search": (["train"], ["no architecture", "pnas search"]),
    "an export before the search": (["export"], ["no architecture"]),
    "replicas without a strategy": (["train", "--replicas=2"], ["--strategy=mirrored"]),
    "a cluster without its variable": (["train", "--strategy=multi_worker"], ["TF_CONFIG"]),
    "a name with a dot": (["publish", "--model_name=My.Model"], ["--model_name", "lower-case"]),
    "a run folder that is a file": (["train", "--run_dir=notes.txt"], ["cannot be used"]),
    "no file to inspect": (["inspect"], ["model"]),
    "a file that is no model": (["inspect", "notes.txt"], ["notes.txt"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_is_enough(desk, name):
    words, expected = MISTAKES[name]
    before = sorted(desk.rglob("*"))
    told = typed(*(word.format(desk=desk) for word in words), cwd=desk)
    assert told.returncode == 2 and "Traceback" not in told.stderr, told.stderr
    for part in expected:
        assert part.format(desk=desk) in told.stderr, told.stderr
    assert not told.loaded, told.stderr  # TensorFlow takes 3 to 20 s
    assert sorted(desk.rglob("*")) == before


def test_help_in_every_way_that_people_ask_for_it(desk):
    for words in (["help"], ["-h"], ["help", "search"], ["search", "help"], ["search", "-h"], []):
        told = typed(*words, cwd=desk)
        assert told.returncode == 0 and "pnas" in told.stdout, (words, told.stderr)
        assert ("--search_epochs" in told.stdout) == ("search" in words)


def test_the_package_is_a_program_too(desk):
    told = called([sys.executable, "-m", "pnas_tf", "--version"], cwd=desk)
    assert told.returncode == 0 and told.stdout.startswith("pnas_tf ")


def test_home_is_meant_by_a_tilde_behind_the_equals_sign(desk):
    told = typed(
        "search", "--run_dir=~/here", "--dataset=csv:~/labels.csv", cwd=desk, HOME=str(desk)
    )
    assert str(desk / "here/latency_table.json") in told.stderr or "labels.csv" in told.stderr
    assert not (desk / "~").exists()
