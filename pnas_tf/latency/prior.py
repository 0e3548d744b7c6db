"""What measured devices teach about a new one, as a file: prices for kinds of work and blocks
(`taught`), of one runtime and number format, with the names of what it was learnt from
(`prior_sources`). Knows no new device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pnas_tf.devices.delegation import ACCELERATORS
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.op_features import FEATURES, features_of
from pnas_tf.latency.prior_sources import Source
from pnas_tf.latency.rewrite_selection import forms
from pnas_tf.latency.taught import Excess, Taught, held_out_percent, teach, work_seen
from pnas_tf.latency.transfer import Population
from pnas_tf.space.base import SearchSpace

FORMAT, VERSION = "pnas_tf/latency_prior", 4  # 3: mixed accelerators and the CPU
OTHER_RUNTIME_COSTS = (
    "learnt from another runtime or accelerator: on measured phones, prices of one runtime "
    "predicted another no better than a line in MACs"
)
_FIX = "Learn it again: pnas learn-prior"
_LEAST_NETWORKS = 3  # of one device: fewer leave no residual to tell noise by


@dataclass(frozen=True)
class Prior:
    """What measured devices have taught.

    Attributes:
        taught: prices, of kinds of work and of blocks.
        runtimes: that the sources were measured with, as `runtime_of`, one unless the user asked
            for a mixture.
        dtype: number format of all.
        sources: files and devices, in words.
        devices: how many devices, or settings of one, these are of.
        unseen: of `op_features.FEATURES`, the kinds of work that no source did, which it cannot
            price.
        held_out_percent: number of measured networks -> median over sources of the error on the
            source's other networks when the rest teaches; empty below three devices.
        forms: in which forms large kernels were exported (`rewrite_selection.forms`).
    """

    taught: Taught
    runtimes: tuple[str, ...]
    dtype: str
    sources: tuple[str, ...]
    devices: int
    unseen: tuple[str, ...]
    held_out_percent: Mapping[int, float]
    forms: tuple[str, ...] = ()

    def describe(self) -> str:
        """For beside a figure."""
        mixed = " of several runtimes" if len(self.runtimes) > 1 else ""
        return f"a prior of {number_of(self.devices, 'device')}{mixed}"

    def expected_error_percent(self, measurements: int) -> float | None:
        """Of a device like the sources with so many measured networks; None where they are too few
        to tell."""
        known = [count for count in self.held_out_percent if count <= measurements]
        return self.held_out_percent[max(known)] if known else None

    def check(
        self, identity: Identity, space: SearchSpace, *, other_runtime: bool
    ) -> tuple[str, ...]:
        """What must be told where blocks of `space` on a device of this identity are priced by it.

        Raises:
            UserError: another number format; another runtime, version or accelerator, unless
                `other_runtime`; blocks that do a kind of work that no source did.
        """
        if identity.dtype != self.dtype:
            raise UserError(
                "prior for a latency table",
                expected=f"one of {identity.dtype}",
                received=f"one of {self.dtype}, learnt from {self.sources[0]}",
                fix=f"Learn one from tables of {identity.dtype}: pnas learn-prior",
            )
        amounts = features_of(space.distinct_blocks().values())
        done = [name for name, amount in zip(FEATURES, amounts, strict=True) if amount > 0]
        unpriced = [name for name in done if name in self.unseen]
        if unpriced:
            raise UserError(
                f"prior for space '{space.name}' at {space.resolution} px",
                expected="one learnt from networks that do all the space's kinds of work",
                received=f"one whose networks do no {', no '.join(unpriced)}",
                fix="Learn one from networks that do (pnas learn-prior), or calibrate with "
                "--prior= --measurements=10.",
            )
        runtime = runtime_of(identity)
        if self.runtimes == (runtime,):
            return ()
        if not other_runtime:
            raise UserError(
                "prior for a latency table",
                expected=f"one of {runtime}",
                received=f"one of {', '.join(self.runtimes)}: {OTHER_RUNTIME_COSTS}",
                fix=f"Learn one from tables of {runtime} (pnas learn-prior), calibrate with "
                "--prior= --measurements=10, or say --other_runtime.",
            )
        return (OTHER_RUNTIME_COSTS,)

    def forms_doubt(self, identity: Identity, space: SearchSpace) -> tuple[str, ...]:
        """What must be told where no source was exported as blocks of `space` are by the identity's
        rewrites."""
        found = forms(space.distinct_blocks().values(), identity.rewrites)
        new = ", ".join(sorted(found - set(self.forms)))
        if not new:
            return ()
        return (
            f"the networks are exported with {new}, those that taught the prior with "
            f"{', '.join(self.forms) or 'nothing of the kind'}: large kernels have another price; "
            "learn a prior from tables measured alike (--latency_rewrites)",
        )

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the JSON document atomically."""
        document: dict[str, Json] = {
            "format": FORMAT,
            "version": VERSION,
            "runtimes": list(self.runtimes),
            "dtype": self.dtype,
            "sources": list(self.sources),
            "devices": self.devices,
            "unseen": list(self.unseen),
            "held_out_percent": {str(k): error for k, error in self.held_out_percent.items()},
            "forms": list(self.forms),
            "features": list(FEATURES),
            "mean": self.taught.kinds.mean.tolist(),
            "covariance": self.taught.kinds.covariance.tolist(),
            "noise": self.taught.kinds.noise,
            "blocks": {key: asdict(excess) for key, excess in self.taught.blocks.items()},
        }
        return atomic.write_json(path, document)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Prior:
        """Reads what `save` wrote. Raises UserError where the file is absent, damaged or of other
        kinds of work than this version prices."""
        document = atomic.read_document(
            path, format=FORMAT, version=VERSION, what="latency prior", made_by="pnas learn-prior"
        )
        known = {name: document[name] for name in _Document.__annotations__ if name in document}
        read = record_of(_Document, known, where=f"latency prior {path}", fix=_FIX)
        return cls(
            Taught(
                Population(np.array(read.mean), np.array(read.covariance), read.noise), read.blocks
            ),
            read.runtimes,
            read.dtype,
            read.sources,
            read.devices,
            read.unseen,
            {int(count): error for count, error in read.held_out_percent.items()},
            read.forms,
        )


