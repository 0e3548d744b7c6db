"""Wrong input is refused before any work: exit status 2, four parts, no traceback, nothing left
behind. And every --help."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forked_program import assert_refused, run
from PIL import Image
from typed_commands import typed

from pnas_tf.cli.help import overview
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import save_space
from pnas_tf.steps.programs import PROGRAMS, program_of

ROOT = Path(__file__).resolve().parents[2]
# The step `name` as a user types it: of the console script, or a file of the checkout.
COMMANDS = {
    "script": lambda name: [
        str(Path(sys.executable).with_name("pnas")),
        program_of(name).command,
    ],
    "file": lambda name: [sys.executable, str(ROOT / "tools" / f"{name}.py")],
}
TOOLS = [program.tool for program in PROGRAMS if program.takes_file is None]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


def images(folder, names, count=6):
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((9, 9, 3), index, np.uint8)).save(
                folder / name / f"{index}.jpg"
            )


def refuse(tmp_path, program, *arguments, words):
    before = sorted(tmp_path.rglob("*"))
    assert_refused(run(program, "--run_dir=runs/new", *arguments, cwd=tmp_path), *words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("program", "argument", "words"),
    [
        ("push_button", "--epohcs=3", ["unknown flag", "--epochs", "--epohcs"]),
        ("train", "--warmup_epochs=3", ["unknown flag", "--warmup_epochs"]),
        ("push_button", "digits", ["stray argument", "digits"]),
        ("push_button", "--epochs=many", ["epochs", "many"]),
        ("push_button", "--epochs=0", ["--epochs", "at least 1"]),
        ("push_button", "--search_batch_size=-4", ["--search_batch_size", "-4"]),
        ("push_button", "--arch_interval=0", ["--arch_interval"]),
        ("push_button", "--learning_rate=nan", ["--learning_rate", "nan"]),
        ("push_button", "--weight_decay=-1", ["--weight_decay", "-1"]),
        ("push_button", "--alpha_fraction=1.5", ["--alpha_fraction", "1.5", "below 1"]),
        ("push_button", "--algorithm=magic", ["algorithm", "magic", "two_path"]),
        ("push_button", "--nesterov=perhaps", ["nesterov", "perhaps"]),
        ("push_button", "--preset=best", ["preset", "best", "published"]),
        ("push_button", "--flagfile=absent.txt", ["absent.txt"]),
        ("push_button", "--target_latency_ms=fast", ["--target_latency_ms", "'fast'"]),
        ("push_button", "--target_latency_ms=-3", ["--target_latency_ms", "'-3'"]),
        ("push_button", "--also=absent.json", ["--also", "TABLE.json=MS"]),
        ("push_button", "--also=absent.json=3", ["no latency table at absent.json"]),
        ("push_button", "--sweep=0.1,fast", ["--sweep", "fast"]),
        ("push_button", "--device=toaster", ["--device", "'toaster'"]),
        ("push_button", "--threads=0", ["--threads"]),
        ("push_button", "--formats=float64", ["float64"]),
        ("push_button", "--space=nowhere", ["unknown search space", "'nowhere'"]),
        ("push_button", "--space=absent.json", ["absent.json"]),
        ("push_button", "--dataset=no_such_dataset", ["no_such_dataset"]),
        ("push_button", "--dataset=folder:absent", ["absent"]),
        ("search", "--seed=1", ["no latency table"]),
        ("train", "--seed=1", ["architecture"]),
        ("train", "--train_resolution=64", ["--train_resolution", "with --architecture"]),
        ("search", "--device=android", ["--device", "with --algorithm=reinforce", "latency-table"]),
        ("search", "--effect_paths=50", ["--effect_paths", "--algorithm=one_shot"]),
        ("export", "--seed=1", ["architecture"]),
        ("benchmark", "--seed=1", ["models to measure"]),
        ("benchmark", "--models=absent.tflite", ["absent.tflite"]),
        ("validate", "--seed=1", ["no latency table"]),
        ("specialise", "--max_latency_ms=3", ["--out"]),
        ("specialise", "--out=new", ["--max_latency_ms", "--table"]),
        ("calibrate", "--seed=1", ["--measurements=10"]),
        ("calibrate", "--prior=absent.json", ["--prior", "absent.json"]),
        ("calibrate", "--from=absent.json", ["unknown flag", "--from", "Write --old_table"]),
        ("calibrate", "--old_table=absent.json", ["--old_table", "absent.json"]),
    ],
)
@pytest.mark.slow
def test_flags(tmp_path, data_dir, program, argument, words):
    own = [] if program == "benchmark" else [f"--data_dir={data_dir}"]
    refuse(tmp_path, program, *own, argument, words=words)


def test_a_folder_with_one_class(tmp_path):
    images(tmp_path / "images", ["only"])
    refuse(tmp_path, "push_button", "--dataset=folder:images", words=["only", "two"])


def test_a_folder_with_an_unreadable_image(tmp_path):
    images(tmp_path / "images", ["a", "b"])
    (tmp_path / "images/b/broken.jpg").write_bytes(bytes(range(256)))
    refuse(tmp_path, "push_button", "--dataset=folder:images", words=["broken.jpg"])


def test_a_folder_with_an_image_cut_short(tmp_path):
    images(tmp_path / "images", ["a", "b"])
    content = (tmp_path / "images/a/3.jpg").read_bytes()
    (tmp_path / "images/a/3.jpg").write_bytes(content[: len(content) // 2])
    refuse(tmp_path, "push_button", "--dataset=folder:images", words=["3.jpg"])


@pytest.mark.parametrize(
    "change",
    [{"candidates": []}, {"stages": "all"}, {"colour": 3}, {"resolution": -8}, {"channels": 1}],
    ids=str,
)
def test_a_space_that_is_none(tmp_path, data_dir, change):
    space = MBConvSpace(
        "small",
        8,
        10,
        stem_width=8,
        first_width=8,
        stages=(Stage(8, 1, 1),),
        head_width=16,
        candidates=(MBConv(3, 1),),
    )
    save_space(space, tmp_path / "space.json")
    document = json.loads((tmp_path / "space.json").read_text())
    document["space"].update(change)
    (tmp_path / "space.json").write_text(json.dumps(document))
    refuse(tmp_path, "push_button", f"--data_dir={data_dir}", "--space=space.json", words=[])


def test_a_depth_that_no_network_of_the_space_has(tmp_path, data_dir):
    asked = ["--space=pyramid_tree", "--stochastic_depth=0.1"]
    refuse(tmp_path, "push_button", f"--data_dir={data_dir}", *asked, words=[asked[1], "shortcuts"])


def test_values_of_an_edited_config_are_judged_as_flags_are(tmp_path):
    (tmp_path / "runs/new").mkdir(parents=True)
    (tmp_path / "runs/new/config.json").write_text(
        json.dumps({"format": "pnas_tf/config", "version": 2, "TrainConfig": {"epochs": "many"}})
    )
    refuse(tmp_path, "train", words=["--epochs", "type int", "'many'"])


@pytest.mark.parametrize("where", ["/proc/run", "taken"])
def test_a_run_folder_that_cannot_be_made(tmp_path, where):
    (tmp_path / "taken").write_text("a file")
    ended = run("push_button", f"--run_dir={where}", cwd=tmp_path)
    assert_refused(ended, "cannot be used")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("way", ["script", "file"])
def test_help_names_every_flag_with_its_default(tmp_path, name, way):
    file = ROOT / "tools" / f"{name}.py" if way == "file" else ""
    words = [] if file else [program_of(name).command]
    told = typed(*words, "--help", cwd=tmp_path, file=file)
    assert told.returncode == 0 and not told.loaded, told.stderr
    program = program_of(name)
    assert program.doc.strip() in told.stdout
    for config_class in program.configs:
        for field in dataclasses.fields(config_class):
            assert (
                f"  --{field.name}={field.default} " in told.stdout
                and field.metadata["help"] in told.stdout
            )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_help_by_a_shell_from_another_folder(tmp_path):
    """In a fresh interpreter, by the console script and by a file of the checkout: of a program
    that takes a file, and of one that takes a folder."""
    for command in COMMANDS.values():
        for name, option in (("inspect", "--json"), ("search", "--search_epochs")):
            told = subprocess.run(
                [*command(name), "--help"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert told.returncode == 0 and option in told.stdout, told.stderr
    assert not list(tmp_path.iterdir())


def test_every_program_is_tried():
    found = {
        path.stem
        for path in (ROOT / "tools").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    }
    assert found == {program.tool for program in PROGRAMS}


def pnas(*arguments, cwd=None):
    command = [str(Path(sys.executable).with_name("pnas")), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


def test_the_overview_names_every_program_without_tensorflow():
    told = pnas("--help")
    assert told.returncode == 0 and told.stdout.strip() == overview()
    for program in PROGRAMS:
        assert f"pnas {program.command}" in told.stdout and program.purpose in told.stdout
    asked = "import sys; from pnas_tf.cli.help import overview; overview(); print(set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert "'pnas_tf.steps.programs'" in loaded.stdout
    assert "'tensorflow'" not in loaded.stdout


def test_a_tool_mends_the_module_path_before_anything_asks_for_inspect():
    asked = "import sys; from pnas_tf.cli import main; print(set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert "'pnas_tf.cli.main'" in loaded.stdout and "'inspect'" not in loaded.stdout


@pytest.mark.slow
def test_a_program_that_is_none_is_refused_with_the_nearest():
    for wrong, right in (
        ("serch", "search"),
        ("push_button", "run"),
        ("latency_table", "latency-table"),
        ("derive", "search"),
        ("derive", "specialise"),
    ):
        told = pnas(wrong)
        assert told.returncode == 2 and f"`pnas {right}`" in told.stderr


@pytest.mark.slow
def test_files_of_the_user_hide_nothing(tmp_path):
    """A folder tools/ and modules named as the standard library's, in the working folder."""
    trap = "raise SystemExit('a file of the user was imported')"
    (tmp_path / "tools").mkdir()
    for name in ("inspect", "queue", "json", "tools/__init__", "tools/search", "pnas_tf"):
        (tmp_path / f"{name}.py").write_text(trap)
    model = ROOT / "tests/support/standin/tiny_float32.tflite"
    shown = pnas("inspect", model, cwd=tmp_path)  # read in a child process
    assert shown.returncode == 0 and "CONV_2D" in shown.stdout, shown.stderr
    (tmp_path / "runs").mkdir()
    measured = pnas("benchmark", f"--models={model}", "--run_dir=runs/one", cwd=tmp_path)
    assert measured.returncode == 0, measured.stderr
