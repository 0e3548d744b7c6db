"""report.html: one page without external resources, for the screen, for a phone and for paper; and
each of its plots as files.

Reads a run folder. What stands in the page is said in the sections, how it looks in page.html,
whose fields are escaped by jinja2; drawings alone are put in as they are. One script moves the
slider; the page's policy lets no other run, whatever names a run holds.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from pnas_tf.io import atomic
from pnas_tf.report import summary_table as cells
from pnas_tf.report.answers import answers_section
from pnas_tf.report.effects import effects_section
from pnas_tf.report.figures import theme_css
from pnas_tf.report.glossary import TERMS
from pnas_tf.report.latency_sections import (
    breakdown_section,
    measurements_section,
    sustained_section,
    table_section,
    validation_section,
)
from pnas_tf.report.network_sections import (
    architecture_section,
    files_section,
    images_section,
    summary_section,
)
from pnas_tf.report.outcome import outcome
from pnas_tf.report.reproduce import reproduce_section
from pnas_tf.report.run_files import RunFiles, read_run
from pnas_tf.report.search_sections import (
    alpha_section,
    front_section,
    search_section,
    training_section,
)
from pnas_tf.report.section import Section
from pnas_tf.report.words import device_words
from pnas_tf.run.layout import Artifact
from pnas_tf.search.judgement import notes_on

_FOLDER = Path(__file__).parent
_SECTIONS = (
    summary_section,
    architecture_section,
    lambda run: answers_section(run.answers, run.right_by_class),
    files_section,
    breakdown_section,
    measurements_section,
    sustained_section,
    search_section,
    alpha_section,
    lambda run: effects_section(run.worth),
    front_section,
    training_section,
    images_section,
    validation_section,
    table_section,
    reproduce_section,
)


def write_report(run_dir: str | os.PathLike) -> Path:
    """Writes report.html and plots/ into a run folder from the files that stand there. Plots that
    the page no longer has go.

    Returns:
        The page's path.

    Raises:
        UserError: the folder holds no architecture, or a file in it is damaged.
    """
    run = read_run(run_dir)
    sections = sections_of(run)
    folder, plots = run.path / Artifact.PLOTS, [plot for part in sections for plot in part.plots]
    for plot in plots:
        plot.write(folder)
    for path in folder.glob("*"):
        if path.suffix in (".svg", ".png") and path.stem not in {plot.name for plot in plots}:
            path.unlink()
    return atomic.write_text(run.path / Artifact.REPORT, page(run, sections))


def sections_of(run: RunFiles) -> list[Section]:
    """The parts of the page, in their order; without those that the run has nothing for."""
    found = [make(run) for make in _SECTIONS]
    return [section for section in found if section is not None]


def page(run: RunFiles, sections: list[Section]) -> str:
    """The whole page as text."""
    space = run.exported.space
    name = run.summary.get("dataset")
    return render(
        "page.html",
        script="page.js",
        title=f"{'run' if name is None else name} on {space.name} at {space.resolution} px",
        device=device_words(run.summary.get("device")),
        outcome=outcome(run),
        notices=notes_on(run.judgements),
        figures=_headline(run),
        sections=sections,
        terms=TERMS,
    )


def render(template: str, *, script: str, **fields: object) -> str:
    """A page of this folder with its fields, its one script and the policy that allows it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    code = (_FOLDER / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(
        script=code, script_digest=f"sha256-{digest}", theme=theme_css(), **fields
    )


def _headline(run: RunFiles) -> list[tuple[str, str]]:
    table = dict(cells.summary_table(run.summary).rows)
    accuracy, latency = table["test accuracy"], table["latency, measured"]
    interval = table.get(cells.INTERVAL, ("", "", ""))
    float32, int8 = (f" ({words})" if words else "" for words in interval[1:3])
    return [
        (accuracy[1], f"test accuracy, float32{float32}"),
        (accuracy[2], f"test accuracy, int8{int8}"),
        (latency[1], "measured latency, float32"),
        (latency[2], "measured latency, int8"),
        (cells.count(run.exported.macs), "MACs"),
        (cells.count(run.architecture.parameters), "parameters"),
    ]
