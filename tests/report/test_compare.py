"""Runs beside one another: grouped by images, device and settings, and the front of each group held
to a brute-force oracle."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_report import SUMMARY, Page

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.devices.record_file import save_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.report.compare import Network, compare_runs, with_front
from pnas_tf.report.comparison_page import (
    comparison_json,
    comparison_page,
    comparison_text,
    front_figure,
)
from pnas_tf.report.figures import BLUE
from pnas_tf.report.manifest import entries_of, write_card
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.records import StepRecord, write_steps
from pnas_tf.run.settings import write_config
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.steps.compare import main
from pnas_tf.tflite.parity import report_of
from pnas_tf.tflite.parity_report import save_reports

MODELS = Path(__file__).parents[2] / "tflite_models"
DEVICE = Device("host", "a laptop", "a CPU", (0,))
SETTINGS = Settings("LiteRT", "2.3.0", "xnnpack", 1)


def finished(
    folder,
    *,
    ms,
    right=90,
    images="i",
    dataset="digits",
    device=DEVICE,
    settings=SETTINGS,
    pace=1.0,
    shape=(1, 32, 32, 3),
):
    """A run folder with what a comparison reads; `right` of 100 images, the same in both files."""
    folder.mkdir(parents=True)
    random_architecture(tiny(), seed=3).save(folder / "architecture.json")
    sizes = {"size_bytes": {"float32": 1000, "int8": 1000}, "ram_bytes": {"int8": 64_000}}
    atomic.write_json(folder / "summary.json", {**SUMMARY, **sizes})
    labels = np.arange(100) % 10
    logits = np.eye(10)[np.where(np.arange(100) < right, labels, (labels + 1) % 10)]
    reports = {
        f"model_{dtype}.tflite": report_of(logits, logits, labels, dtype=dtype, size_bytes=1000)
        for dtype in ("float32", "int8")
    }
    save_reports(folder / "parity.json", validation=reports, test=reports)
    for name in reports:
        content = (MODELS / name.replace("model", "digits")).read_bytes()
        (folder / name).write_bytes(content + folder.name.encode())
    measured = {
        f"model_{dtype}": Measurement(
            device,
            settings,
            ModelFacts(atomic.sha256_of(folder / f"model_{dtype}.tflite"), 1000, dtype, shape),
            (ModelRun((ms * 1e6 * factor,) * 8, statistic="invocation"),),
        )
        for dtype, factor in (("float32", 1.0), ("int8", 0.5))
    }
    save_measurements(folder / "latency.json", measured, sentinel_ms=pace)
    known = {"classes": ["a"], "images": images, "splits": {"test": images}}
    write_steps(folder, {"train": StepRecord("0", made_from={"identity": {"dataset": known}})})
    write_config(folder, {"DataConfig": {"dataset": dataset}})
    return folder


def names(groups):
    return [[f"{each.run} {each.dtype}" for each in group.networks] for group in groups]


@pytest.mark.parametrize(
    "other",
    [
        {"images": "others"},
        {"device": dataclasses.replace(DEVICE, model="a phone")},
        {"settings": dataclasses.replace(SETTINGS, threads=4)},
        {"settings": dataclasses.replace(SETTINGS, runtime_version="2.4.0")},
        {"shape": (8, 32, 32, 3)},
        {"device": dataclasses.replace(DEVICE, cores=())},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_cannot_be_compared_stands_apart(tmp_path, other):
    one = finished(tmp_path / "one", ms=1.0)
    same = finished(
        tmp_path / "same", ms=2.0, right=95, device=dataclasses.replace(DEVICE, cores=(1,))
    )
    apart = finished(tmp_path / "apart", ms=0.1, right=99, **other)
    groups = compare_runs([one, same, apart, one])
    assert names(groups) == [
        ["one float32", "one int8", "same float32", "same int8"],
        ["apart float32", "apart int8"],
    ]
    # Though it beats all, it takes nothing from the front of the others.
    assert [each.front for each in groups[0].networks] == [False, True, False, True]
    text = comparison_text(groups)
    assert "A: digits" in text and "B: digits" in text and "cannot be compared" in text
    assert "cannot be compared" not in comparison_text(groups[:1])


@pytest.mark.parametrize("columns", [40, 80])
def test_a_comparison_fits_the_terminal_whatever_its_runs_are_called(tmp_path, columns):
    long = finished(tmp_path / "photographs of the summer of 2026, second try", ms=1.0)
    groups = compare_runs([long, finished(tmp_path / "b", ms=123.4, right=95)])
    lines = comparison_text(groups, columns=columns).splitlines()
    told = [line for line in lines if not line.startswith(("A: ", "*: "))]
    assert max(map(len, told)) <= max(columns, len(long.name) + 10)  # a name is not broken
    assert any(line.split()[:3] == ["*", "int8", "95.00"] for line in lines) or columns < 80
    assert "  latency: 123 ms" in lines or columns >= 80


def test_the_same_images_are_compared_whatever_they_are_called(tmp_path):
    one = finished(tmp_path / "one", ms=1.0, dataset="folder:photos")
    two = finished(tmp_path / "two", ms=2.0, dataset="folder:/home/me/photos")
    (group,) = compare_runs([one, two])
    assert names([group]) == [["one float32", "one int8", "two float32", "two int8"]]
    assert group.dataset == "folder:photos"


def test_a_run_by_single_programs_has_no_summary(tmp_path):
    """As of `pnas train --architecture`, export and benchmark."""
    folder = finished(tmp_path / "one", ms=1.0)
    assert [each.ram_bytes for each in compare_runs([folder])[0].networks] == [None, 64_000]
    atomic.write_json(folder / "summary.json", {**SUMMARY, "ram_bytes": {"int8": 1}})  # of others
    assert [each.ram_bytes for each in compare_runs([folder])[0].networks] == [None, None]
    (folder / "summary.json").unlink()
    (group,) = compare_runs([folder])
    assert names([group]) == [["one float32", "one int8"]] and group.dataset == "digits"


def test_runs_that_do_not_say_which_images_are_never_compared(tmp_path):
    folders = [finished(tmp_path / name, ms=1.0) for name in "ab"]
    assert len(compare_runs(folders)) == 1
    for folder in folders:
        (folder / "steps.json").unlink()
    groups = compare_runs(folders)
    assert len(groups) == 2 and "not known which images" in comparison_text(groups)


def test_a_measurement_of_another_file_is_not_taken_for_that_of_an_exported_one(tmp_path):
    folder = finished(tmp_path / "one", ms=1.0)
    with (folder / "model_int8.tflite").open("ab") as file:
        file.write(b"exported anew")
    assert names(compare_runs([folder])) == [["one float32"]]
    with RunFolder(folder) as held:
        entries = entries_of(held)
    assert entries["model_int8.tflite"]["latency_ms"] is None
    assert entries["model_float32.tflite"]["latency_ms"]["median"] == pytest.approx(1.0)


def test_files_of_another_image_size_have_the_macs_of_that(tmp_path):
    folder = finished(tmp_path / "one", ms=1.0, shape=(8, 64, 64, 3))
    trained = random_architecture(tiny(), seed=3)
    space = dataclasses.replace(trained.space, resolution=64)
    exported = dataclasses.replace(trained, space=space)
    (group,) = compare_runs([folder])
    assert {network.macs for network in group.networks} == {exported.macs} != {trained.macs}
    with RunFolder(folder) as held:
        entry = entries_of(held)["model_int8.tflite"]
        card = write_card(held).read_text()
    assert entry["architecture"] == exported.to_json() and entry["batch"] == 8
    assert f"{exported.macs:,} MACs" in card and "8 pictures at once, 64 x 64 pixels" in card
    assert "one inference of 8 pictures on" in card


def test_the_front_is_what_nothing_beats():
    generator = np.random.default_rng(0)
    for size in range(1, 12):
        networks = [
            Network(str(n), "int8", accuracy / 5, 100, float(ms), None, None, None, 1)
            for n, (accuracy, ms) in enumerate(generator.integers(0, 5, (size, 2)))
        ]
        networks.append(Network("unknown", "int8", None, 0, 1.0, None, None, None, 1))
        for network in with_front(networks):
            beaten = network.accuracy is None or any(
                other.latency_ms <= network.latency_ms
                and other.accuracy >= network.accuracy
                and (other.latency_ms, other.accuracy) != (network.latency_ms, network.accuracy)
                for other in networks[:-1]
            )
            assert network.front != beaten
        axes = front_figure(with_front(networks)).axes[0]
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        front = [dot.get_xdata()[0] for dot in dots if to_hex(dot.get_color()) == BLUE]
        assert sorted(front) == sorted(n.latency_ms for n in with_front(networks) if n.front)


def test_another_pace_of_the_device_and_few_images_are_said(tmp_path):
    quick = finished(tmp_path / "quick", ms=1.0, right=92, pace=0.5)
    slow = finished(tmp_path / "slow", ms=1.1, right=90, pace=0.6)
    (group,) = compare_runs([quick, slow])
    pace, few = group.notes
    assert pace.startswith("the device was 20.0 % slower when slow was measured than for quick")
    assert few.startswith("4 of 4 networks")
    # far apart and at one pace: nothing to say but of the run's own other file
    far = finished(tmp_path / "far", ms=1.0, right=20, pace=0.5)
    (group,) = compare_runs([quick, far])
    assert [note[:11] for note in group.notes] == ["2 of 4 netw"]


def test_names_are_as_short_as_they_can_be(tmp_path):
    folders = [finished(tmp_path / place / "run", ms=1.0) for place in ("a", "b")]
    assert names(compare_runs(folders))[0][0] == "a/run float32"
    assert names(compare_runs(folders[:1]))[0][0] == "run float32"


def test_the_program_prints_and_writes(tmp_path, capsys):
    folders = [str(finished(tmp_path / name, ms=1.0)) for name in "ab"]
    for kind in ("html", "json"):
        with TERMINAL.speaking():
            assert main([*folders, f"--out={tmp_path / 'out'}.{kind}"]) == 0
            printed = capsys.readouterr().out
            assert main([*folders, "--quiet"]) == 0 and capsys.readouterr().out == ""
        assert "90.00 %" in printed and "64.0 kB" in printed and f"out.{kind}" in printed
        assert max(map(len, printed.splitlines())) < 200
    groups = compare_runs(folders)
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(
        json.dumps(comparison_json(groups))
    )
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert text == comparison_page(groups) and Page(text).open == []
    assert text.count("<svg") == 1 and "a int8" in text
    with pytest.raises(UserError, match=r"\.html or \.json"):
        main([*folders, "--out=table.csv"])


@pytest.mark.parametrize(
    ("step", "source"), [("train", "architecture.json"), ("benchmark", "model_int8.tflite")]
)
def test_figures_of_an_earlier_network_are_refused(tmp_path, step, source):
    folder = finished(tmp_path / "one", ms=1.0)
    made_from = {"files": [[source, {"sha256": atomic.sha256_of(folder / source)}]]}
    record = StepRecord("0", made_from=made_from, outputs={"latency.json": "0"})
    write_steps(folder, {step: record})
    assert len(compare_runs([folder])[0].networks) == 2
    (folder / source).write_bytes((folder / source).read_bytes() + b" ")
    with pytest.raises(UserError, match=f"(?s)earlier {source}.*pnas {step} --run_dir"):
        compare_runs([folder])


def test_an_unfinished_run_is_refused(tmp_path):
    random_architecture(tiny(), seed=3).save(tmp_path / "architecture.json")
    with pytest.raises(UserError, match="is not finished") as caught:
        compare_runs([tmp_path])
    assert "pnas run" not in str(caught.value)  # would search, or is refused after specialise
    with pytest.raises(UserError, match=r"architecture\.json"):
        compare_runs([tmp_path / "absent"])
