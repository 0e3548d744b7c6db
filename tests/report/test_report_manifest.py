"""Published models: the manifest names what is written, the card says what it is."""

import dataclasses

import pytest
from test_compare import SETTINGS, finished

from pnas_tf.devices.record import Delegation
from pnas_tf.devices.record_file import load_measurements, save_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.report.manifest import entries_of, publish, read_manifest, write_card
from pnas_tf.report.model_card import model_card
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import read_config, write_config


def test_a_refused_publication_leaves_the_models_as_they_were(tmp_path):
    """The second file is not measured: the first must not be there beside the old manifest."""
    one, two = (finished(tmp_path / name, ms=1.0) for name in ("one", "two"))
    with (two / "model_int8.tflite").open("ab") as file:
        file.write(b"exported anew")
    with RunFolder(one) as folder:
        publish(folder, tmp_path / "models", name="digits")
    before = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}
    with (
        RunFolder(two) as folder,
        pytest.raises(UserError, match="pnas benchmark"),
    ):
        publish(folder, tmp_path / "models", name="digits")
    assert {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()} == before
    for name, entry in read_manifest(tmp_path / "models").items():
        assert atomic.sha256_of(tmp_path / "models" / name) == entry["sha256"]


def card_of(folder, settings):
    write_config(folder, {**read_config(folder), **settings})
    with RunFolder(folder) as held:
        return entries_of(held), write_card(held).read_text()


def test_a_card_says_where_the_architecture_is_from(tmp_path):
    folder = finished(tmp_path / "one", ms=1.0)
    _, card = card_of(folder, {"ArchitectureConfig": {"architecture": "efficientnet_lite0"}})
    assert "Its architecture is that of `efficientnet_lite0` and has" in card
    assert "ProxylessNAS" not in card and "neural-architecture-search" not in card
    derivation = {"format": "pnas_tf/derivation", "version": 1, "networks": []}
    for origin, words in (
        ("searched", "found by ProxylessNAS"),
        ("a draw within the budget", "is a draw within the budget in the space `tiny`, not learnt"),
    ):
        atomic.write_json(folder / "derivation.json", {**derivation, "origin": origin})
        _, card = card_of(folder, {})
        assert words in card and ("was searched in" in card) == (origin == "searched")


def test_a_card_says_what_the_int8_file_takes(tmp_path):
    folder = finished(tmp_path / "one", ms=1.0)
    entries, card = card_of(folder, {})
    dtypes = {name: entry["input_dtype"] for name, entry in entries.items()}
    assert dtypes == {"model_float32.tflite": "float32", "model_int8.tflite": "uint8"}
    assert "An int8 file takes the pixels themselves (uint8), a\nfloat32 file" in card
    assert "takes (pixel - [127.5]) / [127.5]. The" in card
    pixels = {"normalization": {"mean": [0.0], "std": [1.0]}}
    taking = {name: {**entry, **pixels} for name, entry in entries.items()}
    assert "float32 file takes pixels from 0 to 255." in model_card("one", taking)
    floats = {name: {**entry, "input_dtype": "float32"} for name, entry in entries.items()}
    assert "An int8 file takes normalised pixels (float32), a" in model_card("one", floats)


@pytest.mark.parametrize("place", ["/home/me/private/photos", "/home/o'neil/private/photos"])
def test_where_the_images_lie_is_nobodys_business(tmp_path, place):
    folder = finished(tmp_path / "one", ms=1.0, dataset=f"folder:{place}")
    entries, card = card_of(folder, {})
    assert all(entry["dataset"] == "folder:photos" for entry in entries.values())
    assert "private" not in card and "private" not in str(entries)


def test_a_time_of_accelerator_and_processor_together_is_published_as_that(tmp_path):
    settings = dataclasses.replace(SETTINGS, delegate="gpu", partial_delegation=True)
    folder = finished(tmp_path / "one", ms=1.0, settings=settings)
    measured = load_measurements(folder / "latency.json")
    part = Delegation(3, 10, 2, 1, "SOFTMAX")
    for name, entry in measured.items():
        runs = tuple(dataclasses.replace(run, delegation=part) for run in entry.runs)
        measured[name] = dataclasses.replace(entry, runs=runs)
    save_measurements(folder / "latency.json", measured, sentinel_ms=1.0)
    entries, card = card_of(folder, {})
    assert all("partly on the CPU" in entry["latency_ms"]["partly"] for entry in entries.values())
    assert "ms (partly on the CPU: gpu executed" in card and "partial_delegation True" in card
