"""Writes a latency table of a device from a few measured networks: latency_table.json of the run
folder, with what it comes from and what error to expect.

  pnas calibrate --run_dir=runs/phone --space=proxyless --device=host --measurements=10

takes 1 to 3 minutes on 2 cores and prints the table's one-line description. --prior=FILE takes what
other devices teach (pnas learn-prior): then 5 networks do. The same command with more
--measurements goes on where it stopped. --old_table=TABLE.json scales an earlier table of the
device, or of another unit, to a few networks. `pnas run` and the other programs go on with the
table in the same folder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import CalibrateConfig, LatencyConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.steps.chosen_space import tell_space
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.latency.knowledge import Knowledge
    from pnas_tf.latency.table import LatencyTable


def is_asked(job: Inputs) -> bool:
    """Whether the table is to come from a few networks."""
    return is_from_few(job.configs[CalibrateConfig])


def is_from_few(few: CalibrateConfig) -> bool:
    """Whether one of the options that ask for that is given."""
    return bool(few.measurements or few.max_error_percent or few.old_table or few.prior)


def begin(call: Inputs) -> None:
    """Says for which space `pnas calibrate` makes a table. Raises UserError where it does not say
    what to calibrate from."""
    if not is_asked(call):
        raise UserError(
            "pnas calibrate without a number of networks",
            expected="--measurements, --max_error_percent, --prior or --old_table",
            received="none of them",
            fix="Say e.g. --measurements=10, or --measurements=5 --prior=FILE; pnas latency-table "
            "measures every block.",
        )
    tell_space(call)


def reads(job: Inputs) -> tuple[Path, ...]:
    """The files of priors and of an old table."""
    few = job.configs[CalibrateConfig]
    return tuple(map(Path, (*few.prior, *([few.old_table] if few.old_table else []))))


def knowledge(job: Inputs, config: LatencyConfig, name: str) -> Knowledge:
    """What is known of the device whose table is `name` in the run folder. Raises UserError as
    `knowledge_of`."""
    from pnas_tf.latency.knowledge import knowledge_of

    few = job.configs[CalibrateConfig]
    if config.latency_dtype != job.configs[LatencyConfig].latency_dtype:
        few = replace(few, old_table="")  # which is of the format that is asked for
    known = knowledge_of(few, job.space, config)
    return replace(known, before=_before(job, name))


def _before(job: Inputs, name: str) -> LatencyTable | None:
    """The newest table of the run folder that came from fewer networks; --restart measures anew."""
    from pnas_tf.latency.table import LatencyTable

    if job.configs[RunConfig].restart:
        return None
    folder = job.folder.path
    found = sorted(
        (path for path in (folder / name, *folder.glob(f"old-*/{name}")) if path.is_file()),
        key=lambda path: -path.stat().st_mtime,
    )
    tables = (LatencyTable.load(path) for path in found)
    return next((table for table in tables if table.few_shot is not None), None)
