"""What docs take from the code is what the code says."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_options_is_made_of_the_options(generate):
    page = (DOCS / "options.md").read_text(encoding="utf-8")
    assert page == generate.options_page(), "python docs/generate.py"


def test_the_table_of_steps_is_made_of_the_steps(generate):
    page = (DOCS / "running.md").read_text(encoding="utf-8")
    assert generate.BEGIN in page and generate.END in page
    assert page == generate.running_page(page), "python docs/generate.py"
