"""docs/one_supernet.md, made of the jobs' documents alone; the words are by hand, without any
figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.one_supernet.work import MANY_IMAGES, PUBLISHED, Place
from pnas_tf.io import atomic
from pnas_tf.search.effects import Agreement, agreement_of

_REMARKS = Path(__file__).with_name("remarks.md")
_SEARCH_TRAININGS = 1.99  # of one two_path search, by timed steps (docs/evidence.md)


def write_page(places: Sequence[Place], path: Path) -> None:
    """Writes the page; rows that were not made are left out."""
    parts = [_REMARKS.read_text().rstrip(), "## How well it ranks", _held_out(places)]
    parts += ["Against trained networks:", _ranking(places)]
    for study in dict.fromkeys(place.study.name for place in places):
        mine = [p for p in places if p.study.name == study and (p.folder / "derived.json").exists()]
        if mine:
            parts += [f"## Three targets of `{study}`", _targets(mine), _costs(mine)]
            parts += [_int8(mine), "Trained on from the supernet's weights:", _tuned(mine)]
    atomic.write_text(path, "\n\n".join(parts) + "\n")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(found: Agreement) -> str:
    return f"{found.spearman:.2f} ({found.low:.2f} to {found.high:.2f})"


def _name(place: Place) -> list[str]:
    return [f"`{place.study.name}`", place.sampling, str(place.seed)]


def _held_out(places: Sequence[Place]) -> str:
    rows = []
    for place in places:
        by_loss, by_accuracy = place.effects(), place.effects("accuracies")
        document = place.once("paths", place.judged_paths)
        rows.append(
            [
                *_name(place),
                _words(by_loss.agreement),
                _words(by_accuracy.agreement),
                f"{by_loss.pair_weight:g}",
                f"{place.once('supernet', dict)['cpu_s']:.0f} s",
                f"{document['cpu_s']:.0f} s",
            ]
        )
    header = ["study", "paths", "seed", "held out, cross-entropy", "held out, accuracy"]
    return _table([*header, "weight of pairs", "CPU, supernet", "CPU, 400 paths"], rows)


def _ranking(places: Sequence[Place]) -> str:
    rows = []
    for place in places:
        if not (place.folder / "ranking.json").exists():
            continue
        document, effects = place.once("ranking", dict), place.effects()
        published = place.published()
        paths = [tuple(path) for path in document["paths"]]
        trained = -np.array([published[path] for path in paths])
        columns = [
            np.array([effects.of(path) for path in paths]),
            *(np.array(document[key]) for key in ("batch", "reestimated", "moving")),
            -np.array(document["batch_accuracy"]),
        ]
        found = [_words(agreement_of(column, trained)) for column in columns]
        own = agreement_of(columns[0], np.array(document["batch"]))
        rows.append([*_name(place), str(len(paths)), _words(own), *found])
    header = ["study", "paths", "seed", "networks", "model with supernet", "model"]
    header += [f"supernet, {MANY_IMAGES} images", "re-estimated", "moving", "by accuracy"]
    return _table(header, rows)


def _published_rows(place: Place, budget: str) -> list[dict[str, Any]]:
    studies = json.loads(PUBLISHED.read_text())["studies"]
    networks = next(one for one in studies if one["name"] == place.study.name)["networks"]
    rows = [r for r in networks.values() if r["contender"] == "two_path" and r["group"] == budget]
    assert rows
    return rows


def _points(values: Sequence[float]) -> str:
    """Mean, with its standard error where there are several."""
    found = 100 * np.array(values)
    if len(found) < 2:
        return f"{found.mean():.2f}"
    return f"{found.mean():.2f} ± {found.std(ddof=1) / np.sqrt(len(found)):.2f}"


def _trained(places: Sequence[Place], name: str) -> list[dict[str, Any]]:
    made = [place for place in places if (place.folder / f"{name}.json").exists()]
    return [place.once(name, dict) for place in made]


def _targets(places: Sequence[Place]) -> str:
    rows = []
    for budget in places[0].study.budgets:
        ours, theirs = (
            _trained(places, f"trained_{budget.name}"),
            _published_rows(places[0], budget.name),
        )
        derived = [place.once("derived", dict)["networks"][budget.name] for place in places]
        if ours:
            rows.append(
                [
                    budget.name,
                    str(len(ours)),
                    *(_points([row[f"{s}_accuracy"] for row in ours]) for s in ("alpha", "test")),
                    *(_points([row[f"{s}_accuracy"] for row in theirs]) for s in ("alpha", "test")),
                    f"{np.mean([row['macs'] for row in ours]) / 1e6:.2f}",
                    f"{np.mean([row['cpu_s'] for row in derived]):.0f} s",
                    f"{np.mean([row['solving_cpu_s'] for row in derived]):.1f} s",
                ]
            )
    header = ["target", "networks", "one supernet: validation, %", "test, %"]
    header += [
        "three searches: validation, %",
        "test, %",
        "M MACs",
        "CPU a target",
        "of it solving",
    ]
    return _table(header, rows)


def _costs(places: Sequence[Place]) -> str:
    one, several = [], []
    for place in places:
        training = [row["cpu_s"] for row in _trained([place], "trained_middle")]
        derived = place.once("derived", dict)["networks"].values()
        cost = place.once("supernet", dict)["cpu_s"] + place.once("paths", dict)["cpu_s"]
        one.append(cost + sum(row["cpu_s"] for row in derived))
        several.append(3 * _SEARCH_TRAININGS * training[0] if training else np.nan)
    share = np.mean(one) / np.nanmean(several)
    return (
        f"One supernet, its effect model and three derivations took {np.mean(one):.0f} s of CPU; "
        f"three searches of {_SEARCH_TRAININGS} trainings each (docs/evidence.md) would take "
        f"{np.nanmean(several):.0f} s here, so that the cost is {share:.2f} of "
        "theirs. Trainings of what was found are in neither."
    )


def _int8(places: Sequence[Place]) -> str:
    rows = [row for p in places for row in p.once("derived", dict)["networks"].values()]
    apart = [100 * abs(np.subtract(*row["int8_accuracies"])) for row in rows]
    changed = sum(row["int8_changes"] for row in rows)
    return (
        f"The two networks that were trained on, as int8 files: in {changed} of {len(rows)} "
        f"derivations the one of higher int8 accuracy is not the one of lower float loss; they are "
        f"{min(apart):.2f} to {max(apart):.2f} points apart on the validation split."
    )


def _tuned(places: Sequence[Place]) -> str:
    rows = []
    for name, words in (
        ("tuned_middle_1", "1 epoch"),
        ("tuned_middle_2", "2 epochs"),
        ("trained_middle", f"{places[0].study.training.epochs} epochs from scratch"),
    ):
        found = _trained(places, name)
        if found:
            values = (_points([row[f"{s}_accuracy"] for row in found]) for s in ("alpha", "test"))
            rows.append([words, *values])
    return _table(["middle target", "validation, %", "test, %"], rows)
