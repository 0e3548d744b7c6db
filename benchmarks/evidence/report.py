"""docs/evidence.md and its plots, from results.json alone; results.json from the output files.
Computes no network, decides no bar by hand.

What was tried and why, in words, stands in remarks.md and is taken over as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.evidence import plots, tables
from benchmarks.evidence.collect import collect, write_results
from benchmarks.evidence.work import Workshop
from docs.wrap import wrapped
from pnas_tf.io import atomic

REMARKS = Path(__file__).with_name("remarks.md")
_MARK = "<!-- {name} -->"


def write_report(shops: Sequence[Workshop], docs: Path) -> None:
    """Reads the test split where it has not been read, and writes results.json, the plots and
    evidence.md below `docs`. Of a study that is not among `shops`, or of which more jobs are open
    here than results.json was made from, what results.json has is kept."""
    path = docs / "evidence" / "results.json"
    studies = {each["name"]: each for each in _stored(path)} if path.is_file() else {}
    for shop in shops:
        name, found = shop.study.name, collect(shop)
        if name in studies and len(found["open"]) > len(studies[name]["open"]):
            print(
                f"{name}: {len(found['open'])} jobs are open; {path} has more of it, and keeps it"
            )
        else:
            studies[name] = found
    write_document(write_results(list(studies.values()), path), docs)


def write_document(results: Path, docs: Path) -> None:
    """evidence.md and the plots from results.json."""
    documents = _stored(results)
    text = REMARKS.read_text()
    parts = {
        "explorations": tables.explorations(
            [document for document in documents if not document["tested"]]
        )
    }
    for document in documents:
        parts |= {
            f"{document['name']}: {name}": part for name, part in tables.sections(document).items()
        }
        if document["tested"]:
            _plots(document, docs / "evidence")
    for name, part in parts.items():
        text = text.replace(_MARK.format(name=name), part)
    atomic.write_text(docs / "evidence.md", wrapped(text))
    print(f"wrote {docs / 'evidence.md'}")


def _stored(results: Path) -> list[dict[str, Any]]:
    stored = atomic.read_document(
        results,
        format="pnas_tf/evidence",
        version=1,
        what="evidence",
        made_by="python -m benchmarks.evidence",
    )
    return cast(list[dict[str, Any]], stored["studies"])


def _plots(document: dict[str, Any], folder: Path) -> None:
    name = document["name"]
    if any(row["latency_ms"] for row in document["networks"].values()):
        plots.front(document, folder / f"{name}_front.png")
    if "ranking" in document:
        plots.ranking(document, folder / f"{name}_ranking.png")
    if document["searches"]:
        plots.learning(document, folder / f"{name}_learning.png")
        first = f"two_path_{document['middle']}_0"
        if first in document["searches"]:
            plots.probabilities(document, first, folder / f"{name}_probabilities.svg")
