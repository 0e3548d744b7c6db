"""A default exists once: where an option has one, the library takes it from there or has none."""

import ast
import dataclasses
from pathlib import Path

import pytest

import pnas_tf
from pnas_tf.config import (
    ConversionConfig,
    DataConfig,
    DeviceConfig,
    ExportConfig,
    LatencyConfig,
    OptimizerConfig,
    SearchConfig,
    TrainConfig,
)

LIBRARY = Path(pnas_tf.__file__).parent
PREFIXES = ("arch_", "finetune_", "rl_", "search_", "bn_", "latency_", "convert_")
CONFIGS = (
    DataConfig,
    SearchConfig,
    TrainConfig,
    OptimizerConfig,
    ExportConfig,
    DeviceConfig,
    ConversionConfig,
    LatencyConfig,
)
FILES = [
    *sorted((LIBRARY / "search").glob("*.py")),
    *sorted({*(LIBRARY / "devices").rglob("*.py")} - {LIBRARY / "devices/record.py"}),  # what was
    *sorted((LIBRARY / "latency").glob("*.py")),
    LIBRARY / "data/augmentation.py",
    LIBRARY / "supernet/supernet.py",
    LIBRARY / "supernet/initializers.py",
]


def option_names():
    names = {field.name for config in CONFIGS for field in dataclasses.fields(config)}
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


def second_truths(source):
    """Defaults of options that are not `SomeConfig.option` itself, nor all of a config's."""
    names = option_names()
    return [
        (line, name, ast.unparse(default))
        for line, name, default in defaults_of(ast.parse(source))
        if name in names and not ast.unparse(default).endswith((f"Config.{name}", "Config()"))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_option_has_a_second_default(path):
    assert second_truths(path.read_text()) == []


def test_fine_tuning_has_no_defaults_of_its_own():
    tree = ast.parse((LIBRARY / "tflite/quantize.py").read_text())
    [fine_tuning] = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "FineTuning"
    ]
    assert second_truths(ast.unparse(fine_tuning)) == []


def test_the_check_sees_each_form_of_default():
    source = """
def f(momentum=0.9, *, learning_rate: float = 1e-3, other=1): ...
def g(weights_init=SearchConfig.weights_init): ...
class A:
    epochs: int = 2
"""
    assert [name for _, name, _ in second_truths(source)] == ["momentum", "learning_rate", "epochs"]
