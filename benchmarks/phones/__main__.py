"""A new phone in a few measurements: what other phones teach, tried on phones and networks that
taught nothing.

  python -m benchmarks.phones --data=DIR --source="whose, of which year" --page=docs/phones.md

DIR holds networks.json (layer listings of chains of MBConv blocks) and latency_ms.csv (one line a
phone, one column a network); whose they are and how they were measured is said by --source. Phones
and networks are cross-validated: the units of a model (NAME_0, NAME_1) are held out together, and
the networks that are predicted were measured nowhere. Takes about 2 minutes on one core. Exit
status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.phones.cross_validation import REPEATS, cross_validate
from benchmarks.phones.data import read
from benchmarks.phones.report import bars, flag, page, summary
from docs.wrap import wrapped
from pnas_tf.io import atomic


def main() -> int:
    """Cross-validates, prints and, with --page, writes. Exit status 1 when a bar was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of networks.json and latency_ms.csv")
    parser.add_argument(
        "--source", default="", help="where the data are from, for the page: licence, runtime"
    )
    parser.add_argument("--page", help="Markdown file to write")
    options = parser.parse_args()
    data = read(Path(options.data))
    repeats = []
    for seed in range(REPEATS):
        repeats.append(cross_validate(data, seed=seed))
        print(f"{seed + 1} of {REPEATS} partitions done", flush=True)
    rows = summary(data, repeats)
    text = wrapped(page(data, rows, flag(repeats), source=options.source))
    print(text)
    if options.page:
        print(f"wrote {atomic.write_text(options.page, text)}")
    return 0 if all(met for _, met in bars(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
