"""The whole way by the programs, on digits and on a folder of JPEGs, and what happens when they are
called again."""

import dataclasses
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from events import events_in
from forked_program import SPACE, Signal, assert_refused, contents, run, start
from PIL import Image
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.records import StepRecord, read_steps, write_steps
from pnas_tf.search.quantities import latency_quantity, macs_quantity, no_less, no_more
from pnas_tf.search.targets import latency_target
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import save_space

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "config.json",
    "steps.json",
    "latency_table.json",
    "latency_table_int8.json",
    "search/history.json",
    "architecture.json",
    "derivation.json",
    "train/model.keras",
    "train/history.json",
    "train/result.json",
    "train/answers.json",
    "model_float32.tflite",
    "model_int8.tflite",
    "parity.json",
    "latency.json",
    "summary.json",
    "report.html",
}
STEPS = ["latency_table", "latency_table_int8", "search", "derive", "train", "export", "benchmark"]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Flags of every run here: everything small."""
    folder = tmp_path_factory.mktemp("options")
    save_space(SPACE, folder / "small.json")
    return [
        f"--space={folder / 'small.json'}",
        f"--data_dir={folder / 'tfds'}",
        f"--model_cache={folder / 'models'}",
        "--warmup_epochs=1",
        "--search_epochs=2",
        "--arch_start_epoch=0",
        "--epochs=1",
        "--calibration_networks=3",
        "--representative_images=20",
        "--convert_workers=0",
        "--max_accuracy_drop=1",
        "--min_invocations=8",
    ]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """A finished run of digits, by the command that README gives, all flags from a file. (folder,
    printed lines)"""
    folder = tmp_path_factory.mktemp("runs")
    flagfile = folder / "flags.txt"
    flagfile.write_text("# small\n--dataset=digits\n" + "\n".join(options) + "\n")
    made = subprocess.run(
        [
            sys.executable,
            ROOT / "tools/push_button.py",
            f"--flagfile={flagfile}",
            "--run_dir=made/digits",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
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
    assert set(summary["test_accuracy"]) == {"keras", *formats} and all(
        0 <= value <= 1 for value in summary["test_accuracy"].values()
    )
    assert summary["test_accuracy"]["float32"] == summary["test_accuracy"]["keras"]
    assert set(summary["latency_ms"]) == set(summary["size_bytes"]) == set(formats)
    for dtype in formats:
        assert (
            summary["latency_ms"][dtype]["predicted"] > 0
            and summary["latency_ms"][dtype]["measured"] > 0
        )
        assert summary["size_bytes"][dtype] == (folder / f"model_{dtype}.tflite").stat().st_size
    assert 0 <= summary["max_logit_difference"] <= 1e-4
    assert summary["device"]["device"] and summary["device"]["settings"]
    table = LatencyTable.load(folder / "latency_table.json")
    assert summary["latency_ms"]["float32"]["predicted"] == pytest.approx(
        table.predict_ms(architecture)
    )
    assert "<html" in (folder / "report.html").read_text().lower()


def check_printed(lines):
    """By a pipe: each stage begins and ends with a line, the rest is few and plain."""
    assert lines.isprintable() or set(lines) - set(filter(str.isprintable, lines)) == {"\n"}
    for number, name in enumerate(STEPS, 1):
        stage = f"[{number}/{len(STEPS)}] {name}: "
        begins, ends = (line for line in lines.splitlines() if line.startswith(stage))
        assert begins == f"{stage}begins" and re.search(r"\(\d+ (s|min \d+ s)\)$", ends)
    told = [line for line in lines.splitlines() if not line.startswith("! ")]  # of a busy machine
    assert len(told) <= 40, lines


def test_digits_to_the_end(finished):
    folder, printed = finished
    assert set(contents(folder)) >= FILES
    assert list(json.loads((folder / "steps.json").read_text())["steps"]) == STEPS
    check_summary(folder, dataset="digits", classes=10, formats=["float32", "int8"])
    assert "wrote made/digits/summary.json" in printed
    described = LatencyTable.load(folder / "latency_table.json").describe()
    assert described in (folder / "log.txt").read_text()
    check_printed(printed)
    target = json.loads((folder / "summary.json").read_text())["target_latency_ms"]
    middle = latency_target(SPACE, LatencyTable.load(folder / "latency_table.json"), "auto").value
    assert target == pytest.approx(middle)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["objective"], summary["target"], summary["unit"]) == ("latency", target, "ms")
    settings = json.loads((folder / "config.json").read_text())
    assert (
        settings["SearchConfig"]["warmup_epochs"] == 1 and settings["TrainConfig"]["epochs"] == 1
    )  # from the flag file


def test_tensorboard_shows_the_run(finished):
    """The network as an image, and options beside results; alpha block by block."""
    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    found = events_in(folder / "events")
    assert found["test accuracy, int8"] == pytest.approx([summary["test_accuracy"]["int8"]])
    measured = summary["latency_ms"]["float32"]["measured"]
    assert found["measured ms, float32"] == pytest.approx([measured])
    ((width, height, picture),) = found["architecture"]
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    assert pixels.shape[:2] == (int(height), int(width)) and pixels.std() > 5
    session = HParamsPluginData.FromString(found["_hparams_/session_start_info"][0])
    hparams = session.session_start_info.hparams
    assert hparams["warmup_epochs"].number_value == 1 and "seed" not in hparams
    searched = events_in(folder / "search/events")
    assert {tag for tag in searched if "alpha/" in tag} == {
        f"search/alpha/block_{number:02d}" for number in range(len(SPACE.choice_blocks))
    }


def test_called_again_every_step_is_skipped_and_no_file_changes(finished, options):
    folder, _ = finished
    before = contents(folder)
    again = run("push_button", f"--run_dir={folder}", *options, cwd=folder.parent)
    assert again.status == 0, again.output
    assert [line for line in again.output.splitlines() if line.endswith("complete, skipped")] == [
        f"{step}: complete, skipped" for step in STEPS
    ]
    after = contents(folder)
    # The summary table and the report are written anew, and say the same.
    assert {name for name in before if before[name] != after.get(name)} <= {"report.html"} and set(
        before
    ) == set(after)


def test_another_budget_redoes_the_derivation_and_what_follows_but_not_the_search(copy, finished):
    table = LatencyTable.load(copy / "latency_table.json")
    slowest = Architecture(SPACE, tuple(MBConv(3, 6) for _ in SPACE.choice_blocks))
    budget = table.predict_ms(slowest) * 1.0001
    again = run(
        "push_button",
        f"--run_dir={copy}",
        f"--max_latency_ms={budget}",
        "--formats=float32",
        cwd=copy.parent,
    )
    assert again.status == 0, again.output
    assert [
        line.split(":")[0]
        for line in again.output.splitlines()
        if line.endswith("complete, skipped")
    ] == ["latency_table", "search"]
    architecture = Architecture.load(copy / "architecture.json")
    # Whatever this machine measured: the first budget was held, and it was less than the second.
    first = json.loads((finished[0] / "summary.json").read_text())["target_latency_ms"]
    assert table.predict_ms(Architecture.load(finished[0] / "architecture.json")) <= first < budget
    assert 0.95 * budget <= table.predict_ms(architecture) <= budget
    check_summary(copy, dataset="digits", classes=10, formats=["float32"])


def test_another_device_and_several_budgets_from_one_search(copy, tmp_path):
    """Each in a run folder of its own, with the supernet; the finished run stays as it was."""
    before = contents(copy)
    table = LatencyTable.load(copy / "latency_table.json")
    network = Architecture.load(copy / "architecture.json")
    least, most = latency_quantity(network.space, table).range
    quick = [
        {"name": "quick", "max_latency_ms": (3 * least + most) / 4},
        {"name": "small", "table": "phone.json", "max_parameters": 1e9},
        {"name": "alike", "table": "desk/phone.json", "max_parameters": 1e9},
    ]
    (tmp_path / "some.json").write_text(json.dumps(quick))
    entries = dict(table.entries)
    for place in (tmp_path, tmp_path / "desk"):
        place.mkdir(exist_ok=True)
        table.save(place / "phone.json")
    ended = run(
        "specialise",
        f"--run_dir={copy}",
        "--budgets=some.json",
        f"--max_parameters={network.parameters}",
        "--out=made",
        "--derive_networks=2",
        "--derive_trained=0",
        cwd=tmp_path,
    )
    assert ended.status == 0, ended.output
    front = json.loads((tmp_path / "made/front.json").read_text())["devices"]
    assert [row["name"] for rows in front.values() for row in rows] == ["quick", "small", "alike"]
    assert "phone.json" in front and len(list((tmp_path / "made").glob("front_*.png"))) == 3
    (row,) = next(rows for name, rows in front.items() if "phone.json" not in name)
    assert row["predicted_ms"] <= quick[0]["max_latency_ms"]
    for name in ("quick", "small"):  # the command line's limit holds beside each row's
        made = Architecture.load(tmp_path / "made" / name / "architecture.json")
        assert made.parameters <= network.parameters
    assert contents(copy) == before
    also = f"--also=phone.json={quick[0]['max_latency_ms']!r}"
    rest = ("--table=phone.json", "--out=both", "--derive_networks=2", "--derive_trained=0")
    limited = run("specialise", f"--run_dir={copy}", also, *rest, cwd=tmp_path)
    assert limited.status == 0, limited.output
    found = table.predict_ms(Architecture.load(tmp_path / "both/architecture.json"))
    assert found <= quick[0]["max_latency_ms"]
    rest = ("--out=both", "--max_parameters=1e9", "--derive_networks=1")
    given = StepRecord("0", outputs={"architecture.json": "0"})  # of pnas train --architecture
    write_steps(tmp_path / "given", {"architecture": given})
    for wrong, *words in (
        ((f"--out={copy}", "--max_parameters=1e9"), "another folder than --run_dir"),
        (("--out=given", "--max_parameters=1e9"), "that of step architecture"),
        ((*rest, "--search_epochs=9"), "--search_epochs", "2, which"),
        ((*rest, "--table=other.json"), "another latency_table.json", "--restart"),
    ):
        dataclasses.replace(table, created_unix_s=1.0).save(tmp_path / "other.json")
        ended = run("specialise", f"--run_dir={copy}", *wrong, cwd=tmp_path)
        assert_refused(ended, *words)
    assert contents(copy) == before
    origin = json.loads((tmp_path / "both/specialised.json").read_text())
    assert (origin["from"], origin["table"]) == (str(copy), "phone.json")
    both = tmp_path / "both"  # as if of another search and device, with more steps and formats
    (both / "search/checkpoints/step-9999999999.npz").write_bytes(b"older")
    (both / "search/history.json").unlink()
    (both / "search/history.json").write_text("another")
    (both / "latency_table_int8.json").write_text("of another device")
    anew = run(
        "specialise", f"--run_dir={copy}", *rest, "--table=other.json", "--restart", cwd=tmp_path
    )
    assert anew.status == 0, anew.output
    assert contents(both / "search/checkpoints") == contents(copy / "search/checkpoints")
    assert not (both / "latency_table_int8.json").exists()
    kept = contents(tmp_path / "made/quick")
    searched = run("search", "--run_dir=made/quick", "--max_parameters=1e9", cwd=tmp_path)
    assert_refused(searched, f"supernet of {copy}", "pnas specialise")
    assert contents(tmp_path / "made/quick") == kept
    trained = run("train", "--run_dir=made/quick", "--init=inherit", "--epochs=1", cwd=tmp_path)
    assert trained.status == 0, trained.output
    entries.popitem()
    lacking = dataclasses.replace(table, entries=entries)
    lacking.save(tmp_path / "other.json")
    refused = run(
        "specialise", f"--run_dir={copy}", "--table=other.json", "--out=new", cwd=tmp_path
    )
    assert_refused(refused, "other.json", "does not cover", "pnas latency-table")
    steps = read_steps(copy)
    stopped = dataclasses.replace(steps["search"], outputs=None, duration_s=None, spent_s=9.0)
    write_steps(copy, {**steps, "search": stopped})
    refused = run("specialise", f"--run_dir={copy}", *rest[1:], "--out=new", cwd=tmp_path)
    assert_refused(refused, "no finished search", "search stopped on the way", "goes on")
    assert not (tmp_path / "new").exists()


def test_a_target_in_macs_is_told_in_macs(finished, options, tmp_path):
    folder = seeded(finished, tmp_path / "made")
    made = run(
        "push_button",
        "--dataset=digits",
        f"--run_dir={folder}",
        *options,
        "--objective=macs",
        "--formats=float32",
        cwd=tmp_path,
    )
    assert made.status == 0, made.output
    summary, report = (
        json.loads((folder / "summary.json").read_text()),
        (folder / "report.html").read_text(),
    )
    least, most = macs_quantity(SPACE).range
    assert (summary["objective"], summary["unit"], summary["target"]) == (
        "macs",
        "MACs",
        pytest.approx((least + most) / 2),
    )
    assert "target_latency_ms" not in summary
    assert "expected MACs" in report and "expected latency, ms" not in report
    assert (
        re.search(r"target of the search: [\d.e+]+ MACs$", made.output, re.MULTILINE)
        and "ms (latency)" not in made.output
        and "target latency" not in report
    )


@pytest.mark.parametrize("other", ["--export_batch=2", "--export_resolution=16"])
def test_a_file_of_another_shape_than_the_table_has_no_prediction(copy, other):
    again = run("push_button", f"--run_dir={copy}", other, "--formats=float32", cwd=copy.parent)
    assert again.status == 0, again.output
    summary = json.loads((copy / "summary.json").read_text())
    latency, side = summary["latency_ms"]["float32"], 16 if other.endswith("=16") else 8
    architecture = Architecture.load(copy / "architecture.json")
    space = dataclasses.replace(architecture.space, resolution=side)
    exported = dataclasses.replace(architecture, space=space)
    assert (summary["resolution"], summary["macs"]) == (side, exported.macs)
    assert latency["predicted"] is None and latency["measured"] > 0
    assert any("exported for" in warning for warning in latency["warnings"])


def test_a_folder_of_jpegs_to_the_end(options, tmp_path):
    generator, exif = np.random.default_rng(0), Image.Exif()
    exif[0x0112] = 3
    upside_down = exif.tobytes()
    for number, name in enumerate(("bright", "dark", "red")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(40):
            pixels = generator.integers(0, 80, (20, 26, 3)) + np.array(
                [(160, 160, 160), (0, 0, 0), (170, 0, 0)][number]
            )
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "images" / name / f"{index}.jpg", exif=upside_down if number else b""
            )
    (tmp_path / "images/red/40.jpg").touch()  # one of 121: it is left out
    left_out = (
        "1 file not used (all names: images_left_out.csv): 1 unreadable; cannot be read: "
        "red/40.jpg (empty file)"
    )
    made = run(
        "push_button",
        f"--dataset=folder:{tmp_path / 'images'}",
        "--run_dir=made",
        *options,
        "--batch_size=8",
        "--epochs=6",
        "--search_batch_size=8",
        "--formats=float32",
        cwd=tmp_path,
    )
    assert made.status == 0, made.output
    check_summary(
        tmp_path / "made", dataset=f"folder:{tmp_path / 'images'}", classes=3, formats=["float32"]
    )
    lines = json.loads((tmp_path / "made/summary.json").read_text())["images"]
    assert lines == ["120 images of 3 classes", "120 JPEG; 80 of them turned upright", left_out]
    assert "\n".join(lines) in (tmp_path / "made/report.html").read_text()
    assert lines[1] in made.output and "cannot be read: red/40.jpg (empty file)" in made.output
    # 24 images of three classes; of 24 trainings of 6 epochs (12 architectures and seeds, oneDNN
    # with SSE4.1 and with AVX-512) all were right in each.
    assert (
        json.loads((tmp_path / "made/summary.json").read_text())["test_accuracy"]["float32"] > 0.6
    )


def test_a_search_that_is_stopped_says_so_and_continues_to_the_same_bits(copy, finished):
    shutil.rmtree(copy / "search")
    log = copy.parent / "log"
    process = start(
        "search",
        [f"--run_dir={copy}", "--checkpoint_steps=2"],
        log=log,
        cwd=copy.parent,
        signalled=Signal(signal.SIGTERM, prints="joint 2/3"),
    )
    process.join(1200)
    printed = log.read_text()
    assert (
        process.exitcode == 130
        and "continues from the last checkpoint" in printed
        and "Traceback" not in printed
    ), printed
    assert (copy / "search/history.json").read_bytes() != (
        finished[0] / "search/history.json"
    ).read_bytes()
    ended = run("search", f"--run_dir={copy}", cwd=copy.parent)
    assert ended.status == 0, ended.output
    assert (copy / "search/history.json").read_bytes() == (
        finished[0] / "search/history.json"
    ).read_bytes()
    assert (copy / "architecture.json").read_bytes() == (
        finished[0] / "architecture.json"
    ).read_bytes()


def test_validation_ends_with_status_1_above_its_bound(copy):
    ended = run("validate", f"--run_dir={copy}", "--networks=2", "--max_mape=0", cwd=copy.parent)
    assert (
        ended.status == 1
        and "above --max_mape=0" in ended.output
        and "Traceback" not in ended.output
    ), ended.output
    assert (copy / "validation.json").exists() and (copy / "validation.png").exists()


def unchanged(folder, ended, *words):
    assert_refused(ended[1], *words)
    assert contents(folder) == ended[0]


def refused(copy, name, *arguments):
    before = contents(copy)
    return before, run(name, f"--run_dir={copy}", *arguments, cwd=copy.parent)


def test_other_settings_are_refused_naming_flag_and_both_values(copy):
    unchanged(
        copy,
        refused(copy, "push_button", "--warmup_epochs=9"),
        "--warmup_epochs",
        "expected: 1\n",
        "received: 9\n",
    )
    unchanged(
        copy, refused(copy, "search", "--alpha_fraction=0.3"), "--alpha_fraction", "0.2", "0.3"
    )


def test_a_second_process_is_refused_naming_the_first(copy):
    with RunFolder(copy):
        unchanged(copy, refused(copy, "search"), f"held by pid {os.getpid()}")


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("config.json", "push_button"),
        ("steps.json", "push_button"),
        ("latency_table.json", "search"),
        ("architecture.json", "train"),
    ],
)
def test_truncated_files_are_refused(copy, name, program):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: random.Random(name).randrange(1, len(content) - 2)])
    unchanged(copy, refused(copy, program), name, "corrupt or truncated")


def test_a_history_that_was_truncated_is_made_again_from_the_checkpoint(copy, finished):
    whole = (finished[0] / "search/history.json").read_bytes()
    (copy / "search/history.json").write_bytes(whole[:100])
    ended = run("search", f"--run_dir={copy}", cwd=copy.parent)
    assert ended.status == 0 and "warmup 1/" not in ended.output, ended.output
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
    unchanged(
        only_table, refused(only_table, "search", *place, other), "does not cover space", "missing"
    )


@pytest.mark.parametrize(
    "flag",
    [
        "--target_latency_ms=1e-9",
        "--target_latency_ms=1e9",
        "--max_latency_ms=1e-9",
        "--sweep=1e-9",
    ],
)
def test_a_target_out_of_reach_is_refused_with_both_figures(only_table, place, flag):
    least, most = latency_quantity(
        SPACE, LatencyTable.load(only_table / "latency_table.json")
    ).range
    unchanged(
        only_table,
        refused(only_table, "search", *place, flag),
        flag.split("=")[0],
        f"{no_less(least)} ms (fastest network of the space",
        f"{no_more(most) if flag.startswith('--target') else f'{most:.4g}'} ms",
    )


def seeded(finished, folder):
    """A run folder that has the finished run's tables and nothing else: tables are measurements,
    all the rest must come out equal."""
    folder.mkdir()
    for name in ("latency_table.json", "latency_table_int8.json"):
        shutil.copy(finished[0] / name, folder / name)
    steps = json.loads((finished[0] / "steps.json").read_text())
    steps["steps"] = {
        name: entry for name, entry in steps["steps"].items() if name.startswith("latency_table")
    }
    (folder / "steps.json").write_text(json.dumps(steps))
    return folder


def signalled(folder, options, log, signal_):
    """push_button, which sends itself `signal_`. (exit status, what it printed)"""
    process = start(
        "push_button",
        [f"--run_dir={folder}", "--checkpoint_steps=5", *options],
        log=log,
        cwd=folder.parent,
        signalled=signal_,
    )
    process.join(1200)
    return process.exitcode, log.read_text()


EQUAL = (
    "search/history.json",
    "architecture.json",
    "derivation.json",
    "train/history.json",
    "train/result.json",
    "train/answers.json",
    "model_float32.tflite",
    "model_int8.tflite",
    "parity.json",
)


def test_stopped_in_every_step_it_ends_as_if_it_had_run_through(finished, options, tmp_path):
    """SIGTERM is answered in the step in which it comes: by the program, or by its guard where a
    conversion takes longer than GRACE_S. SIGKILL needs no answer."""
    folder = seeded(finished, tmp_path / "run")
    generator = random.Random("stages")
    for line, most_s, number in (
        ("search: begins", 0.8, signal.SIGTERM),
        ("joint 2/3", 0.3, signal.SIGKILL),
        ("train: begins", 0.6, signal.SIGKILL),
        ("train: begins", 0.6, signal.SIGTERM),
        ("export: begins", 0.3, signal.SIGTERM),
        ("export: begins", 0.3, signal.SIGKILL),
        ("benchmark: begins", 0.3, signal.SIGTERM),
    ):
        sent = Signal(number, prints=line, later_s=generator.uniform(0, most_s))
        status, printed = signalled(folder, options, tmp_path / "log", sent)
        guarded = status == -9 and "stopped in the middle of a long call" in printed
        assert status == (-9 if number == signal.SIGKILL else 130) or guarded, (line, printed)
        assert ": begins" not in printed.split(line, 1)[1], (line, printed)
        assert "Traceback" not in printed, (line, printed)
    ended = run("push_button", f"--run_dir={folder}", *options, cwd=tmp_path)
    assert ended.status == 0 and "latency_table: complete, skipped" in ended.output, ended.output
    for name in EQUAL:
        assert (folder / name).read_bytes() == (finished[0] / name).read_bytes(), name
    ours, theirs = (
        {
            name
            for name in contents(run_dir)
            if not name.startswith(
                ("search/checkpoints/", "search/events/", "train/events/", "events/")
            )
        }
        for run_dir in (folder, finished[0])
    )
    assert ours == theirs


def test_a_table_whose_build_is_stopped_has_every_block_with_all_its_invocations(options, tmp_path):
    """Stopped while converting and while measuring; converted models and visits are kept, and
    nothing else."""
    options = [
        f"--model_cache={tmp_path / 'models'}" if flag.startswith("--model_cache") else flag
        for flag in options
        if flag.split("=")[0]
        in ("--space", "--data_dir", "--model_cache", "--calibration_networks", "--convert_workers")
    ]
    options.append("--min_invocations=24")
    for pattern, count, number in (
        ("*.tflite", 2, signal.SIGKILL),
        ("*.tflite", 4, signal.SIGTERM),
        ("session_*.jsonl", 1, signal.SIGKILL),
    ):
        sent = Signal(number, files=str(tmp_path / "models" / pattern), count=count)
        process = start(
            "build_latency_table",
            ["--run_dir=run", *options],
            log=tmp_path / "log",
            cwd=tmp_path,
            signalled=sent,
        )
        process.join(1200)
        assert process.exitcode == (-9 if number == signal.SIGKILL else 130), (
            tmp_path / "log"
        ).read_text()
        assert len(list((tmp_path / "models").glob("*.tflite"))) >= 2
    ended = run("build_latency_table", "--run_dir=run", *options, cwd=tmp_path)
    assert ended.status == 0, ended.output
    table = LatencyTable.load(tmp_path / "run/latency_table.json")
    table.check_covers(SPACE)
    assert not table.failures and table.calibration is not None
    assert all(entry.invocations >= 24 and len(entry.runs) >= 8 for entry in table.entries.values())
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".tmp", ".jsonl"))]


def test_a_clock_that_was_set_back_changes_nothing(copy, finished):
    """Files from the future: what counts is what stands in them."""
    for path in copy.rglob("*"):
        os.utime(path, (2**32 - 1, 2**32 - 1))
    before = contents(copy)
    again = run("push_button", f"--run_dir={copy}", cwd=copy.parent)
    assert again.status == 0 and again.output.count("complete, skipped") == len(STEPS), again.output
    changed = {name for name in before if before[name] != contents(copy).get(name)}
    assert changed <= {"report.html", "model_card.md"}  # which have the folder's name


@pytest.mark.parametrize(
    "gone", ["latency_table.json", "architecture.json", "train/model.keras", "search/history.json"]
)
def test_what_vanished_between_two_calls_is_made_again_or_named(copy, finished, gone):
    """By push_button made again, and from checkpoints; by the step that needs it named with the
    program that makes it."""
    needs = {
        "latency_table.json": "search",
        "architecture.json": "train",
        "train/model.keras": "export",
    }
    (copy / gone).unlink()
    if gone in needs:
        assert_refused(
            run(needs[gone], f"--run_dir={copy}", cwd=copy.parent),
            gone.split("/")[-1].split(".")[0].split("_")[0],
        )
    if gone == "latency_table.json":  # a measurement: brought back rather than measured anew
        shutil.copy(finished[0] / gone, copy / gone)
    again = run("push_button", f"--run_dir={copy}", cwd=copy.parent)
    assert again.status == 0 and (copy / gone).exists(), again.output
    for name in EQUAL:
        assert (copy / name).read_bytes() == (finished[0] / name).read_bytes(), name


@pytest.mark.parametrize("way", ["2>&1 | head -n 1", ">&- 2>&- <&-", "<&- 2>&1 | cat"])
def test_streams_that_are_closed_or_lead_nowhere(copy, options, way):
    """By a shell, in a fresh interpreter: without a terminal nothing is drawn, and a closed
    stream's number goes to no file of ours."""
    (copy / "architecture.json").unlink()
    if way.startswith("<"):  # progress is drawn while it searches; elsewhere the end will do
        shutil.rmtree(copy / "search")
    command = f"{sys.executable} {ROOT / 'tools/search.py'} --run_dir={copy} {way}"
    shell = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=copy.parent,
        capture_output=True,
        timeout=1200,
        env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
    )
    printed = shell.stdout + shell.stderr
    assert shell.returncode == (141 if "head" in way else 0), printed
    assert (
        b"\x1b" not in printed
        and b"\r" not in printed
        and b"Traceback" not in printed
        and b"Exception ignored" not in printed
    ), printed
    for path in copy.rglob("*.json"):
        json.loads(path.read_text())
    assert "head" in way or (copy / "architecture.json").exists()
