"""A default exists once: where an option has one, the library takes it from there or has none."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import pnas_tf
from pnas_tf import config
from pnas_tf.config import (
    ConversionConfig,
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    DistributionConfig,
    ExportConfig,
    LatencyConfig,
    OptimizerConfig,
    SearchConfig,
    TrainConfig,
)

LIBRARY = Path(pnas_tf.__file__).parent
PREFIXES = (
    "arch_",
    "finetune_",
    "rl_",
    "search_",
    "bn_",
    "latency_",
    "size_",
    "convert_",
    "export_",
    "int8_",
)
CONFIGS = (
    DataConfig,
    OptimizerConfig,
    SearchConfig,
    TrainConfig,
    OptimizerConfig,
    DeriveConfig,
    DistributionConfig,
    ExportConfig,
    DeviceConfig,
    ConversionConfig,
    LatencyConfig,
)
# Fields of records, which say what was done: no options.
# Names that are an option's elsewhere, and here another thing.
FACTS = {
    "budgets.py": {"batch"},
    "summary.py": {"images"},
    "compare.py": {"networks"},
    "parity_report.py": {"rewrites"},
    "run_files.py": {"steps"},
}
FILES = [
    *(
        path
        for room in ("search", "training", "run", "tflite", "interop")
        for path in sorted((LIBRARY / room).rglob("*.py"))
    ),
    *sorted({*(LIBRARY / "devices").rglob("*.py")} - {LIBRARY / "devices/record.py"}),  # what was
    *sorted((LIBRARY / "latency").glob("*.py")),
    *sorted((LIBRARY / "data").glob("*.py")),
    *sorted((LIBRARY / "report").glob("*.py")),
    LIBRARY / "supernet/supernet.py",
    LIBRARY / "supernet/initializers.py",
]


def option_names():
    names = {field.name for config in CONFIGS for field in dataclasses.fields(config)}
    names -= {"strategy", "replicas"}  # in the library TensorFlow's and ours, not the options
    return names | {name.removeprefix(prefix) for name in names for prefix in PREFIXES}


def defaults_of(tree):
    """(line, name, default) of every parameter and class field that has a default."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            ordered = node.args.posonlyargs + node.args.args
            pairs = [
                *zip(ordered[len(ordered) - len(node.args.defaults) :], node.args.defaults),
                *zip(node.args.kwonlyargs, node.args.kw_defaults),
            ]
            yield from (
                (argument.lineno, argument.arg, default)
                for argument, default in pairs
                if default is not None
            )
        elif isinstance(node, ast.ClassDef):
            yield from (
                (field.lineno, field.target.id, field.value)
                for field in node.body
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and field.value is not None
            )


def is_of_a_config(name, default):
    """Whether it is `SomeConfig.option` itself, all of a config's, or None: nothing given."""
    option = rf"({'|'.join(PREFIXES)})?{name}"
    return re.fullmatch(rf"None|\w+Config(\.{option}|\(\))", default) is not None


def second_truths(source):
    """Defaults of options that are not a config's own."""
    names = option_names()
    found = [
        (line, name, ast.unparse(default)) for line, name, default in defaults_of(ast.parse(source))
    ]
    return [row for row in found if row[1] in names and not is_of_a_config(*row[1:])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_option_has_a_second_default(path):
    found = {name for _, name, _ in second_truths(path.read_text())}
    assert found <= FACTS.get(path.name, set())


def test_the_check_sees_each_form_of_default():
    source = """
def f(momentum=0.9, *, learning_rate: float = 1e-3, other=1): ...
def g(weights_init=SearchConfig.weights_init): ...
class A:
    epochs: int = 2
def h(batch=ExportConfig.export_batch, rewrites=None, *, config=ExportConfig()): ...
"""
    assert [name for _, name, _ in second_truths(source)] == ["momentum", "learning_rate", "epochs"]


def unread(options, sources):
    """Those of `options` that no program names, be it as an attribute or as a word."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    words = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return sorted(set(options) - attributes - words)


def test_no_option_does_nothing():
    kinds = [kind for kind in vars(config).values() if dataclasses.is_dataclass(kind)]
    options = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert len(set(options)) == len(options), "an option of two classes"
    files = [path for path in LIBRARY.rglob("*.py") if path != Path(config.__file__)]
    assert unread(options, [path.read_text() for path in files]) == []


def test_an_option_that_does_nothing_is_seen():
    program = "def f(config):\n    'of lost'\n    return config.seen, getattr(config, 'named')"
    assert unread(["seen", "named", "lost"], [program]) == ["lost"]