@dataclass(frozen=True)
class _Document:
    """What the file holds besides its format."""

    runtimes: tuple[str, ...]
    dtype: str
    sources: tuple[str, ...]
    devices: int
    unseen: tuple[str, ...]
    held_out_percent: dict[str, float]
    forms: tuple[str, ...]
    features: tuple[str, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    noise: float
    blocks: dict[str, Excess]

    def __post_init__(self) -> None:
        if self.features != FEATURES:
            raise ValueError("of other kinds of work than this version prices")
        if np.shape(self.mean) != (len(FEATURES),) or np.shape(self.covariance) != (
            len(FEATURES),
            len(FEATURES),
        ):
            raise ValueError("a mean and a covariance of another size than its features")
        if not self.runtimes or not self.sources or not 0 < self.noise < 1:
            raise ValueError("without a runtime, a source or a noise between 0 and 1")
        if not _is_covariance(np.array(self.covariance)):
            raise ValueError("a covariance that is none")
        if not set(self.unseen) <= set(FEATURES):
            raise ValueError("unseen kinds of work that are none")
        for count, error in self.held_out_percent.items():
            if not (count.isdecimal() and len(count) < 9 and 0 <= error < math.inf):
                raise ValueError(f"an error of {error} % with {count[:9]!r} networks")


def _is_covariance(matrix: np.ndarray) -> bool:
    """Judged by its correlations: the units of features lie many orders of magnitude apart."""
    variances = np.diag(matrix)
    if not (np.isfinite(matrix).all() and (variances > 0).all()):
        return False
    deviations = np.sqrt(variances)
    correlations = matrix / np.outer(deviations, deviations)
    is_symmetric = np.allclose(correlations, correlations.T, rtol=0, atol=1e-6)
    return is_symmetric and np.linalg.eigvalsh(correlations).min() > -1e-9


def learn_prior(sources: Sequence[Source], *, other_runtime: bool) -> Prior:
    """The prior of several devices, or of several settings of one.

    Args:
        sources: what was measured on each, of any spaces.
        other_runtime: those of several runtimes or accelerators are mixed.

    Raises:
        UserError: fewer than two devices, too few networks of each, several dtypes, or several
            runtimes or accelerators unless `other_runtime`.
    """
    _check_alike(sources, other_runtime=other_runtime)
    taught, identity = teach(sources), sources[0].identity
    most = max(len(source.networks) for source in sources)
    noise = taught.kinds.noise
    if most < _LEAST_NETWORKS or not noise < 1:  # such noise says that nothing is known
        raise UserError(
            "what a prior is learnt from",
            expected=f"a device with at least {_LEAST_NETWORKS} networks, which prices explain",
            received=f"at most {most}, which leave errors of {100 * noise:.0f} %",
            fix="Measure more exported networks of it (pnas benchmark), or give latency tables.",
        )
    seen = work_seen(sources)
    return Prior(
        taught,
        tuple(sorted({runtime_of(source.identity) for source in sources})),
        identity.dtype,
        tuple(source.describe() for source in sources),
        len({source.unit for source in sources}),
        tuple(name for name, found in zip(FEATURES, seen, strict=True) if not found),
        held_out_percent(sources),
        tuple(sorted(set().union(*(source.forms for source in sources)))),
    )


def runtime_of(identity: Identity) -> str:
    """ "ai-edge-litert 2.3.0"; of an accelerator "benchmark_model 0a1b2c3d4e5f gpu", and " in part"
    where it may leave ops to the CPU. A CPU with another delegate is another device alone."""
    settings = identity.settings
    found = f"{settings.runtime} {settings.runtime_version}"
    if settings.delegate in ACCELERATORS:
        found += f" {settings.delegate}{' in part' if settings.partial_delegation else ''}"
    return found


def _check_alike(sources: Sequence[Source], *, other_runtime: bool) -> None:
    units = {source.unit for source in sources}
    if len(units) < 2:
        raise UserError(
            "what a prior is learnt from",
            expected="at least two devices: one does not say how devices differ",
            received=str(len(units)),
            fix="Give the tables of more devices, or of other settings of this one.",
        )
    first = sources[0].identity
    for name, found in ((source.name, source.identity) for source in sources):
        if found.dtype != first.dtype:
            raise UserError(
                f"{name} among the sources of a prior",
                expected=f"{first.dtype}, as the first",
                received=found.dtype,
                fix="Learn a prior for each number format: --dtype=float32 or --dtype=int8.",
            )
        if runtime_of(found) != runtime_of(first) and not other_runtime:
            raise UserError(
                f"{name} among the sources of a prior",
                expected=f"{runtime_of(first)}, as the first",
                received=f"{runtime_of(found)}; {OTHER_RUNTIME_COSTS}",
                fix="Learn a prior for each runtime, or say --other_runtime.",
            )
