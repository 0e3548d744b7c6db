"""Summary, report and model card of a network whose search is no part of its run: what they say of
it, and that they are written as soon as all is there and of one network."""

import json
import shutil

import pytest
from test_compare import finished
from test_report import titles

from pnas_tf.io import atomic
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.records import StepRecord, read_steps, write_steps
from pnas_tf.run.settings import Configs, read_config, write_config
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.steps.closing import close_network
from pnas_tf.steps.inputs import Inputs

STEPS = {
    "train": ("train/result.json", ["architecture.json"]),
    "export": ("parity.json", ["architecture.json"]),
    "benchmark": ("latency.json", ["model_float32.tflite", "model_int8.tflite"]),
}
SOURCE = "efficientnet_lite0, trained on ImageNet"


@pytest.fixture
def folder(tmp_path):
    """As `pnas train --architecture --pretrained`, `pnas export` and `pnas benchmark` leave it."""
    folder = finished(tmp_path / "run", ms=1.0)
    for name in ("search", "summary.json", "latency_table.json", "sweep.json", "validation.json"):
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    result = {"pretrained": {"source": SOURCE, "new": []}}
    atomic.write_json(folder / "train/result.json", result)
    named = {"ArchitectureConfig": {"architecture": "efficientnet_lite0"}}
    write_config(folder, {**read_config(folder), **named})
    record(folder)
    return folder


def record(folder, *more):
    """The steps of the folder, made of what is there."""
    steps = {}
    for name, (left, files) in STEPS.items():
        made_from = [(each, {"sha256": atomic.sha256_of(folder / each)}) for each in files]
        outputs = {left: atomic.sha256_of(folder / left)}
        steps[name] = StepRecord("0", {"files": made_from}, outputs=outputs, duration_s=3.0)
    write_steps(folder, {**steps, **{name: StepRecord("0") for name in more}})


def close(folder, capsys, *, written=()):
    with TERMINAL.speaking(), RunFolder(folder) as held:
        held.written += written
        close_network(Inputs(held, Configs([])))
    return capsys.readouterr().out


def test_a_network_without_a_search_gets_its_report(folder, capsys):
    told = close(folder, capsys)
    assert "report.html" in told and SOURCE in told and "search" not in told
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["pretrained"] == SOURCE and summary["dataset"] == "digits"
    assert summary["objective"] is summary["target"] is summary["search_s"] is None
    assert summary["train_s"] == 3.0 and summary["latency_ms"]["int8"]["warnings"] == []
    page = (folder / "report.html").read_text()
    assert SOURCE in page and "The architecture" in titles(page)
    assert "The search" not in titles(page) and "possible networks" not in page
    assert "searches" not in page and "pnas train" in page
    card = (folder / "model_card.md").read_text()
    assert f"Its weights go back to those of {SOURCE}." in card
    assert "is that of `efficientnet_lite0`" in card


def test_a_network_of_a_file_is_not_called_searched(folder, capsys):
    write_config(folder, {"DataConfig": {"dataset": "digits"}})
    close(folder, capsys)
    card = (folder / "model_card.md").read_text()
    assert "is that of `architecture.json`" in card and "ProxylessNAS" not in card
    assert "pnas train" in card and "pnas run" not in card


def test_what_is_not_finished_or_has_a_search_is_left_to_its_programs(folder, capsys):
    (folder / "report.html").touch()
    record(folder, "search")
    told = close(folder, capsys, written=["parity.json"])
    assert f"report.html is from before that: pnas run --run_dir={folder}" in told
    record(folder)
    with (folder / "architecture.json").open("a") as file:
        file.write(" ")  # another network, which is not yet trained
    told = close(folder, capsys, written=["architecture.json"])
    assert f"pnas train, pnas export and pnas benchmark, each with --run_dir={folder}" in told
    record(folder)
    shutil.copy(folder / "model_int8.tflite", folder / "model_float32.tflite")  # not measured
    close(folder, capsys)
    assert (folder / "report.html").read_bytes() == b"" and not (folder / "summary.json").exists()
    record(folder)
    write_steps(folder, {"train": read_steps(folder)["train"]})
    assert "report.html" not in close(folder, capsys)
