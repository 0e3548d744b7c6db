"""Does search find better networks, at measured latency? Everything that docs/evidence.md says, by
one command that continues.

  python -m benchmarks.evidence

builds latency tables, searches, trains every contender, measures all networks and writes
docs/evidence.md with its plots, for the studies of benchmarks/evidence/studies.py. Each job is a
folder below --output; what is finished is skipped, what was stopped continues. About 3 hours on 2
cores. --only=timed measures (a machine at rest, please), --only=untimed searches and trains and may
be paused at any moment, --only=report reads the test split and writes the document. --study and
--jobs choose a part of the plan; of the rest the report keeps what results.json has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.evidence.plan import jobs
from benchmarks.evidence.studies import STUDIES
from benchmarks.evidence.work import Workshop
from benchmarks.evidence.workers import do_timed, do_untimed, unfinished, work_until_done


def main() -> int:
    """Timed and untimed jobs in turn until none is left, then the report."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--study", default=",".join(STUDIES), help="names of the studies, comma-separated"
    )
    parser.add_argument("--output", default="runs/evidence", help="folder of the jobs")
    parser.add_argument(
        "--docs", default="docs", help="where evidence.md and evidence/ are written"
    )
    parser.add_argument(
        "--only", choices=("timed", "untimed", "report", "list"), help="a part of the work"
    )
    parser.add_argument("--jobs", default="*", help="names of the jobs, with * and ?")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        help="processes of one thread each that train side by side",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="measure and rank what is there, though searches of the plan are open",
    )
    parser.add_argument("--as_worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.study.split(",") if name not in STUDIES]
    if unknown:
        parser.error(f"no study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    shops = [Workshop(STUDIES[name], Path(options.output)) for name in options.study.split(",")]
    for shop in shops:
        if options.as_worker:
            work_until_done(shop, pattern=options.jobs, partial=options.partial)
        elif options.only == "list":
            _list(shop)
        elif options.only == "timed":
            do_timed(shop, pattern=options.jobs, partial=options.partial)
        elif options.only == "untimed":
            do_untimed(
                shop.study,
                Path(options.output),
                pattern=options.jobs,
                workers=options.workers,
                partial=options.partial,
            )
        elif options.only is None:
            while unfinished(shop, timed=True, pattern=options.jobs) or unfinished(
                shop, timed=False, pattern=options.jobs
            ):
                do_timed(shop, pattern=options.jobs)
                if unfinished(shop, timed=False, pattern=options.jobs):
                    do_untimed(
                        shop.study,
                        Path(options.output),
                        pattern=options.jobs,
                        workers=options.workers,
                    )
    if not options.as_worker and options.only in (None, "report"):
        from benchmarks.evidence.report import write_report

        write_report(shops, Path(options.docs))
    return 0


def _list(shop: Workshop) -> None:
    for job in jobs(shop.study):
        print(f"{shop.study.name}/{job.name}: {'done' if shop.finished(job.name) else 'open'}")


if __name__ == "__main__":
    sys.exit(main())
