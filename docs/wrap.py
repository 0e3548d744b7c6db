"""Wraps the prose of Markdown pages at 100 columns; tables, code, headings and links stay as they
are. A paragraph that fits is left alone.

  python docs/wrap.py

`tests/cli/test_docs.py` fails for a page with longer lines.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH = 100
_KEPT = "\0"  # a space at which no line ends
_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.) ")
_VERBATIM = re.compile(r"\s*(?:\||#|<|$)")


def wrapped(text: str) -> str:
    """The page with every paragraph that has a longer line wrapped anew."""
    lines: list[str] = []
    paragraph: list[str] = []
    fenced = code = False

    def end() -> None:
        lines.extend(
            _filled(paragraph) if max(map(len, paragraph), default=0) > WIDTH else paragraph
        )
        paragraph.clear()

    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        code = line.startswith("    ") and not paragraph and (code or not lines or not lines[-1])
        if fence or fenced or code or _VERBATIM.match(line):
            end()
            lines.append(line)
            fenced ^= fence
            continue
        if _ITEM.match(line):
            end()
        paragraph.append(line)
    end()
    return "\n".join(lines)


def pages() -> list[Path]:
    """Every page of the project that is written by hand or by a generator of ours."""
    remarks = ROOT / "benchmarks/evidence/remarks.md"
    models = ROOT / "tflite_models/README.md"
    return [*sorted((ROOT / "docs").rglob("*.md")), remarks, models, *sorted(ROOT.glob("*.md"))]


def _filled(paragraph: list[str]) -> list[str]:
    item = _ITEM.match(paragraph[0])
    first = paragraph[0][: len(paragraph[0]) - len(paragraph[0].lstrip())]
    later = " " * item.end() if item else first
    prose = " ".join(line.strip() for line in paragraph)
    start = item.group().lstrip() if item else ""
    body = prose.removeprefix(start)
    # What would begin a list, and a short piece of code, stay with what stands before them.
    body = re.sub(r" (?=(?:[-*+#>|]|\d+\.) )", _KEPT, body)
    body = re.sub(r"`[^`]{1,60}`", lambda code: code.group().replace(" ", _KEPT), body)
    filled = textwrap.wrap(
        start.replace(" ", _KEPT) + body,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_KEPT, " ") for line in filled]


def main() -> None:
    """Wraps all pages."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (new := wrapped(text)) != text:
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
