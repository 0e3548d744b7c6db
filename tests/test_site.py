"""The docs site: built without a warning, of every page, with nothing for a browser to fetch."""

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pnas_tf as pnas

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FETCHED = {  # what a browser loads by itself, by tag: the attribute that names it
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "link": "href",
    "image": "href",
}


class Loaded(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in FETCHED:
            self.addresses.append(dict(attrs).get(FETCHED[tag]) or "")
        style = dict(attrs).get("style") or ""
        self.addresses += of_styles(style)


def of_styles(text):
    found = re.findall(r"""url\(\s*["']?([^"')]+)""", text)
    return found + re.findall(r"""@import\s+["']([^"']+)""", text)


def is_elsewhere(address):
    return re.match(r"(?:[a-z][a-z0-9+.-]*:)?//", address, re.I) is not None


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="the docs site's generator: pip install 'pnas_tf[docs]'")
    made = tmp_path_factory.mktemp("site")
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", f"{made}-trees"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(DOCS), str(made)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    return made


@pytest.mark.slow
def test_every_page_is_there_and_nothing_is_fetched(site):
    for path in DOCS.rglob("*.md"):  # the generator has pages of its own, as search.html
        title = path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# ")
        page = (site / path.relative_to(DOCS).with_suffix(".html")).read_text(encoding="utf-8")
        heading = html.unescape(re.sub("<[^>]+>", "", re.search("<h1>(.*?)<a ", page)[1]))
        assert re.sub("[^a-z]", "", heading.lower()) == re.sub("[^a-z]", "", title.lower()), path
    for path in site.rglob("*.html"):
        addresses = Loaded(path.read_text(encoding="utf-8")).addresses
        assert addresses and not list(filter(is_elsewhere, addresses)), path
    for path in site.rglob("*.css"):
        assert not list(filter(is_elsewhere, of_styles(path.read_text(encoding="utf-8")))), path


@pytest.mark.slow
def test_the_reference_has_all_that_the_package_offers(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    found = set(re.findall(r'id="pnas_tf\.[\w.]*?(\w+)"', text))
    assert set(pnas.__all__) - {"data", "applications"} | set(pnas.data.__all__) <= found


def test_what_would_be_fetched_is_seen():
    text = """<script src="https://a.b/c.js"></script><link href="//d.e/f.css"><a href="https://g">
    <img src="h.png" style="background: url('http://i.j/k.png')">"""
    found = list(filter(is_elsewhere, Loaded(text).addresses))
    assert found == ["https://a.b/c.js", "//d.e/f.css", "http://i.j/k.png"]
    assert of_styles("@import 'https://l'; a { src: url(m.woff) }") == ["m.woff", "https://l"]
