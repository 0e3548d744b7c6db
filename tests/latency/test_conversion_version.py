"""The number that stands in the cache key for the code that decides a converted model.

The code is everything that `_convert` reaches through imports of ours, but for what stands below
the search space in docs/DESIGN.md and knows of no network (it reports, stores or configures), and
for `complexity`, which counts what others have built.
"""

import ast
import hashlib
from pathlib import Path

import pytest

import pnas_tf
from pnas_tf.latency import models
from pnas_tf.space.mbconv import tiny

# The version and the hash of the code that it stands for.
KNOWN = (4, "c4b8c1c4be2e4ba9")
BELOW_THE_SPACE = ("pnas_tf.errors", "pnas_tf.config", "pnas_tf.io", "pnas_tf.run")
DECIDES_NOTHING = (*BELOW_THE_SPACE, "pnas_tf.space.complexity")


def path_of(module):
    """The module's file; None where the name is no module of ours."""
    place = Path(pnas_tf.__file__).parent.parent.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def imported(tree):
    """Modules of ours that the code imports, late imports too; those for type checkers count, as
    they cost nothing but a needless question."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("pnas_tf."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pnas_tf"):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            submodules = [name for name in submodules if path_of(name)]
            yield from submodules or [node.module]


def decides(module):
    return not any(module == name or module.startswith(name + ".") for name in DECIDES_NOTHING)


def targets(node):
    """The plain names that a statement assigns."""
    return [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]


def statements():
    """The top-level statements of the conversion's code: `_convert` with the constants that it
    uses, and all of every module that it reaches."""
    around = ast.parse(Path(models.__file__).read_text(encoding="utf-8")).body
    [convert] = [node for node in around if getattr(node, "name", "") == "_convert"]
    used = {node.id for node in ast.walk(convert) if isinstance(node, ast.Name)}
    constants = [node for node in around if isinstance(node, ast.Assign)]
    found = [convert, *(node for node in constants if used & set(targets(node)))]
    seen, waiting = set(), [convert]
    while waiting:
        for module in set(filter(decides, imported(waiting.pop()))) - seen:
            seen.add(module)
            tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
            found.extend(tree.body)
            waiting.append(tree)
    return found


class Meaning(ast.NodeTransformer):
    """Drops what decides no model: docstrings, imports, and the words of a refusal."""

    def visit_Import(self, node):
        return None

    visit_ImportFrom = visit_Import

    def visit_Raise(self, node):
        return ast.Raise()

    def visit_Expr(self, node):
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)


def plain(node):
    """The tree as lists; `ast.dump` writes empty fields in some versions of Python only."""
    if isinstance(node, ast.AST):
        fields = [(name, plain(value)) for name, value in ast.iter_fields(node)]
        return [type(node).__name__, *([n, v] for n, v in fields if v not in (None, []))]
    return [plain(item) for item in node] if isinstance(node, list) else repr(node)


def hash_of(nodes):
    """The same wherever the statements stand: formatting, comments and moves do not count."""
    kept = [Meaning().visit(node) for node in nodes]
    texts = sorted(repr(plain(node)) for node in kept if node is not None)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_the_code_has_not_changed_under_its_number():
    now = (models.CONVERSION_VERSION, hash_of(statements()))
    assert now == KNOWN, (
        "The code that decides converted models has changed. If any model's bytes may differ, "
        "raise CONVERSION_VERSION in pnas_tf/latency/models.py, so that models in users' caches "
        f"are made again. Then write {(models.CONVERSION_VERSION, now[1])} (with the new number) "
        "in KNOWN of this file."
    )


def test_the_constants_of_the_conversion_count():
    names = {name for node in statements() for name in targets(node)}
    assert "_REPRESENTATIVE_SAMPLES" in names and "CONVERSION_VERSION" not in names


@pytest.mark.parametrize(
    "name",
    [
        "_convert",
        "convert",
        "apply_rewrites",
        "tile",
        "build_network",
        "apply_block",
        "strided",
        "make_divisible",
        "synchronised_batch_norm",
        "MBConv",
        "Block",
        "Architecture",
        "run_graph",
    ],
)
def test_the_code_holds_what_decides_a_model(name):
    assert name in {getattr(node, "name", "") for node in statements()}


@pytest.mark.parametrize("name", ["UserError", "write_bytes", "Progress", "content_key"])
def test_the_code_holds_nothing_else(name):
    assert name not in {getattr(node, "name", "") for node in statements()}


CODE = '''
"""What it is."""
from a import b

def f(x):
    """Doubles."""
    if x is None:
        raise ValueError("no x")
    return 2 * x  # twice
'''


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("  # twice", "", False),
        ("2 * x", "(2 *\n        x)", False),
        ("Doubles.", "Gives twice as much.", False),
        ("from a import b", "import c", False),
        ("no x", "x is missing", False),
        ("2 * x", "3 * x", True),
        ("is None", "is not None", True),
        ("def f", "A = 1\ndef f", True),
    ],
)
def test_only_meaning_counts(old, new, counts):
    hashes = [hash_of(ast.parse(text).body) for text in (CODE, CODE.replace(old, new))]
    assert (hashes[0] != hashes[1]) == counts


def test_the_number_and_the_packages_are_in_the_key(monkeypatch):
    block = tiny().fixed_blocks()[0]
    keys = [models.content_key(block, dtype="float32", rewrites=())]
    monkeypatch.setattr(models, "CONVERSION_VERSION", models.CONVERSION_VERSION + 1)
    keys.append(models.content_key(block, dtype="float32", rewrites=()))
    version = models.metadata.version
    for package in ("tensorflow", "tf_keras", "flatbuffers", "numpy"):
        monkeypatch.setattr(
            models.metadata,
            "version",
            lambda name, changed=package: version(name) + "x" * (name == changed),
        )
        keys.append(models.content_key(block, dtype="float32", rewrites=()))
    assert len(set(keys)) == len(keys)
