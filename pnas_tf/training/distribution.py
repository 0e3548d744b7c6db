"""Where training runs: one device, several devices of this machine, or several machines, by
TensorFlow's own strategies.

A strategy finds devices and peers, keeps copies of variables, and reduces; which path runs, and
with which batch, every process knows by itself from (seed, step). Knows nothing of networks.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pnas_tf import _tf_private
from pnas_tf.config import DistributionConfig, OptimizerConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.run.cluster import WorkerLost, cluster_of
from pnas_tf.supernet.functional import Arithmetic
from pnas_tf.supernet.replicas import Replicas

PRECISIONS = {"none": "float32", "float16": "float16", "bfloat16": "bfloat16"}


@dataclass(frozen=True)
class Distribution:
    """strategy: a `tf.distribute.Strategy`, None on one device. is_chief: whether this process
    writes the run folder."""

    strategy: Any = None
    replicas: Replicas = Replicas()
    is_chief: bool = True

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Variables made within have a copy on every replica. Raises WorkerLost where another
        process is lost meanwhile."""
        try:
            with self.strategy.scope() if self.strategy is not None else contextlib.nullcontext():
                yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
        ) as error:
            if self.replicas.total == self.replicas.local:
                raise
            raise WorkerLost(str(error).splitlines()[0][:300]) from error


def start(config: DistributionConfig) -> Distribution:
    """The devices and processes that `config` names; with multi_worker it waits for the other
    workers.

    Call it before anything else of TensorFlow runs. Raises UserError on what does not go together
    or is not there.
    """
    if config.jit_compile and config.sync_batch_norm:
        raise UserError(
            "--jit_compile with --sync_batch_norm",
            expected="one of them",
            received="both",
            fix="XLA does not compile sums over replicas in the middle of a network: leave one "
            "out.",
        )
    if config.replicas is not None and config.strategy != "mirrored":
        raise UserError(
            "--replicas",
            expected="--strategy=mirrored",
            received=f"--strategy={config.strategy}",
            fix="Leave --replicas out; a worker of multi_worker uses all its GPUs.",
        )
    if config.worker_timeout_s < 1:
        raise UserError(
            "--worker_timeout_s",
            expected="at least 1",
            received=str(config.worker_timeout_s),
            fix="Choose e.g. the default.",
        )
    return _started(config.strategy, config.replicas, config.worker_timeout_s)


@functools.cache
def _started(strategy: str, replicas: int | None, worker_timeout_s: int) -> Distribution:
    if strategy == "none":
        return Distribution()
    if strategy == "mirrored":
        return _of(
            tf.distribute.MirroredStrategy(_local_devices(replicas)), first_process=0, is_chief=True
        )
    cluster = cluster_of()
    # A host that swaps, or a process that is paused, is not lost. A killed one is mostly noticed at
    # once all the same, by its connections.
    _tf_private.wait_for_workers(cluster.tasks, seconds=worker_timeout_s)
    try:
        made = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise WorkerLost(
            f"no cluster of {', '.join(cluster.addresses)}: {str(error).splitlines()[0][:300]}"
        ) from error
    return _of(made, first_process=cluster.index, is_chief=cluster.is_chief)


def _of(strategy: Any, *, first_process: int, is_chief: bool) -> Distribution:
    devices = tuple(strategy.extended.worker_devices)
    total = strategy.num_replicas_in_sync
    if total == 1:
        return Distribution()
    return Distribution(strategy, Replicas(devices, total, first_process * len(devices)), is_chief)


def _local_devices(replicas: int | None) -> list[str]:
    """The GPUs of this machine; without any as many parts of its CPU as asked for, which gains
    nothing but shows what GPUs would do."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    count = replicas or max(1, len(tf.config.list_physical_devices("GPU")))
    if kind == "CPU" and count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already; it may have the devices
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
    found = len(tf.config.list_logical_devices(kind))
    if found < count:
        raise UserError(
            "--replicas",
            expected=f"at most {found}, the {kind}s of this machine",
            received=str(count),
            fix="Choose fewer, or leave --replicas out.",
        )
    return [f"{kind}:{number}" for number in range(count)]


def arithmetic_of(
    config: DistributionConfig, distribution: Distribution, optimizer: OptimizerConfig
) -> Arithmetic:
    """The supernet's arithmetic under these options."""
    return Arithmetic(
        Normalisation.of(optimizer, synchronized=config.sync_batch_norm),
        optimizer.weight_decay,
        optimizer.no_decay,
        precision=PRECISIONS[config.mixed_precision],
        jit_compile=config.jit_compile,
        replicas=distribution.replicas,
    )


def check_batch(size: int, replicas: Replicas, *, flag: str) -> None:
    """Raises UserError when a global batch has no equal part for every replica."""
    if size % replicas.total:
        raise UserError(
            f"--{flag}",
            expected=f"a multiple of {replicas.total}, the replicas that share a batch",
            received=str(size),
            fix=f"Choose e.g. --{flag}={-(-size // replicas.total) * replicas.total}.",
        )
