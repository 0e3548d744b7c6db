"""Learns from latency tables of several devices what a new one is like: a prior for
pnas calibrate.

    pnas learn-prior runs/*/latency_table.json --out=phones.json

takes seconds. The tables are of one number format and one runtime (another is refused without
--other_runtime, which says what that costs), of any spaces, measured block by block or themselves
calibrated. Prints what it was learnt from and the error to expect by the number of measured
networks.
"""

from __future__ import annotations

import argparse

from pnas_tf.run.layout import Artifact


def main(arguments: list[str] | None = None) -> int:
    """Writes the prior. Raises UserError where the tables do not go together. Returns the exit
    status."""
    from pnas_tf.latency.prior import OTHER_RUNTIME_COSTS, learn_prior
    from pnas_tf.latency.table import LatencyTable

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", help=f"{Artifact.LATENCY_TABLE} files")
    parser.add_argument("--out", default="latency_prior.json", help="file to write")
    parser.add_argument(
        "--other_runtime", action="store_true", help="mix tables of several runtimes"
    )
    options = parser.parse_args(arguments)
    tables = {path: LatencyTable.load(path) for path in dict.fromkeys(options.tables)}
    prior = learn_prior(tables, other_runtime=options.other_runtime)
    for source in prior.sources:
        print(f"learnt from {source}")
    if len(prior.runtimes) > 1:
        print(f"WARNING {OTHER_RUNTIME_COSTS}")
    for count, error in prior.held_out_percent.items():
        print(f"error to expect with {count} measured networks: {error:.1f} %")
    if not prior.held_out_percent:
        print("error to expect: unknown, fewer than three tables")
    print(f"wrote {prior.save(options.out)}")
    return 0
