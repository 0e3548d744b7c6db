"""The report's parts on the search and the training. Knows nothing of the page around them."""

from __future__ import annotations

from collections.abc import Mapping

from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.io import Json
from pnas_tf.report import plots
from pnas_tf.report import summary_table as cells
from pnas_tf.report.alpha_plot import alpha_figure, alpha_slider
from pnas_tf.report.pareto_plot import compared_figure, pareto_figure
from pnas_tf.report.run_files import RunFiles
from pnas_tf.report.section import Plot, Section, Table
from pnas_tf.report.words import one_line
from pnas_tf.search.judgement import sentence


def search_section(run: RunFiles) -> Section | None:
    if run.search is None:
        return None
    target, unit = cells.target_of(run.summary)
    return Section(
        "The search",
        meaning="Shaded: the warm-up, which trains weights alone; then weights and choices are "
        "trained in turn."
        if run.search.trains_choices
        else "Weights alone are trained, on random paths; networks are compared behind that.",
        terms=("supernet", "warmup"),
        words=(*_of_another(run), *map(sentence, run.judgements)),
        plots=plots.search_plots(run.search, target=target, unit=unit),
    )


def _of_another(run: RunFiles) -> list[str]:
    """Whose search it is, where it was brought there."""
    place = one_line(str(run.specialised.get("from")))
    words = f"It is the search of {place}, from whose supernet this network was derived."
    return [words] if run.specialised else []


def alpha_section(run: RunFiles) -> Section | None:
    if run.search is None or run.worth:  # a supernet without alpha
        return None
    candidates = [choice.candidates for choice in run.architecture.space.choice_blocks]
    chosen = run.architecture.ops
    return Section(
        "How the choice was made",
        meaning="Each bar is a choice block, each colour a candidate, as wide as it is probable. "
        "Move the slider through the epochs; what was taken in the end stands at the right. It "
        "need not be the most probable one: the network as a whole has to keep its target.",
        terms=("choice", "probability", "block"),
        slider=alpha_slider(run.search, candidates, chosen=chosen),
        plots=(
            Plot(
                "probabilities",
                alpha_figure(run.search, candidates, chosen=chosen),
                "The same over time, a panel a choice block: a colour that grows was preferred, "
                "colours that stay even were not decided.",
                ("probability", "entropy"),
                wide=True,
            ),
        ),
    )


def front_section(run: RunFiles) -> Section | None:
    """Accuracy against latency, of the sweep's networks and of those that were compared."""
    shown = []
    if run.sweep:
        shown.append(
            Plot(
                "front",
                pareto_figure(run.sweep),
                "One network for each budget of --sweep, with the supernet's weights: what a "
                "larger budget buys.",
                ("front", "target"),
            )
        )
    chosen = [op.key for op in run.architecture.ops]
    compared = compared_figure(run.compared, chosen=chosen) if run.compared else None
    if compared is not None:
        which = "that the effect model prefers" if run.worth else "that are most probable"
        trained = any(row.get("trained_loss") is not None for row in run.compared)
        shown.append(
            Plot(
                "compared",
                compared,
                f"The networks within the budget {which}, by the supernet's weights: lower is "
                "better. "
                + (
                    "The best few were then trained on a little, and the best of those, in red, "
                    "was taken; the points are from before that."
                    if trained
                    else "The best, in red, was taken."
                ),
                ("loss", "split", "table", "target"),
            )
        )
    if not shown:
        return None
    return Section(
        "Accuracy against latency",
        meaning="What was to be had for the time. Sweep for more: pnas search --sweep=...",
        terms=("front",),
        plots=tuple(shown),
        table=_sweep_table(run) if run.sweep else None,
        caption="By the supernet's weights, batch-normalisation statistics estimated again.",
    )


def _sweep_table(run: RunFiles) -> Table:
    rows = tuple(
        (
            cells.milliseconds(cells.number(row.get("budget_ms"))),
            (
                cells.milliseconds(cells.number(row.get("predicted_ms"))),
                _validation_accuracy(row),
                cells.count(cells.number(row.get("macs"))),
                cells.count(cells.number(row.get("parameters"))),
            ),
        )
        for row in run.sweep
    )
    return Table(("budget", "predicted latency", "validation top-1", "MACs", "parameters"), rows)


def _validation_accuracy(row: Mapping[str, Json]) -> str:
    """With its interval, where the row says of how many images it is."""
    accuracy, images = (cells.number(row.get(key)) for key in ("alpha_accuracy", "images"))
    if accuracy is None or images is None or images < 1:
        return cells.percent(accuracy)
    bounds = cells.interval(accuracy_interval(accuracy, int(images)))
    return f"{cells.percent(accuracy)} ({bounds})"


def training_section(run: RunFiles) -> Section | None:
    if not run.training:
        return None
    return Section(
        "Training of the network",
        meaning="The network of this run, trained alone.",
        terms=("loss", "accuracy"),
        plots=plots.training_plots(run.training),
    )
