"""The plots of docs/evidence.md, from the collected document alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.evidence.collect import home_searches
from benchmarks.evidence.figures import mean_and_error
from benchmarks.evidence.plan import HOME
from pnas_tf.report.alpha_plot import alpha_figure
from pnas_tf.report.figures import svg_of
from pnas_tf.report.run_files import SearchHistory
from pnas_tf.space.registry import space_from_json

STYLES = {
    "random": ("random, equal latency", "#9aa5ad", "o"),
    "uniform": ("MobileNetV2-style uniform", "#e0a030", "s"),
    "two_path": ("searched, two_path", "#2a6f97", "D"),
    "reinforce": ("searched, reinforce", "#d1495b", "^"),
}


def front(document: Mapping[str, Any], path: Path) -> None:
    """Test accuracy against measured float32 latency: every network, and each contender's mean with
    its standard error."""
    figure, axes = _figure(7.2, 4.4)
    for contender, (label, color, marker) in STYLES.items():
        rows = [
            row
            for row in document["networks"].values()
            if row["contender"] == contender and HOME in row["latency_ms"]
        ]
        axes.scatter(
            [row["latency_ms"][HOME] for row in rows],
            [100 * row["test_accuracy"] for row in rows],
            s=14,
            color=color,
            alpha=0.45,
            linewidths=0,
            marker=marker,
        )
        means = []
        for budget in document["targets_ms"]:
            mine = [row for row in rows if row["group"] == budget]
            if mine:
                mean, error = mean_and_error([100 * row["test_accuracy"] for row in mine])
                means.append(
                    (float(np.mean([row["latency_ms"][HOME] for row in mine])), mean, error or 0.0)
                )
        if means:
            x, y, errors = zip(*sorted(means))
            axes.errorbar(
                x,
                y,
                yerr=errors,
                color=color,
                marker=marker,
                markersize=6,
                capsize=3,
                linewidth=1.4,
                label=label,
            )
    for target in document["targets_ms"].values():
        axes.axvline(target, color="#c9d1d6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set(
        xlabel="measured latency, ms (float32, one thread; dashed: the targets)",
        ylabel="test accuracy, %",
    )
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def ranking(document: Mapping[str, Any], path: Path) -> None:
    """Accuracy on the validation split with the supernet's weights against the same after training
    from scratch."""
    figure, axes = _figure(5.6, 4.2)
    for contender, (label, color, marker) in STYLES.items():
        for budget, filled in [
            (name, name == document["middle"]) for name in document["targets_ms"]
        ]:
            pairs = ranked_pairs(document, contender, budget)
            if pairs:
                axes.scatter(
                    *zip(*pairs),
                    s=26,
                    marker=marker,
                    facecolors=color if filled else "none",
                    edgecolors=color,
                    label=label if filled else None,
                )
    axes.set(
        xlabel="validation accuracy with the supernet's weights, %",
        ylabel="validation accuracy trained from scratch, %",
    )
    axes.legend(frameon=False, fontsize=8, title="filled: middle budget", title_fontsize=8)
    _save(figure, path)


def ranked_pairs(
    document: Mapping[str, Any], contender: str, budget: str, *, by: str = "ranking"
) -> list[tuple[float, float]]:
    """(supernet's, trained) validation accuracy in percent of the networks of one contender at one
    budget; the mean over training seeds.

    by: "ranking_by_loss" has 100 times the supernet's cross-entropy, below zero so that more is
    better, for its accuracy.
    """
    found: dict[str, list[float]] = {}
    for name, row in document["networks"].items():
        if (row["contender"], row["group"]) == (contender, budget):
            key = {"random": name, "uniform": f"uniform_{budget}"}.get(contender, f"search_{name}")
            found.setdefault(key, []).append(100 * row["alpha_accuracy"])
    supernet, sign = document.get(by) or {}, -1 if by == "ranking_by_loss" else 1
    return [
        (100 * sign * supernet[key], float(np.mean(values)))
        for key, values in found.items()
        if key in supernet
    ]


def learning(document: Mapping[str, Any], path: Path) -> None:
    """Entropy of the path probabilities and expected latency over its target, of every search of
    the main comparison."""
    figure, (left, right) = _figure(8.4, 3.2, columns=2)
    for algorithm in ("two_path", "reinforce"):
        label: str | None
        label, color, _ = STYLES[algorithm]
        for budget in document["targets_ms"]:
            for row in home_searches(document, algorithm, budget).values():
                epochs = [epoch["epoch"] + 1 for epoch in row["epochs"]]
                left.plot(
                    epochs,
                    [epoch["entropy"] for epoch in row["epochs"]],
                    color=color,
                    alpha=0.6,
                    linewidth=1.2,
                    label=label,
                )
                right.plot(
                    epochs,
                    [epoch["expected"] / row["target_ms"] for epoch in row["epochs"]],
                    color=color,
                    alpha=0.6,
                    linewidth=1.2,
                )
                label = None
    right.axhline(1.0, color="#6b7a86", linewidth=0.9, linestyle=(0, (4, 3)))
    left.set(xlabel="epoch", ylabel="mean entropy of a block, nats")
    right.set(xlabel="epoch", ylabel="expected latency over target")
    left.legend(frameon=False)
    _save(figure, path)


def probabilities(document: Mapping[str, Any], search: str, path: Path) -> None:
    """Path probabilities of each block over the epochs of one search, as the run report draws
    them."""
    space, row = (
        space_from_json(document["space"], where="results.json"),
        document["searches"][search],
    )
    candidates = [choice.candidates for choice in space.choice_blocks]
    chosen = [next(op for op in ops if op.key == key) for ops, key in zip(candidates, row["ops"])]
    history = SearchHistory(
        tuple(tuple(op.key for op in ops) for ops in candidates), tuple(row["epochs"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg_of(alpha_figure(history, candidates, chosen=chosen)) + "\n")


def _figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e9edf0", linewidth=0.7)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
