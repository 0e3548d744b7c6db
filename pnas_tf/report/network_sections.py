"""The report's parts on the network itself: what came out, the architecture, its files. Knows
nothing of the page around them."""

from __future__ import annotations

from pnas_tf.report import summary_table as cells
from pnas_tf.report.drawing import architecture_figure, spoken
from pnas_tf.report.run_files import RunFiles
from pnas_tf.report.scale_plot import networks_beside, scale_figure, top1_percent
from pnas_tf.report.section import Plot, Section, Table, Warnings
from pnas_tf.search.judgement import DRAW, is_draw
from pnas_tf.space.ops import Zero


def summary_section(run: RunFiles) -> Section:
    table = cells.summary_table(run.summary)
    notes = Warnings(
        "the figures above are as measured; what follows says how far they can be compared",
        table.notes,
    )
    return Section(
        "What came out",
        meaning="Each form of the network beside the others: as it was trained (Keras), and as the "
        "files that a device runs.",
        terms=("accuracy", "interval", "latency", "table", "drift", "format", "ram"),
        table=Table(("", *table.header), table.rows),
        facts=table.facts,
        warnings=(notes,) if table.notes else (),
    )


def architecture_section(run: RunFiles) -> Section:
    table, blocks = run.table, set(run.architecture.space.distinct_blocks())
    latencies, bars = None, "multiply-accumulates"
    if table is not None and blocks <= table.keys:
        latencies = {name: latency for name, _, latency in table.breakdown(run.architecture)}
        bars = table.describe()
    drawn = is_draw(run.judgements)
    beside = networks_beside(run.architecture)
    plots = [
        Plot(
            "architecture",
            architecture_figure(run.architecture, latencies_ms=latencies),
            "One box a block, from the image at the top to the classes at the bottom; wide boxes "
            f"hold more, and the bars say what each costs. {spoken(run.architecture)}.",
            ("block", "choice", "macs"),
            wide=True,
        )
    ]
    if beside:
        space = run.architecture.space
        plots.append(
            Plot(
                "networks_to_scale",
                scale_figure(beside),
                f"Published networks as they would be for this task ({space.resolution} px, "
                f"{space.classes} classes), to one scale: a longer strip is more work, a piece is "
                "a block, its "
                "colour the kernel as above.",
                ("macs", "parameters"),
                wide=True,
            )
        )
    title = "The derived architecture" if run.origin or run.search else "The architecture"
    return Section(
        f"The architecture: {run.origin or DRAW}" if drawn else title,
        meaning="What stands in each place that the space leaves open.",
        plots=tuple(plots),
        table=_sizes(run) if beside else None,
        caption=f"Bars: {bars}.",
    )


def _sizes(run: RunFiles) -> Table:
    """This network and the published ones, in figures."""
    rows = []
    for name, architecture in networks_beside(run.architecture).items():
        top1 = top1_percent(name)
        blocks = sum(not isinstance(block.op, Zero) for block in architecture.blocks)
        figures = (cells.count(architecture.macs), cells.count(architecture.parameters))
        rows.append((name, (*figures, str(blocks), "–" if top1 is None else f"{top1:.1f} %")))
    return Table(
        (
            "network",
            "MACs",
            "parameters",
            "blocks",
            "published ImageNet top-1, at its own image size",
        ),
        tuple(rows),
    )


def images_section(run: RunFiles) -> Section | None:
    lines = run.summary.get("images")
    if not isinstance(lines, list) or not lines:
        return None
    return Section("The images", words=("\n".join(map(str, lines)),))


def files_section(run: RunFiles) -> Section | None:
    """Parity and size of each exported file."""
    if not run.reports:
        return None
    ram = run.summary.get("ram_bytes")
    memory = ram if isinstance(ram, dict) else {}
    rows = tuple(
        (
            name,
            (
                cells.file_size(report.size_bytes),
                cells.file_size(cells.number(memory.get(report.dtype))),
                cells.percent(report.top1_agreement),
                f"{report.max_logit_difference:.2g}, largest logit {report.max_logit:.2g}",
                cells.percent(report.tflite_accuracy),
            ),
        )
        for name, report in run.reports.items()
    )
    images = next(iter(run.reports.values())).images
    rewrites = {name: report.rewrites for name, report in run.reports.items() if report.rewrites}
    return Section(
        "The files, held to the network",
        meaning=f"Every file answered the same {images:,} test images as the trained network. Same "
        "answers should be near 100 %; a float32 file differs by rounding alone.",
        terms=("parity", "format", "ram", "accuracy"),
        table=Table(
            (
                "file",
                "size",
                "peak RAM",
                "same answers",
                "largest logit difference",
                "test accuracy",
            ),
            rows,
        ),
        more=tuple(
            (f"{name}: {len(names)} rewrites, which make it faster and compute the same", names)
            for name, names in rewrites.items()
        ),
    )
