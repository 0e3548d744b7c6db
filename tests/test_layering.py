"""Holds the rooms to the order of docs/DESIGN.md by parsing every import of the package."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("pnas_tf", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
}

# Rooms of a line stand above those of all lines before it, and know nothing of each other.
ORDER = (
    ("errors", "_callable_room"),
    ("options",),
    ("config",),
    ("io",),
    ("_tf_private",),
    ("run", "space"),
    ("data", "networks", "devices"),
    ("supernet", "tflite"),
    ("latency",),
    ("training",),
    ("search",),
    ("interop", "report"),
    ("applications",),
    ("steps",),
    ("api", "fitting", "measuring"),
    ("cli",),
    ("__main__", "tools"),
)
BELOW = {
    room: {lower for before in ORDER[:level] for lower in before}
    for level, rooms in enumerate(ORDER)
    for room in rooms
}
BELOW[""] = {"_tf_private"}  # the package: what has to be so before anything loads TensorFlow
SUPERNET = {"pnas_tf.supernet.supernet", "pnas_tf.supernet.mixed_op"}
TENSORFLOW = {
    "tensorflow",
    "tf_keras",
    "tensorflow_datasets",
    "tensorflow_model_optimization",
    "keras",
}
# Rooms and modules where even a late import of TensorFlow is wrong, and those that a process
# without it must be able to import.
NO_TENSORFLOW_AT_ALL = (
    "pnas_tf.space",
    "pnas_tf.report",
    "pnas_tf.config",
    "pnas_tf.errors",
    "pnas_tf.cli.main",
    *(f"pnas_tf.io.{name}" for name in ("atomic", "serialization", "isolated")),
    *(f"pnas_tf.run.{name}" for name in ("folder", "follower", "progress", "cluster", "signals")),
)
NO_TENSORFLOW_AT_IMPORT = (
    *(room for room in NO_TENSORFLOW_AT_ALL if room != "pnas_tf.report"),
    *(
        f"pnas_tf.report.{name}"
        for name in (
            "run_files",
            "summary_table",
            "drawing",
            "plots",
            "page",
            "pareto_plot",
            "alpha_plot",
        )
    ),
    "pnas_tf._tf_private",
    "pnas_tf.devices",
    "pnas_tf.latency.table",
    "pnas_tf.latency.calibration",
    "pnas_tf.search.derive",
    "pnas_tf.search.objective",
    "pnas_tf.steps",
    "pnas_tf.cli",
)
# What its makers do not document; `pnas_tf._tf_private` alone may touch it.
PRIVATE = (
    "tensorflow.python",
    "tensorflow.compiler",
    "tensorflow.core",
    "tensorflow.lite.python",
    "tensorflow.tsl",
    "tensorflow_model_optimization.python",
    "tensorflow_datasets.core",
    "tf_keras.src",
    "xla",
    "tsl",
)
TFDS_DOCUMENTED = {
    "DatasetBuilder",
    "DatasetInfo",
    "DatasetNotFoundError",
    "GeneratorBasedBuilder",
    "Version",
}


def room_of(module: str) -> str:
    """ "nn" of pnas_tf.networks.layers, "files" of pnas_tf.io.atomic, "tools" of tools.search; ""
    of the package itself."""
    top, _, rest = module.partition(".")
    return "tools" if top == "tools" else rest.split(".")[0]


@functools.cache
def statements(path: Path, late: bool, types: bool) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The import statements of a file; late, types: as of `imports`."""
    found: list[ast.Import | ast.ImportFrom] = []

    def visit(node: ast.AST) -> None:
        if (
            not types
            and isinstance(node, ast.If)
            and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        ):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not late:
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(found)


def imports(path: Path, *, late: bool = True, known=MODULES, types: bool = False) -> set[str]:
    """The modules a file imports; late: also those inside functions. Imports for type checkers
    alone do not count."""
    found: set[str] = set()
    for node in statements(path, late, types):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
            continue
        assert node.level == 0, f"relative import in {path}: imports are absolute here"
        # `from pnas_tf.networks import layers` imports a module, `from pnas_tf.networks.layers
        # import apply_block` a name of one.
        submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
        found.update(submodules or {node.module})
    return found


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in ("pnas_tf", "tools")}


def reached(module: str) -> set[str]:
    """Every module of ours that `module` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for name in ours(imports(MODULES[waiting.pop()])) - seen:
            seen.add(name)
            if name in MODULES:
                waiting.append(name)
    return seen


def under(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def test_every_room_has_its_place():
    rooms = {room_of(module) for module in MODULES}
    assert rooms == set(BELOW), "a new room: give it its place in DESIGN.md and in ORDER"


def circles(graph):
    """The files that reach themselves: each with the others of its circle, sorted."""
    reach = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for name in graph[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        reach[start] = seen
    return {
        tuple(sorted(other for other in reach[start] if start in reach[other]))
        for start in graph
        if start in reach[start]
    }


@pytest.mark.parametrize("folder", ["pnas_tf", "benchmarks"])
def test_no_file_imports_itself_through_others(folder):
    """Imports for type checkers alone count: two files that need each other's types are one."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    graph = {
        name: imports(path, known=files, types=True) & set(files) - {folder}
        for name, path in files.items()
    }
    assert circles(graph) == set()


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {("b", "c")}
    assert circles({"a": {"a"}, "b": set()}) == {("a",)}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module):
    for name in ours(imports(MODULES[module])):
        room = room_of(name)
        if name != "pnas_tf" and room != room_of(module):
            assert room in BELOW[room_of(module)], (
                f"{module} imports {name}: {room} does not stand below {room_of(module)}"
            )


