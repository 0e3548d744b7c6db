"""The wheel: whole, ours alone, and at work where nothing else of the project is."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

import pnas_tf

ROOT = Path(__file__).parents[1]
PACKAGE = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "pnas_tf").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy: a build folder in the checkout would go into the next wheel."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "pnas_tf", source / "pnas_tf", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "tools", source / "tools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", "."]
    subprocess.run([sys.executable, "-m", "pip", *words, str(source)], check=True, cwd=source)
    (built,) = source.glob("*.whl")
    return built


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"pnas_tf-{pnas_tf.__version__}.dist-info"
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
    assert sorted(name for name in names if not name.startswith(info)) == PACKAGE
    assert f"{info}/licenses/LICENSE" in names
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Version"] == pnas_tf.__version__
    assert metadata.get_payload().startswith("# pnas_tf"), "the readme is its description"


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """Empty but for the libraries, which a path lends it: no package of ours is reached by that,
    since the editable one stands in a .pth file, and those are read of an environment's own folder
    alone."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env/bin/python"
    of_env = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    Path(of_env.stdout.strip(), "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", *install, str(wheel)], check=True)

    program = """
import pnas_tf
from importlib import metadata
print(metadata.version("pnas_tf"), pnas_tf.__file__)
print(pnas_tf.space("tiny", classes=3).classes)
try:
    import tools
except ModuleNotFoundError:
    print("no tools")
"""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = dict(cwd=tmp_path, env=clean, check=True, capture_output=True, text=True)
    version, three, tools = subprocess.run([python, "-c", program], **run).stdout.splitlines()
    assert version.split()[0] == pnas_tf.__version__
    assert version.split()[1].startswith(str(tmp_path)), "the wheel's own, not this checkout's"
    assert (three, tools) == ("3", "no tools")
    shown = subprocess.run([tmp_path / "env/bin/pnas", "--help"], **run).stdout
    assert "pnas run" in shown and "latency-table" in shown


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.search(r"^## (\d+\.\d+\.\d+) \((\S+)\)$", changes, re.M).groups()
    assert cited["version"] == version == pnas_tf.__version__
    assert str(cited["date-released"]) == date
    assert [author["family-names"] for author in cited["references"][0]["authors"]] == [
        "Cai",
        "Zhu",
        "Han",
    ]
