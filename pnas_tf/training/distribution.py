"""Where training runs: one device, several devices of this machine, or several machines, by
TensorFlow's own strategies.

A strategy finds devices and peers, keeps copies of variables, and reduces; which path runs, and
with which batch, every process knows by itself from (seed, step). Knows nothing of networks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from pnas_tf import _tf_private
from pnas_tf.config import DistributionConfig, OptimizerConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.run.cluster import WorkerLost, check_distribution, cluster_of
from pnas_tf.run.step import Demand
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.training.bfloat16 import check_bfloat16

PRECISIONS = {"none": "float32", "float16": "float16", "bfloat16": "bfloat16"}


@dataclass(frozen=True)
class Distribution:
    """Devices, processes and the arithmetic on them.

    Attributes:
        strategy: None on one device.
        replicas: of all processes and of this one.
        options: as asked for; precision, batch normalisation and compilation of the steps.
    """

    strategy: tf.distribute.Strategy | None = None
    replicas: Replicas = Replicas()
    options: DistributionConfig = DistributionConfig()

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.replicas.first == 0

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
    check_distribution(config)
    if config.mixed_precision == "bfloat16" and not tf.config.list_physical_devices("GPU"):
        check_bfloat16()
    started = _started(config.strategy, config.replicas, config.worker_timeout_s)
    return dataclasses.replace(started, options=config)


@functools.cache
def _started(strategy: str, replicas: int | None, worker_timeout_s: int) -> Distribution:
    if strategy == "none":
        return Distribution()
    if strategy == "mirrored":
        return _of(tf.distribute.MirroredStrategy(_local_devices(replicas)), first_process=0)
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
    return _of(made, first_process=cluster.index)


def _of(strategy: tf.distribute.Strategy, *, first_process: int) -> Distribution:
    devices = tuple(strategy.extended.worker_devices)
    total = strategy.num_replicas_in_sync
    if total == 1:
        return Distribution()
    return Distribution(strategy, Replicas(devices, total, first_process * len(devices)))


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


def on_each_replica(
    strategy: tf.distribute.Strategy | None,
    function: Callable[..., Sequence[tf.Tensor]],
    reduced_by: tf.distribute.ReduceOp,
) -> Callable[..., Sequence[tf.Tensor]]:
    """`function` of every replica's share of each argument, what it returns being summed or
    averaged over replicas; itself without a strategy."""
    if strategy is None:
        return function

    def together(*shares: tf.Tensor) -> list[tf.Tensor]:
        parts = strategy.run(function, args=shares)
        return [strategy.reduce(reduced_by, part, axis=None) for part in parts]

    return together


def share_out(distribution: Distribution, batch: tf.Tensor) -> tf.Tensor:
    """A global batch as the values of the strategy's replicas; the batch itself without one."""
    strategy, replicas = distribution.strategy, distribution.replicas
    if strategy is None:
        return batch
    shares = replicas.shares(batch)
    return strategy.experimental_distribute_values_from_function(
        lambda context: shares[context.replica_id_in_sync_group - replicas.first]
    )


def numerics_of(distribution: Distribution, optimizer: OptimizerConfig) -> Numerics:
    """The supernet's arithmetic under these options."""
    config = distribution.options
    return Numerics(
        Normalisation.of(optimizer, synchronized=config.sync_batch_norm),
        optimizer.weight_decay,
        optimizer.no_decay,
        precision=PRECISIONS[config.mixed_precision],
        jit_compile=config.jit_compile,
        replicas=distribution.replicas,
    )


def check_shares(demands: Iterable[Demand], replicas: Replicas) -> None:
    """Raises UserError on the first global batch that has no equal part for every replica."""
    for demand in demands:
        size = demand.images or 0
        if size % replicas.total:
            raise UserError(
                f"--{demand.flag}",
                expected=f"a multiple of {replicas.total}, the replicas that share a batch",
                received=str(size),
                fix=f"Choose e.g. --{demand.flag}={-(-size // replicas.total) * replicas.total}.",
            )
