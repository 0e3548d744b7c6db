"""The names of a run's files stand in one place."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from pnas_tf.run import layout
from pnas_tf.run.layout import Artifact, run_dir_option

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    *(str(name) for name in Artifact if "." in name[1:]),
    layout.HISTORY,
    layout.MODEL,
    layout.MEASURED_PATHS,
    layout.MANIFEST,
    layout.MODELS_PATTERN,
    layout.model_file("float32"),
    layout.model_file("int8"),
}
FOLDERS = {layout.CHECKPOINTS, layout.EVENTS}  # as whole constants only: they are words too


def literals(source):
    """(line, constant) of every string that names a file of a run, docstrings aside."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = any(
                re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}", node.value) for name in NAMES
            )
            if id(node) not in docstrings and (named or node.value in FOLDERS):
                yield node.lineno, node.value


@pytest.mark.parametrize("folder", ["pnas_tf", "tools", "benchmarks"])
def test_no_other_file_names_an_artifact(folder):
    found = {
        f"{path.relative_to(ROOT)}:{line}": text
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != Path(layout.__file__)
        for line, text in literals(path.read_text(encoding="utf-8"))
    }
    assert found == {}, "take the name from pnas_tf.run.layout"


@pytest.mark.parametrize(
    "source, seen",
    [
        ("x = folder / 'architecture.json'", True),
        ("x = f'{folder}/search/history.json'", True),
        ("x = folder / 'checkpoints'", True),
        ("x = 'the checkpoints of a search'", False),
        ("x = 'build/arm_parity.json'", False),
        ("'writes architecture.json'\ndef f():\n    'reads parity.json'", False),
    ],
)
def test_literals_are_seen(source, seen):
    assert bool(list(literals(source))) == seen


def test_an_artifact_is_its_name():
    assert f"{Artifact.SEARCH_HISTORY}" == str(Artifact.SEARCH_HISTORY) == "search/history.json"
    assert Path("runs") / Artifact.SEARCH_HISTORY == Path("runs/search/history.json")
    assert layout.model_file("int8") == "model_int8.tflite"
    assert layout.is_model_file(layout.model_file("dynamic_int8"))
    assert not layout.is_model_file("../model_int8.tflite")


def test_each_of_several_devices_has_its_file():
    one = layout.files_of_devices(Artifact.BENCHMARK, ["host"])
    assert one == {"host": "latency.json"}
    assert layout.files_of_devices(Artifact.LATENCY_TABLE, ["host", "ssh:pi@board:22"]) == {
        "host": "latency_table_host.json",
        "ssh:pi@board:22": "latency_table_ssh_pi_board_22.json",
    }


def test_a_run_folder_is_named_as_a_shell_takes_it():
    assert run_dir_option(Path("runs/demo")) == "--run_dir=runs/demo"
    assert shlex.split(run_dir_option(Path("my run's"))) == ["--run_dir=my run's"]