@pytest.mark.parametrize(
    "module",
    [
        module
        for module in MODULES
        if room_of(module) in ("training", "tflite", "devices", "applications")
    ],
)
def test_deployment_never_needs_the_supernet(module):
    for name in reached(module):
        assert room_of(name) != "search" and name not in SUPERNET, f"{module} reaches {name}"


@pytest.mark.parametrize("module", MODULES)
def test_tensorflow_is_imported_late_or_never(module):
    for late in (False, True):
        external = {name.split(".")[0] for name in imports(MODULES[module], late=late)}
        if under(module, NO_TENSORFLOW_AT_ALL if late else NO_TENSORFLOW_AT_IMPORT):
            assert not external & TENSORFLOW, f"{module} imports {external & TENSORFLOW}"


def test_keras_is_tf_keras_in_one_style():
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    assert alias.name.split(".")[0] != "keras", f"{module} imports Keras 3"
                    assert alias.name != "tf_keras" or alias.asname == "keras", (
                        f"{module}: import tf_keras as keras"
                    )
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "tf"
            ):
                assert node.attr != "keras", f"{module} line {node.lineno}: tf.keras"


@pytest.mark.slow
def test_light_rooms_load_without_tensorflow():
    light = [module for module in MODULES if under(module, NO_TENSORFLOW_AT_IMPORT)]
    program = (
        "import importlib, sys\n"
        + f"for name in {light!r}: importlib.import_module(name)\n"
        + f"print([n for n in {sorted(TENSORFLOW)!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def private_names(source: str) -> set[str]:
    """The undocumented names that a program reaches: by an import, by attributes of a module that
    it has imported, or by a module's name in a string."""
    tree = ast.parse(source)
    stands_for: dict[str, str] = {}
    reached: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            reached |= {alias.name for alias in node.names}
            for alias in node.names:
                top = alias.name.split(".")[0]
                stands_for[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                stands_for[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                reached.add(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            reached.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in stands_for:
                reached.add(f"{stands_for[first]}.{rest}")

    def documented(name: str) -> bool:
        below = name.removeprefix("tensorflow_datasets.core").lstrip(".").split(".")[0]
        return name.startswith("tensorflow_datasets.core") and below in {"", *TFDS_DOCUMENTED}

    return {name for name in reached if under(name, PRIVATE) and not documented(name)}


@pytest.mark.parametrize("folder", ["pnas_tf", "tools", "benchmarks", "tests"])
def test_private_machinery_stands_behind_one_door(folder):
    door = ROOT / "pnas_tf" / "_tf_private.py"
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path not in (door, Path(__file__)):
            names = private_names(path.read_text(encoding="utf-8"))
            assert not names, f"{path.relative_to(ROOT)} reaches {names}: move it to {door.name}"
    assert private_names(door.read_text(encoding="utf-8"))


def test_nothing_is_made_deterministic_for_good():
    """It cannot be taken back, and a caller's own random op without a seed fails from then on."""
    for path in [
        *MODULES.values(),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
    ]:
        if path.name not in ("_tf_private.py", Path(__file__).name):
            assert "enable_op_determinism" not in path.read_text(), path


@pytest.mark.parametrize(
    "program, private",
    [
        ("from tensorflow.python.eager import context", True),
        ("def f():\n    import tensorflow.lite.python.convert_phase", True),
        ("import tensorflow_datasets as tfds\ntfds.core.download.resource", True),
        ("import tensorflow_datasets as tfds\ntfds.core.Version('1.0.0')", False),
        ("from tensorflow_datasets import core\ncore.download", True),
        ("from tensorflow_datasets.core.download import resource", True),
        ("import tensorflow as tf\ntf.python.eager", True),
        ("import importlib\nimportlib.import_module('tensorflow.python.eager')", True),
        ("from xla.tsl.protobuf import coordination_config_pb2", True),
        ("import tensorflow as tf\ntf.lite.TFLiteConverter, tf.raw_ops.Add", False),
    ],
)
def test_private_names_are_seen(program, private):
    assert bool(private_names(program)) == private


def test_no_file_is_named_after_nothing():
    for module in MODULES:
        assert module.rsplit(".", 1)[-1] not in (
            "utils",
            "util",
            "helpers",
            "helper",
            "common",
            "misc",
            "manager",
        )


def test_the_parser_sees_what_it_must(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tools.x\nimport "
        "pnas_tf.errors\n"
        "from pnas_tf.networks import layers\ndef f():\n    import tensorflow as tf\n"
    )
    assert imports(source) == {"typing", "pnas_tf.errors", "pnas_tf.networks.layers", "tensorflow"}
    assert imports(source, late=False) == {"typing", "pnas_tf.errors", "pnas_tf.networks.layers"}
