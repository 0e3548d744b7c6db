"""The processes of a run that trains on several hosts, as TF_CONFIG names them to each. Knows
nothing of TensorFlow.

TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index":
0}}'
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pnas_tf.config import DistributionConfig
from pnas_tf.errors import UserError

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class WorkerLost(Exception):
    """Another process of the cluster has ended or cannot be reached. The last checkpoint is good;
    all start again."""


@dataclass(frozen=True)
class Cluster:
    """addresses: of all processes, the chief's first. index: this process's place among them.
    tasks: how many of each kind."""

    addresses: tuple[str, ...]
    index: int
    tasks: Mapping[str, int]

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.index == 0


def cluster_of(environment: Mapping[str, str] | None = None) -> Cluster:
    """The cluster in TF_CONFIG. Raises UserError when there is none, or one that is no cluster of
    equal workers."""
    text = (os.environ if environment is None else environment).get(VARIABLE, "")
    try:
        document = json.loads(text)
        groups, task = document["cluster"], document["task"]
        known = set(groups) <= {"chief", "worker"}
        addresses = tuple(
            str(address) for group in ("chief", "worker") for address in groups.get(group, ())
        )
        index = int(task["index"]) + (
            len(groups.get("chief", ())) if task["type"] == "worker" else 0
        )
        good = (
            known
            and task["type"] in groups
            and int(task["index"]) in range(len(groups[task["type"]]))
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(text, f"{type(error).__name__}: {error}" if text else "nothing") from error
    if not good or len(groups.get("chief", ())) > 1:
        raise _refused(text, text)
    return Cluster(
        addresses,
        index,
        {group: len(groups[group]) for group in ("chief", "worker") if groups.get(group)},
    )


def check_distribution(config: DistributionConfig) -> None:
    """Raises UserError on options that do not go together."""
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
    if config.strategy == "multi_worker":
        cluster_of()


def _refused(text: str, received: str) -> UserError:
    return UserError(
        f"--strategy=multi_worker and {VARIABLE}",
        expected=f"a cluster of workers and this one's task: {_EXAMPLE}",
        received=received[:300],
        fix=f"Set {VARIABLE} in the environment of every worker; only task and index differ.",
    )
