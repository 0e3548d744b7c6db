"""One supernet for all budgets: how well its effect model orders networks, and what networks for
three budgets are worth beside those of three searches.

  python -m benchmarks.one_supernet --study=unequal --seeds=0

takes 25 minutes on one core: a supernet by uniform paths, one by fair ones, one by uniform paths
for twice the steps, the effect model of each, networks for the study's three targets by the first
and their trainings. Fashion-MNIST is Debian's dataset-fashion-mnist. --only=ranking leaves the
networks out (10 minutes). What a stopped call has made is kept. --page=docs/one_supernet.md writes
what docs show of everything in --output; networks that searches found and trained are those of
docs/evidence/results.json.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from functools import partial
from pathlib import Path

from benchmarks.evidence.studies import STUDIES
from benchmarks.one_supernet.page import write_page
from benchmarks.one_supernet.work import DEVICES, LONGER, Place, make_table

SAMPLINGS = ("uniform", "fair", LONGER)


def main() -> int:
    """Makes what is not there yet."""
    options = _arguments()
    places = [
        Place(study, sampling, seed, Path(options.output))
        for study in options.study.split(",")
        for seed in map(int, options.seeds.split(","))
        for sampling in options.sampling.split(",")
    ]
    for place in places:
        place.once("supernet", place.trained_supernet, leaves="search")
        print(f"{place.folder}: {place.effects().words}", flush=True)
        place.once("ranking", place.ranking)
    for place in places if options.only != "ranking" else ():
        if place.sampling != "uniform":
            continue
        for name in DEVICES:
            make_table(place.shop, name)
        place.once("fronts", place.fronts)
        place.once("derived", place.derived)
        for budget in place.study.budgets:
            place.once(
                f"trained_{budget.name}",
                partial(place.trained, budget.name),
                leaves=f"training_{budget.name}_None",
            )
        for epochs in (1, 2):
            place.once(f"tuned_middle_{epochs}", partial(place.trained, "middle", epochs=epochs))
    if options.page:
        write_page(_made(Path(options.output)), Path(options.page))
    return 0


def _made(output: Path) -> list[Place]:
    """Every study, sampling and seed whose paths were judged."""
    places = []
    for study, sampling in itertools.product(STUDIES, SAMPLINGS):
        found = output.glob(f"{study}/one_shot_{sampling}_*/paths.json")
        seeds = sorted(int(path.parent.name.rpartition("_")[2]) for path in found)
        places += [Place(study, sampling, seed, output) for seed in seeds]
    return places


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.one_supernet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", default="unequal,two_stages", help="comma-separated")
    parser.add_argument("--sampling", default=",".join(SAMPLINGS), help="comma-separated")
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--output", default="runs/one_supernet", help="folder of all that is made")
    parser.add_argument("--only", choices=("ranking",), help="a part of the work")
    parser.add_argument("--page", default="", help="page to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
