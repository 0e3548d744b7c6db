"""docs/one_supernet.md, made of the jobs' documents alone; the words are by hand, without any
figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence import tables
from benchmarks.one_supernet.correction import DRAWS, rank_on_others
from benchmarks.one_supernet.work import DEVICES, MANY_IMAGES, PUBLISHED, Place
from pnas_tf.io import atomic
from pnas_tf.search.effects import Agreement, agreement_of

CORRECTING = (4, 8, 16)  # trained networks
_CORRECTED = (
    "The model corrected by some of them: what they have beyond a line in the model is shared out "
    "among their choices, by ridge regression. Rank correlation with the others, as the model is "
    f"and corrected, mean over {DRAWS} random choices of those that correct it:"
)
_REMARKS = Path(__file__).with_name("remarks.md")


def write_page(places: Sequence[Place], path: Path) -> None:
    """Writes the page; rows that were not made are left out."""
    parts = [_REMARKS.read_text().rstrip(), "## How well it ranks", _held_out(places)]
    parts += ["Against trained networks:", _ranking(places), _CORRECTED, _corrected(places)]
    for study in dict.fromkeys(place.study.name for place in places):
        mine = [p for p in places if p.study.name == study and (p.folder / "derived.json").exists()]
        if mine:
            title = f"## Three targets of `{study}`"
            parts += [title, "Accuracy on validation / test split, %:", _targets(mine)]
            parts += [_costs(mine), _int8(mine), *_tuned(mine), *_fronts(mine)]
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
                f"{document['cpu_s']:.0f} s",
            ]
        )
    header = ["study", "paths", "seed", "held out, cross-entropy", "held out, accuracy"]
    return _table([*header, "weight of pairs", "CPU, 400 paths"], rows)


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


def _corrected(places: Sequence[Place]) -> str:
    rows = []
    for place in places:
        published, effects = place.published(), place.effects()
        losses = -np.array(list(published.values()))
        found = [
            rank_on_others(effects, list(published), losses, count=count) for count in CORRECTING
        ]
        cells = [f"{plain:.2f}, {better:.2f}" for plain, better in found]
        rows.append([*_name(place), *cells])
    header = ["study", "paths", "seed", *(f"{count} networks" for count in CORRECTING)]
    return _table(header, rows)


def _published(place: Place) -> dict[str, Any]:
    """What results.json of docs/evidence has of the study."""
    studies = json.loads(PUBLISHED.read_text())["studies"]
    return next(one for one in studies if one["name"] == place.study.name)


def _networks(place: Place) -> dict[str, dict[str, Any]]:
    """Those that the study trained, by name."""
    return _published(place)["networks"]


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
    rows, networks = [], _networks(places[0])
    for budget in places[0].study.budgets:
        ours = _trained(places, f"trained_{budget.name}")
        derived = [place.once("derived", dict)["networks"][budget.name] for place in places]
        found = [row["ops"] for row in derived]
        same = {name: row for name, row in networks.items() if row["ops"] in found}
        searches = [
            row
            for row in networks.values()
            if (row["contender"], row["group"]) == ("two_path", budget.name)
        ]
        rows.append(
            [
                budget.name,
                *_accuracies(ours),
                ", ".join(f"`{name}`" for name in same) or "none",
                *_accuracies(list(same.values())),
                *_accuracies(searches),
                f"{np.mean([row['cpu_s'] for row in derived]):.0f} s",
                f"{np.mean([row['solving_cpu_s'] for row in derived]):.1f} s",
            ]
        )
    header = ["target", "one supernet", "the same network in the study", "its training there"]
    return _table([*header, "three searches", "CPU a target", "of it solving"], rows)


def _accuracies(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Of the validation and of the test split, in one cell."""
    if not rows:
        return ["not trained"]
    return [" / ".join(_points([row[f"{s}_accuracy"] for row in rows]) for s in ("alpha", "test"))]


def _costs(places: Sequence[Place]) -> str:
    one, trainings = [], []
    for place in places:
        derived = place.once("derived", dict)["networks"].values()
        costs = [place.once(name, dict)["cpu_s"] for name in ("supernet", "paths")]
        costs += [row["cpu_s"] for row in derived]
        one += [sum(costs)] if None not in costs else []
        for budget in place.study.budgets:
            trainings += [row["cpu_s"] for row in _trained([place], f"trained_{budget.name}")]
    known = [cost for cost in trainings if cost is not None]
    if not one or not known:
        return "What it costs was not measured whole."
    study = places[0].study
    trainings_each = tables.search_ratio(_published(places[0]), "two_path", study.middle.name)
    several = 3 * trainings_each * np.mean(known)
    share = np.mean(one) / several
    return (
        f"One supernet, its effect model and three derivations took {np.mean(one):.0f} s of CPU; "
        f"three searches of {trainings_each:.2f} trainings each (docs/evidence.md) would take "
        f"{several:.0f} s here, so that the cost is {share:.2f} of "
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


def _fronts(places: Sequence[Place]) -> list[str]:
    made = [place for place in places if (place.folder / "fronts.json").exists()]
    if not made:
        return []
    documents = [place.once("fronts", dict)["networks"] for place in made]
    rows, solving = [], [row["solving_cpu_s"] for rows in documents for row in rows]
    for fraction in dict.fromkeys(row["fraction"] for row in documents[0]):
        of = {
            name: [
                row
                for networks in documents
                for row in networks
                if (row["fraction"], row["device"]) == (fraction, name)
            ]
            for name in DEVICES
        }
        here, there = (of[name] for name in DEVICES)
        apart = [
            float(np.count_nonzero(np.subtract(one["path"], other["path"])))
            for one, other in zip(here, there, strict=True)
        ]
        cells = [f"{fraction:.2f}"]
        for name in DEVICES:
            cells += [
                f"{np.mean([row['ms'][name] for row in of[name]]):.4f}",
                f"{np.mean([row['loss'] for row in of[name]]):.4f}",
            ]
        rows.append([*cells, f"{np.mean(apart):.1f} of {len(here[0]['path'])}"])
    header = ["budget", *(f"{name}: {what}" for name in DEVICES for what in ("ms", "loss"))]
    words = (
        "The best networks by the effect model for ten budgets on two devices, which float32 and "
        "int8 on one thread stand for, each from the same supernet: cross-entropy by the "
        f"supernet's weights on {MANY_IMAGES} validation images. A budget is where it lies between "
        f"the fastest and the slowest network. One takes {np.median(solving):.2f} s to find "
        f"(median of {len(solving)}, CPU)."
    )
    title = f"## Ten budgets on two devices, `{places[0].study.name}`"
    return [title, words, _table([*header, "blocks that differ"], rows)]


def _tuned(places: Sequence[Place]) -> list[str]:
    rows = []
    for name, words in (
        ("tuned_middle_1", "1 epoch"),
        ("tuned_middle_2", "2 epochs"),
        ("trained_middle", f"{places[0].study.training.epochs} epochs from scratch"),
    ):
        found = _trained(places, name)
        rows += [[words, *_accuracies(found)]] if found else []
    if len(rows) < 2:
        return []
    return ["Trained on from the supernet's weights:", _table(["middle target", "accuracy"], rows)]
