"""What is known of a device before a few of its networks are measured: a prior, an old table, or
its own table from fewer networks. Reads files; knows no schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.config import CalibrateConfig, LatencyConfig
from pnas_tf.errors import UserError
from pnas_tf.latency.build import requested_rewrites
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.prior import Prior
from pnas_tf.latency.rewrite_selection import forms
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.base import SearchSpace
from pnas_tf.tflite.rewrites.choice import NONE, rewrites_of_blocks, wanted_among


@dataclass(frozen=True)
class Knowledge:
    """What is known of a device before it is measured.

    Attributes:
        prior: what other devices teach.
        old: a table of the device under another runtime, or of another unit.
        before: this device's own table from fewer networks, to go on from.
    """

    prior: Prior | None = None
    old: LatencyTable | None = None
    before: LatencyTable | None = None


def wanted(few: CalibrateConfig, known: Knowledge) -> int:
    """How many networks: those asked for, else what each kind of knowledge needs."""
    if few.measurements:
        return few.measurements
    if known.old is not None:
        return 3
    return 10 if known.prior is None else 5


def knowledge_of(few: CalibrateConfig, space: SearchSpace, config: LatencyConfig) -> Knowledge:
    """What the files of `few` say of models as `config` makes them. Raises UserError where none of
    several priors is of the number format, a file is no prior or table, or the old table is of
    another format or other export rewrites, or lacks blocks of `space`."""
    dtype = config.latency_dtype
    old = LatencyTable.load(few.old_table) if few.old_table else None
    if old is not None:
        _check_old(old, space, config, given=f"--old_table={few.old_table}")
    priors = [Prior.load(path) for path in few.prior]
    fitting = [prior for prior in priors if prior.dtype == dtype]
    if priors and len(fitting) != 1:
        raise UserError(
            f"--prior={','.join(few.prior)}",
            expected=f"one prior of {dtype}",
            received=", ".join(f"{path} of {one.dtype}" for path, one in zip(few.prior, priors)),
            fix=f"Learn one from tables of {dtype}: pnas learn-prior",
        )
    return Knowledge(fitting[0] if fitting else None, old)


def unsplit_doubt(old: LatencyTable, identity: Identity, space: SearchSpace) -> tuple[str, ...]:
    """What must be told where blocks of `space` on a device of another kind are priced by a table
    that leaves export rewrites out: what a large kernel takes as it is differs most."""
    found = forms(space.distinct_blocks().values(), old.identity.rewrites)
    left_out = sorted(form.removeprefix("no ") for form in found if form.startswith("no "))
    if old.identity.device.kind == identity.device.kind or not left_out:
        return ()
    return (
        f"the old table, of another kind of device ({old.identity.device.kind}), is without "
        f"{', '.join(left_out)}: large kernels as they are take another share of a network on each "
        f"kind of device; measure it again with --latency_rewrites={','.join(left_out)}, or "
        "calibrate with --old_table=",
    )


def _check_old(old: LatencyTable, space: SearchSpace, config: LatencyConfig, *, given: str) -> None:
    old.check_covers(space, given=given)
    if old.identity.dtype != config.latency_dtype:
        raise UserError(
            given,
            expected=f"a table of {config.latency_dtype} models",
            received=f"one of {old.identity.dtype}, which ranks them otherwise",
            fix=f"Give one of {config.latency_dtype}, or calibrate with --old_table=",
        )
    rewrites = requested_rewrites(config.latency_rewrites)
    names = rewrites_of_blocks(space.distinct_blocks().values())
    own = old.identity.rewrites
    if rewrites is not None and wanted_among(names, rewrites) != wanted_among(names, own):
        raise UserError(
            given,
            expected=f"blocks as by --latency_rewrites={','.join(config.latency_rewrites)}",
            received=f"blocks with {', '.join(own) or NONE}",
            fix="Leave --latency_rewrites out: the networks are then exported as the table's "
            "blocks were; or calibrate with --old_table=",
        )
