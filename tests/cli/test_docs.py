"""What docs take from the code is what the code says, and what they name is there."""

import ast
import dataclasses
import functools
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from pnas_tf.cli.flags import define_flags, parse
from pnas_tf.errors import UserError
from pnas_tf.options import check_heeded
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import Configs
from pnas_tf.steps.programs import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *sorted(DOCS.rglob("*.md")),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tflite_models/README.md")),
    )
}
ROOMS = {path.stem for path in (ROOT / "pnas_tf").iterdir() if not path.name.startswith("__")}
SUFFIXES = {"csv", "html", "json", "keras", "md", "png", "py", "tflite", "yaml"}
# Flags of Model Explorer, of an example in docs/howto/extend.md, and of a mistake.
OTHERS = {"node_data_paths", "gradient_clip", "target_latency"}
every_page = pytest.mark.parametrize("page", PAGES)
KIND = re.compile(r"# .+\n\n\*An? (?:tutorial|how-to|reference|explanation)\.\*")


def program(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate():
    return program("generate")


def test_the_page_of_options_is_made_of_the_options(generate):
    page = (DOCS / "options.md").read_text(encoding="utf-8")
    assert page == generate.options_page(), "python docs/generate.py"


def test_the_table_of_steps_is_made_of_the_steps(generate):
    page = (DOCS / "running.md").read_text(encoding="utf-8")
    assert generate.BEGIN in page and generate.END in page
    assert page == generate.running_page(page), "python docs/generate.py"


def links(text):
    """What a page links to in this checkout."""
    found = re.findall(r"\]\(([^)#\s]+)", text)
    return [target for target in found if "://" not in target]


def files(text):
    """Files of Python and folders that a page names; NAME and the like stand for any."""
    named = re.findall(r"(?<![\w./*{<-])((?:[\w-]+/)*[\w-]+\.py)\b", text)
    named += re.findall(r"`((?:[a-z_]+/)+)`", text)
    return [name for name in named if not re.search("[A-Z]{3}", name)]


def names(text):
    """Modules of ours and what stands in them: in backticks, in imports, behind `python -m`."""
    found = re.findall(r"`([a-z_]+(?:\.\w+)+)(?:\([^`]*\))?`", text)
    found = [
        name
        for name in found
        if name.split(".")[0] in {"pnas_tf", "benchmarks", *ROOMS}
        and name.split(".")[-1] not in SUFFIXES
    ]
    found += re.findall(r"python -m ((?:pnas_tf|benchmarks)[\w.]*\w)", text)
    for module, imported in re.findall(r"from (pnas_tf[\w.]*) import ([\w, ]+)", text):
        found += [f"{module}.{name.split()[0]}" for name in imported.split(",")]
    return found


@functools.cache
def written():
    """Every word in the programs of this checkout, but for this one."""
    places = ("pnas_tf", "tests", "benchmarks", "tools", "examples")
    programs = [path for place in places for path in (ROOT / place).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in programs if path != Path(__file__)]
    return OTHERS | set(re.findall(r"\w+", " ".join(texts)))


def strangers(text):
    """What a page calls by a name of code, or by a flag, that stands in no program."""
    found = re.findall(r"`(test_\w+|[A-Z]+_[A-Z_]+|(?:[A-Z]+[a-z]+){2,})`", text)
    flags = re.findall(r"(?<![\w-])--(\w+)", text)
    found += [flag for flag in flags if flag.removeprefix("no") not in written()]
    return [name for name in found if name not in written()]


def exists(name):
    """Whether it is there: from the root, in the package, or in a run folder (train/)."""
    return name.rstrip("/") in set(Artifact) or any(
        (ROOT / place / name).exists() for place in ("", "pnas_tf", "docs")
    )


@functools.cache
def defined(path):
    """The names of a module: of functions, classes, constants, imports, and of a class's parts."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        parts = [node, *(node.body if isinstance(node, ast.ClassDef) else [])]
        for part in parts:
            inside = f"{node.name}." if part is not node else ""
            if isinstance(part, ast.FunctionDef | ast.ClassDef):
                found.add(inside + part.name)
            elif isinstance(part, ast.Assign | ast.AnnAssign):
                targets = part.targets if isinstance(part, ast.Assign) else [part.target]
                found |= {inside + ast.unparse(target) for target in targets}
            elif isinstance(part, ast.ImportFrom | ast.Import):
                found |= {alias.asname or alias.name for alias in part.names}
    return found


def is_defined(name):
    """Whether `a.b.C.d` is a module, or stands in one; below the root or below pnas_tf."""
    parts = name.split(".")
    for place in (ROOT, ROOT / "pnas_tf"):
        for length in range(len(parts), 0, -1):
            path, rest = place.joinpath(*parts[:length]), ".".join(parts[length:])
            for module in (path.with_suffix(".py"), path / "__init__.py"):
                if module.is_file() and (not rest or rest in defined(module)):
                    return True
    return parts[0] == "pnas_tf" and len(parts) == 2 and is_defined(f"api.{parts[1]}")


@every_page
def test_what_a_page_names_is_there(page):
    text = PAGES[page]
    folder = (ROOT / page).parent
    assert [link for link in links(text) if not (folder / link).exists()] == []
    assert [name for name in files(text) if not exists(name)] == []
    assert [name for name in names(text) if not is_defined(name)] == []


# That page speaks of Android's own classes.
@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/android.md"])
def test_what_a_page_calls_by_name_stands_in_a_program(page):
    assert strangers(PAGES[page]) == []


@pytest.mark.parametrize("page", [page for page in PAGES if "/" in page])
def test_a_page_says_of_which_kind_it_is(page):
    assert KIND.match(PAGES[page]), "below its title: *A how-to.* or another of the four"


def commands(text):
    """`pnas NAME --flags` in code, as words; a command goes on in lines that begin with a flag."""
    fenced = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"(?:^    .+\n)+", text, re.M)
    inline = re.findall(r"`(pnas [^`]+)`", text.replace("\n", " "))
    for code in [*fenced, *indented, *inline]:
        for line in re.sub(r"\\?\n +(?=--)", " ", code).splitlines():
            if line.strip().removeprefix(".venv/bin/").startswith("pnas "):
                yield shlex.split(line, comments=True)[1:]


def check_command(words):
    """Raises UserError on a program or a flag that is not there, on a value that is none, and on a
    flag that does nothing beside the others."""
    name, *rest = words
    program = next(program for program in PROGRAMS if program.command == name)
    if program.takes_file is None:
        line = ["pnas", *(word for word in rest if word != "...")]
        given = parse(line, define_flags(program.configs))
        now, usual = (
            Configs(each.config(kind) for kind in program.configs)
            for each in (given, dataclasses.replace(given, flags={}))
        )
        for config in now:
            check_heeded(config, usual[type(config)])


# Troubleshooting shows mistakes, which tests of its own make.
@pytest.mark.parametrize("page", [page for page in PAGES if "troubleshooting" not in page])
def test_the_commands_of_a_page_are_commands(page):
    for words in commands(PAGES[page]):
        if words[0] not in ("help", "NAME") and "--help" not in words:
            check_command(words)


def test_a_command_that_is_none_is_seen():
    text = "`pnas help`\n\n    pnas run --run_dir=a\n      --gone=1\n\n```\npnas tune # no\n```\n"
    assert list(commands(text)) == [["tune"], ["run", "--run_dir=a", "--gone=1"], ["help"]]
    with pytest.raises(UserError, match="gone"):
        check_command(["run", "--gone=1"])
    with pytest.raises(UserError, match="epochs"):
        check_command(["train", "--epochs=many"])
    with pytest.raises(StopIteration):
        check_command(["tune"])


def test_the_page_of_programs_names_every_program():
    rows = re.findall(r"^\| `pnas ([a-z-]+)` \|", PAGES["docs/programs.md"], re.M)
    assert sorted(rows) == sorted(program.command for program in PROGRAMS)


def test_the_page_of_files_names_every_file_of_a_run_and_its_format():
    page = PAGES["docs/files.md"]
    folders = {Artifact.SEARCH, Artifact.TRAINING}  # their files are named
    assert [name for name in Artifact if name not in folders and f"`{name}`" not in page] == []
    told = dict(re.findall(r"`(pnas_tf/\w+)` \| (\d+) \|", page))
    written = {}
    for path in (ROOT / "pnas_tf").rglob("*.py"):
        pair = r"""["'](pnas_tf/\w+)["'],\s*(?:["']version["']:|version=)?\s*(\d+)"""
        written |= dict(re.findall(pair, path.read_text(encoding="utf-8")))
    assert len(written) > 15 and written == {name: told.get(name) for name in written}


def test_an_app_is_given_the_runtime_that_the_shipped_models_were_measured_with():
    shipped = (ROOT / "tflite_models" / "manifest.json").read_text(encoding="utf-8")
    (measured,) = set(re.findall(r'"runtime_version": "([^"]+)"', shipped))
    named = re.findall(r"litert(?:-gpu)?:([\d.]+\d)", PAGES["docs/android.md"])
    named += re.findall(r"LiteRT (\d+\.\d+\.\d+)", PAGES["docs/android.md"])
    assert len(named) == 3 and set(named) == {measured}


def test_pages_are_wrapped():
    wrap = program("wrap")
    long = [
        str(path) for path in wrap.pages() if path.read_text() != wrap.wrapped(path.read_text())
    ]
    assert long == [], "python docs/wrap.py"


def test_wrapping_changes_nothing_but_where_lines_end():
    wrap = program("wrap")
    words = "of a network - and 3. `pnas run --run_dir=runs/demo` (see [here](there.md)) " * 5
    page = (
        f"# {words}\n\n{words}\n\n- {words}\n  {words}\n1. short\n\n    {words}\n\n| {words} |\n"
        f"```\n{words}\n```\n"
    )
    found = wrap.wrapped(page)
    assert found.split() == page.split() and wrap.wrapped(found) == found
    prose = [line for line in found.split("\n") if not line.startswith(("#", "|", "    ", "of"))]
    assert all(len(line) <= 100 for line in prose[:-4]) and found.count(words) == 4
    assert not [line for line in prose if line.lstrip().startswith(("- and", "3."))]


def test_links_of_the_changelog_are_there():
    assert [link for link in links((ROOT / "CHANGELOG.md").read_text()) if not exists(link)] == []


def test_what_is_not_there_is_seen():
    assert links("[a](gone.md#b) [c](https://d.e)") == ["gone.md"]
    assert files("`gone/here.py`, tools/NAME.py, x.gone.py, `supernet/`") == [
        "gone/here.py",
        "supernet/",
    ]
    text = "`search.gate_gradient.gone(x)` `--a=b.c` `loop.py` from pnas_tf.space import gone"
    assert names(text) == ["search.gate_gradient.gone", "pnas_tf.space.gone"]
    assert not any(map(is_defined, names(text))) and not exists("gone/here.py")
    lost = "`test_what_is_gone`, `GoneAway`, `FIRST_GONE`, --gone_flag, --nogone_flag"
    assert len(strangers(f"{lost}, `UserError`, --seed=1, --nonesterov")) == 5
    assert is_defined("search.gate_gradient") and is_defined("space.ops.MBConv.key")
