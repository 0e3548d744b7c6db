"""Puts finished runs beside one another: one table, one accuracy-latency front.

    pnas compare runs/demo runs/other --out=compared.html

takes seconds. Runs on other images, devices or settings stand in groups of their own, for their
figures cannot be compared. --out also writes a page (.html) or a document for programs (.json).
"""

from __future__ import annotations

from pathlib import Path

from pnas_tf.run.terminal import can_redraw, columns_of_terminal, say
from pnas_tf.steps.file_options import FileOptions


def main(arguments: list[str] | None = None) -> int:
    """Prints the comparison. Raises UserError where a folder holds no finished run. Returns the
    exit status."""
    from pnas_tf.report.compare import compare_runs
    from pnas_tf.report.comparison_page import comparison_text, writer_of

    parser = FileOptions(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--out", default="", help="file to write, .html or .json")
    options = parser.read(arguments)
    write = writer_of(Path(options.out)) if options.out else None
    groups = compare_runs(options.runs)
    say(comparison_text(groups, columns=columns_of_terminal() if can_redraw() else None))
    if write is not None:
        say(f"\nwrote {write(groups)}")
    return 0
