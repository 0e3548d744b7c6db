"""What training runs on is said, a card that lies idle is told of, and children see none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from PIL import Image

from pnas_tf import _tf_private
from pnas_tf.config import DistributionConfig
from pnas_tf.io import json_child
from pnas_tf.latency import models
from pnas_tf.run import accelerators
from pnas_tf.run.processors import usable_cores
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.training import devices_used
from pnas_tf.training.devices_used import device_lines
from pnas_tf.training.distribution import Distribution

ROOT = Path(__file__).resolve().parents[2]
NOISE = (
    "I0000 00:00:1.2   1 cudart_stub.cc:31] Could not find cuda drivers on your machine.\n"
    "E0000 00:00:1.2   1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without a card; a function puts one in."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(accelerators, "PCI_DEVICES", tmp_path / "pci")

    def with_card(said="GPU 0: NVIDIA H200 (UUID: GPU-1-2)", status=0):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\necho '{said}'\nexit {status}\n")
        tool.chmod(0o755)

    return with_card


def test_the_cpu_is_named_in_one_line(machine):
    lines = device_lines(Distribution(), NOISE)
    assert lines == [f"training runs on: the CPU ({usable_cores()} cores)"]


def test_a_strategy_that_found_one_device_says_so(machine):
    options = DistributionConfig(strategy="mirrored")
    alone, two = (
        device_lines(Distribution(None, replicas, options), NOISE)
        for replicas in (Replicas(), Replicas(("CPU:0", "CPU:1"), 2))
    )
    assert "--strategy=mirrored found one device" in alone[1] and len(two) == 1


def test_a_card_that_lies_idle_is_told_with_the_package_and_tensorflows_reason(machine):
    machine()
    _, warning = device_lines(Distribution(), NOISE)
    assert warning.startswith("WARNING NVIDIA H200 is not used (failed call to cuInit")
    assert f"pip install 'tensorflow[and-cuda]=={tf.__version__}'" in warning


def test_with_the_libraries_it_is_the_driver(machine, monkeypatch):
    machine()
    monkeypatch.setattr(devices_used, "_has_libraries", lambda: True)
    assert "driver" in device_lines(Distribution(), "")[1]


@pytest.mark.parametrize("value", ["-1", ""])
def test_a_card_that_is_hidden_on_purpose_is_no_warning(machine, monkeypatch, value):
    machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    told = "\n".join(device_lines(Distribution(), NOISE))
    assert "WARNING" not in told and "hidden by CUDA_VISIBLE_DEVICES" in told


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0", "is not used"),
        ("0,7", "is not used"),  # CUDA takes those before the first that is no card
        ("GPU-1-2", "is not used"),
        ("7", "CUDA_VISIBLE_DEVICES=7 is the number of no card: there is 1 card"),
        ("1,0", "CUDA_VISIBLE_DEVICES=1,0 is the number of no card"),
        ("NoDevFiles", "hidden by CUDA_VISIBLE_DEVICES=NoDevFiles"),
    ],
)
def test_what_hides_a_card_is_no_missing_library(machine, monkeypatch, value, words):
    machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    told = device_lines(Distribution(), NOISE)[1]
    assert words in told and ("pip install" in told) == ("not used" in words)


def test_a_card_without_a_driver(machine, tmp_path):
    machine(said="NVIDIA-SMI has failed because it could not communicate with the driver", status=9)
    for name, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x040300")):
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "pci" / name / "class").write_text(f"{kind}\n")
    assert len(device_lines(Distribution(), NOISE)) == 1  # Intel's, and the sound of a card
    (tmp_path / "pci/b/class").write_text("0x030200\n")
    assert "no driver" in device_lines(Distribution(), NOISE)[1]


def test_cards_in_use_are_named(machine, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    details = {"device_name": "NVIDIA A100"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda card: details)
    (line,) = device_lines(Distribution(), "")
    assert line.startswith("training runs on: NVIDIA A100 (GPU:0); one of 2 GPUs: --strategy=mirr")
    both = Distribution(replicas=Replicas(("GPU:0", "GPU:1"), 4, 0))
    (line,) = device_lines(both, "")
    assert "(GPU:0), NVIDIA A100 (GPU:1), on each of 2 workers" in line


def test_children_see_no_card(monkeypatch):
    started = {}
    monkeypatch.setattr(
        json_child.subprocess, "Popen", lambda _, **options: started.update(options)
    )
    with pytest.raises(AttributeError):  # nothing was started
        json_child.JsonChild("pnas_tf.io.isolated_worker", environment={"OWN": "1"})
    assert started["env"]["CUDA_VISIBLE_DEVICES"] == "-1" and started["env"]["OWN"] == "1"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="the path is not safe before Python 3.11")
def test_converters_see_no_card_and_no_file_of_the_working_folder(tmp_path, monkeypatch):
    for name in ("signal", "socket", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with models.converters(1) as pool:
        assert pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result(120) == "-1"
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.slow
def test_what_is_said_while_tensorflow_loads_is_kept_from_the_terminal(tmp_path):
    command = "from pnas_tf.cli.main import main; main()"
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / name / "only.png")
    flags = ["--run_dir=run", "--dataset=folder:photos"]
    told = subprocess.run(
        [sys.executable, "-c", command, "run", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert told.returncode == 2 and "too few images" in told.stderr
    assert "training runs on: " in told.stdout
    assert "cuInit" not in told.stderr and ".cc:" not in told.stderr, told.stderr


def test_python_keeps_its_standard_error_meanwhile(capfd, monkeypatch):
    def listed():
        os.write(2, b"of C++")
        print("of Python", file=sys.stderr)

    monkeypatch.setattr(tf.config, "list_physical_devices", listed)
    assert _tf_private.load_quietly() == "of C++"
    assert capfd.readouterr().err == "of Python\n"
