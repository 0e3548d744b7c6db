"""Learns from what was measured on several devices what a new one is like: a prior for
pnas calibrate.

    pnas learn-prior runs/*/latency_table.json old/*/latency.json --out=phones.json

takes seconds. Tables (pnas latency-table, pnas calibrate) and measurements of exported files (pnas
benchmark) of any spaces; all that is of one device under the same settings counts as one device.
They are of one number format (--dtype chooses it where there are several), of one runtime and of
one accelerator or the CPU: another is refused without --other_runtime, which says what that costs.
Prints what it was learnt from, the error to expect by the number of measured networks, and how many
blocks have a price of their own.
"""

from __future__ import annotations

from pnas_tf.errors import number_of
from pnas_tf.run.layout import TABLES, Artifact
from pnas_tf.run.terminal import say, warn
from pnas_tf.steps.file_options import FileOptions


def main(arguments: list[str] | None = None) -> int:
    """Writes the prior. Raises UserError where the files do not go together. Returns the exit
    status."""
    from pnas_tf.latency.prior import OTHER_RUNTIME_COSTS, learn_prior
    from pnas_tf.latency.prior_sources import read_sources

    parser = FileOptions(__doc__)
    parser.add_argument(
        "files", nargs="+", help=f"{Artifact.LATENCY_TABLE} and {Artifact.BENCHMARK} files"
    )
    parser.add_argument("--out", default="latency_prior.json", help="file to write")
    parser.add_argument(
        "--dtype", choices=tuple(TABLES), help="number format to learn; others are left out"
    )
    parser.add_argument(
        "--other_runtime", action="store_true", help="mix several runtimes or accelerators"
    )
    options = parser.read(arguments)
    sources = read_sources(options.files, dtype=options.dtype)
    prior = learn_prior(sources, other_runtime=options.other_runtime)
    for source in prior.sources:
        say(f"learnt from {source}")
    if len(prior.runtimes) > 1:
        warn(OTHER_RUNTIME_COSTS)
    for count, error in prior.held_out_percent.items():
        say(f"error to expect with {number_of(count, 'measured network')}: {error:.1f} %")
    if not prior.held_out_percent:
        say(
            "error to expect: unknown; it takes three devices with more than three networks each, "
            "which do the same kinds of work"
        )
    known = number_of(len(prior.taught.blocks), "block")
    say(f"prices {known} by tables that measured them, others by their kinds of work")
    say(f"wrote {prior.save(options.out)}")
    return 0
