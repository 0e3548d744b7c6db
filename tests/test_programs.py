"""The whole way by the programs, on digits and on a folder of JPEGs, and what happens when they are called again."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forked_program import assert_refused, contents, run, start
from PIL import Image

from pnas_tf.latency.table import LatencyTable
from pnas_tf.run_folder import RunFolder
from pnas_tf.search.derive import quantity_range
from pnas_tf.search.objectives import latency_quantity
from pnas_tf.search.target import latency_target
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import MBConv
from pnas_tf.space.search_space import SearchSpace, Stage, save_space

ROOT = Path(__file__).resolve().parents[1]
SPACE = SearchSpace("small", 8, 10, stem_width=8, first_width=8, stages=(Stage(8, 1, 1), Stage(16, 1, 2)), head_width=16,
                    candidates=(MBConv(3, 1), MBConv(3, 6)), stem_stride=1)
FILES = {"config.json", "steps.json", "latency_table.json", "latency_table_int8.json", "search/history.json", "architecture.json",
         "train/model.keras", "train/history.json", "train/result.json", "model_float32.tflite", "model_int8.tflite", "parity.json",
         "latency.json", "summary.json", "report.html"}
STEPS = ["latency_table", "search", "derive", "train", "latency_table_int8", "export", "benchmark"]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Flags of every run here: everything small."""
    folder = tmp_path_factory.mktemp("options")
    save_space(SPACE, folder / "small.json")
    return [f"--space={folder / 'small.json'}", f"--data_dir={folder / 'tfds'}", f"--model_cache={folder / 'models'}", "--warmup_epochs=1",
            "--search_epochs=2", "--arch_start_epoch=0", "--epochs=1", "--calibration_networks=3", "--representative_images=20",
            "--convert_workers=0", "--max_accuracy_drop=1", "--min_invocations=8"]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """A finished run of digits, by the command that README gives, all flags from a file. (folder, printed lines)"""
    folder = tmp_path_factory.mktemp("runs")
    flagfile = folder / "flags.txt"
    flagfile.write_text("# small\n--dataset=digits\n" + "\n".join(options) + "\n")
    made = subprocess.run([sys.executable, ROOT / "tools/push_button.py", f"--flagfile={flagfile}", "--run_dir=made/digits"], cwd=folder,
                          capture_output=True, text=True, timeout=500, env={**os.environ, "TQDM_DISABLE": "1"})
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "made/digits", made.stdout


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, which a test may spoil."""
    shutil.copytree(finished[0], tmp_path / "copy", copy_function=shutil.copy)
    return tmp_path / "copy"


def check_summary(folder, *, dataset, classes, formats):
    summary = json.loads((folder / "summary.json").read_text())
    architecture = Architecture.load(folder / summary["architecture"])
    assert (summary["dataset"], summary["space"], summary["resolution"]) == (dataset, "small", 8)
    assert architecture.space.classes == classes
    assert (summary["macs"], summary["parameters"]) == (architecture.macs, architecture.parameters)
    assert summary["search_s"] > 0 and summary["train_s"] > 0 and summary["target_latency_ms"] > 0
    assert set(summary["test_accuracy"]) == {"keras", *formats} and all(0 <= value <= 1 for value in summary["test_accuracy"].values())
    assert summary["test_accuracy"]["float32"] == summary["test_accuracy"]["keras"]
    assert set(summary["latency_ms"]) == set(summary["size_bytes"]) == set(formats)
    for dtype in formats:
        assert summary["latency_ms"][dtype]["predicted"] > 0 and summary["latency_ms"][dtype]["measured"] > 0
        assert summary["size_bytes"][dtype] == (folder / f"model_{dtype}.tflite").stat().st_size
    assert 0 <= summary["max_logit_difference"] <= 1e-4
    assert summary["device"]["device"] and summary["device"]["settings"]
    table = LatencyTable.load(folder / "latency_table.json")
    assert summary["latency_ms"]["float32"]["predicted"] == pytest.approx(table.predict_ms(architecture))
    assert "<html" in (folder / "report.html").read_text().lower()


def test_digits_to_the_end(finished):
    folder, printed = finished
    assert set(contents(folder)) >= FILES
    assert list(json.loads((folder / "steps.json").read_text())["steps"]) == STEPS
    check_summary(folder, dataset="digits", classes=10, formats=["float32", "int8"])
    assert "wrote made/digits/summary.json" in printed
    assert f"latency_table.json: {LatencyTable.load(folder / 'latency_table.json').describe()}" in printed  # beside the target's figure
    target = json.loads((folder / "summary.json").read_text())["target_latency_ms"]
    middle = latency_target(SPACE, LatencyTable.load(folder / "latency_table.json"), "auto").value
    assert target == pytest.approx(middle)
    settings = json.loads((folder / "config.json").read_text())
    assert settings["SearchConfig"]["warmup_epochs"] == 1 and settings["TrainConfig"]["epochs"] == 1  # from the flag file


def test_called_again_every_step_is_skipped_and_no_file_changes(finished, options):
    folder, _ = finished
    before = contents(folder)
    again = run("push_button", f"--run_dir={folder}", *options, cwd=folder.parent)
    assert again.status == 0, again.output
    assert [line for line in again.output.splitlines() if line.endswith("complete, skipped")] == [
        f"{step}: complete, skipped" for step in STEPS]
    after = contents(folder)
    # The closing table and the report are written anew, and say the same.
    assert {name for name in before if before[name] != after.get(name)} <= {"report.html"} and set(before) == set(after)


def test_another_budget_redoes_the_derivation_and_what_follows_but_not_the_search(copy, finished):
    table = LatencyTable.load(copy / "latency_table.json")
    slowest = Architecture(SPACE, tuple(MBConv(3, 6) for _ in SPACE.choice_blocks))
    budget = table.predict_ms(slowest) * 1.0001
    again = run("push_button", f"--run_dir={copy}", f"--max_latency_ms={budget}", "--formats=float32", cwd=copy.parent)
    assert again.status == 0, again.output
    assert [line.split(":")[0] for line in again.output.splitlines() if line.endswith("complete, skipped")] == ["latency_table", "search"]
    architecture = Architecture.load(copy / "architecture.json")
    assert table.predict_ms(Architecture.load(finished[0] / "architecture.json")) < 0.95 * budget
    assert 0.95 * budget <= table.predict_ms(architecture) <= budget
    check_summary(copy, dataset="digits", classes=10, formats=["float32"])


def test_a_folder_of_jpegs_to_the_end(options, tmp_path):
    generator = np.random.default_rng(0)
    for number, name in enumerate(("bright", "dark", "red")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = generator.integers(0, 80, (20, 26, 3)) + np.array([(160, 160, 160), (0, 0, 0), (170, 0, 0)][number])
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{index}.jpg")
    made = run("push_button", f"--dataset=folder:{tmp_path / 'images'}", "--run_dir=made", *options, "--batch_size=8", "--epochs=6",
               "--search_batch_size=8", "--formats=float32", cwd=tmp_path)
    assert made.status == 0, made.output
    check_summary(tmp_path / "made", dataset=f"folder:{tmp_path / 'images'}", classes=3, formats=["float32"])
    assert json.loads((tmp_path / "made/summary.json").read_text())["test_accuracy"]["float32"] > 0.6


def test_a_search_that_is_stopped_says_so_and_continues_to_the_same_bits(copy, finished):
    shutil.rmtree(copy / "search")
    log = copy.parent / "log"
    process = start("search", [f"--run_dir={copy}", "--checkpoint_steps=2"], log=log, cwd=copy.parent)
    while process.is_alive() and not list((copy / "search").glob("checkpoints/step-*.npz")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.join(120)
    printed = log.read_text()
    assert process.exitcode == 130 and "continues from the last checkpoint" in printed and "Traceback" not in printed, printed
    assert (copy / "search/history.json").read_bytes() != (finished[0] / "search/history.json").read_bytes()
    ended = run("search", f"--run_dir={copy}", cwd=copy.parent)
    assert ended.status == 0, ended.output
    assert (copy / "search/history.json").read_bytes() == (finished[0] / "search/history.json").read_bytes()
    assert (copy / "architecture.json").read_bytes() == (finished[0] / "architecture.json").read_bytes()


def test_validation_ends_with_status_1_above_its_bound(copy):
    ended = run("validate", f"--run_dir={copy}", "--networks=2", "--max_mape=0", cwd=copy.parent)
    assert ended.status == 1 and "above --max_mape=0" in ended.output and "Traceback" not in ended.output, ended.output
    assert (copy / "validation.json").exists() and (copy / "validation.png").exists()


def unchanged(folder, ended, *words):
    assert_refused(ended[1], *words)
    assert contents(folder) == ended[0]


def refused(copy, name, *arguments):
    before = contents(copy)
    return before, run(name, f"--run_dir={copy}", *arguments, cwd=copy.parent)


def test_other_settings_are_refused_naming_flag_and_both_values(copy):
    unchanged(copy, refused(copy, "push_button", "--warmup_epochs=9"), "--warmup_epochs", "expected: 1\n", "received: 9\n")
    unchanged(copy, refused(copy, "search", "--dataset=cifar10"), "--dataset", "'digits'", "'cifar10'")


def test_a_second_process_is_refused_naming_the_first(copy):
    with RunFolder(copy):
        unchanged(copy, refused(copy, "search"), f"held by pid {os.getpid()}")


@pytest.mark.parametrize(("name", "program"), [
    ("config.json", "push_button"), ("steps.json", "push_button"), ("latency_table.json", "search"), ("architecture.json", "train")])
def test_truncated_files_are_refused(copy, name, program):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:random.Random(name).randrange(1, len(content) - 2)])
    unchanged(copy, refused(copy, program), name, "corrupt or truncated")


def test_a_history_that_was_truncated_is_made_again_from_the_checkpoint(copy, finished):
    whole = (finished[0] / "search/history.json").read_bytes()
    (copy / "search/history.json").write_bytes(whole[:100])
    ended = run("search", f"--run_dir={copy}", cwd=copy.parent)
    assert ended.status == 0 and "warmup" not in ended.output, ended.output
    assert (copy / "search/history.json").read_bytes() == whole


@pytest.fixture
def only_table(finished, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished[0] / "latency_table.json", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def place(options):
    """The flags that say where space and data lie."""
    return [flag for flag in options if flag.startswith(("--space", "--data_dir"))]


@pytest.mark.parametrize("other", ["--resolution=16", "--width=2", "--space=tiny"])
def test_a_table_of_another_space_or_resolution_is_refused(only_table, place, other):
    unchanged(only_table, refused(only_table, "search", *place, other), "does not cover space", "missing")


@pytest.mark.parametrize("flag", ["--target_latency_ms=1e-9", "--target_latency_ms=1e9", "--max_latency_ms=1e-9", "--sweep=1e-9"])
def test_a_target_out_of_reach_is_refused_with_both_figures(only_table, place, flag):
    least, most = quantity_range(latency_quantity(SPACE, LatencyTable.load(only_table / "latency_table.json")))
    unchanged(only_table, refused(only_table, "search", *place, flag), flag.split("=")[0], f"{least:.4g} ms (fastest network of the space",
              f"{most:.4g} ms")
