"""Who executed a model, by what the tool's log says: the proof that a time is the delegate's.

The absence of bad words proves nothing: a build without a delegate warns and runs the model on the
CPU. Pure text in, facts out. Source: ApplyDelegates in benchmark_tflite_model.cc, the partitioning
line of TensorFlow Lite's subgraph.cc, the NNAPI and Hexagon delegates' own lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pnas_tf.devices.delegation import ACCELERATORS, Delegation
from pnas_tf.devices.failures import (
    DelegateNotUsed,
    GarbledOutput,
    OtherDelegate,
    PartlyDelegated,
)

_FAMILIES = {
    "xnnpack": re.compile("xnnpack", re.IGNORECASE),
    "nnapi": re.compile("nnapi", re.IGNORECASE),
    "gpu": re.compile(r"gpu|litert_(?:cl|gl|metal|vulkan)\b|opencl", re.IGNORECASE),
}
_COUNT = r"(\d{1,9})"
_REPLACING = re.compile(
    rf"\bReplacing {_COUNT}(?: out of {_COUNT})? node(?:s|\(s\)) with delegate \(([^()]{{1,100}})\)"
    rf"(?: node)?,?(?: yielding {_COUNT} partitions?)?(?: for subgraph {_COUNT})?"
)
_COUNTED = re.compile(
    rf"(\S{{1,100}}) delegate: {_COUNT} nodes delegated out of {_COUNT} nodes"
    rf"(?: with {_COUNT} partitions?)?"
)
_APPLIED = re.compile(
    r"\bExplicitly applied (\S{1,100}) delegate, and the model graph will be "
    rf"(completely|partially) executed by the delegate(?: w/ {_COUNT} delegate kernels)?"
)
_NOT_EXECUTED = re.compile(
    r"\bThough (\S{1,100}) delegate is explicitly applied, the model graph will not be executed"
)
_DEFAULT = re.compile(r"\bCreated TensorFlow Lite XNNPACK delegate for CPU")
_UNSUPPORTED = re.compile(
    r"(?:acceleration|delegate) is (?:unsupported|not supported)|"
    r"Failed to (?:apply|create)\b.*delegate",
    re.IGNORECASE,
)
_NNAPI_UNITS = re.compile(r"\bNNAPI accelerators available: \[([^\]]{0,500})\]")
_FLEX = "tfliteflexdelegate"  # TensorFlow's own operations, on the CPU
_REFERENCE = "nnapi-reference"  # Android's own NNAPI driver, on the CPU


@dataclass(frozen=True)
class DelegateLog:
    """What one run's log says of delegates, by family ("gpu", "nnapi", "xnnpack", or its name).

    Attributes:
        parts: how much each took, where there are counts.
        complete: those that execute the whole graph, in the tool's words.
        unused: those of which the tool says that they execute nothing.
        created: those that were made, whether or not they took anything.
        on_cpu: NNAPI has no accelerator but Android's reference driver, which is the CPU.
        complaints: lines that say what is not there.
    """

    parts: dict[str, Delegation] = field(default_factory=dict)
    complete: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()
    created: frozenset[str] = frozenset()
    on_cpu: bool = False
    complaints: tuple[str, ...] = ()

    def executed(self) -> set[str]:
        """Families that executed something."""
        took = {name for name, part in self.parts.items() if part.ops or part.kernels}
        silent = {name for name in self.created if name not in self.parts}
        return (took | self.complete | silent) - {*self.unused, _FLEX}

    def words(self) -> str:
        """What was found, for an error."""
        found = [
            *self.complaints,
            *(f"{name} executed {part.describe()}" for name, part in self.parts.items()),
            *(f"{name} executed nothing" for name in self.unused),
        ]
        return "; ".join(found) or "no line that says which delegate executed the model"


def read_delegates(texts: Iterable[str]) -> DelegateLog:
    """Reads the lines of one run, prefixes stripped. Raises GarbledOutput on counts that cannot
    be."""
    graphs: dict[tuple[str, str], Delegation] = {}  # of a graph the last line holds
    counted: dict[str, Delegation] = {}  # by the delegate's own line, where the graph has none
    kernels: dict[str, int] = {}
    found = DelegateLog()
    for text in texts:
        if match := _REPLACING.search(text):
            ops, total, name, partitions, graph = match.groups()
            part = _counted(ops, total, partitions)
            graphs[_family(name), graph or ""] = part
        elif match := _COUNTED.search(text):
            name, ops, total, partitions = match.groups()
            counted[_family(name)] = _counted(ops, total, partitions)
        elif match := _APPLIED.search(text):
            name = _family(match.group(1))
            if match.group(2) == "completely":
                found = replace(found, complete=found.complete | {name})
            else:
                kernels[name] = int(match.group(3) or 1)
        elif match := _NOT_EXECUTED.search(text):
            found = replace(found, unused=(*found.unused, _family(match.group(1))))
        elif match := _NNAPI_UNITS.search(text):
            names = {name.strip() for name in match.group(1).split(",")} - {""}
            found = replace(found, on_cpu=names <= {_REFERENCE})
        elif _DEFAULT.search(text):
            found = replace(found, created=found.created | {"xnnpack"})
        elif _UNSUPPORTED.search(text):
            found = replace(found, complaints=(*found.complaints, text.strip()[:200]))
    parts = counted | _summed(graphs)
    for name, count in kernels.items():
        parts[name] = replace(parts.get(name, Delegation()), kernels=count)
    return replace(found, parts=parts)


def proven(log: DelegateLog, delegate: str, *, partial: bool) -> Delegation | None:
    """How much of the model `delegate` executed; None where no figures are told.

    Args:
        log: of the run.
        delegate: as --delegate.
        partial: whether a mixture of accelerator and CPU is accepted.

    Raises:
        DelegateNotUsed: no proof that the delegate took anything.
        PartlyDelegated: it left some to the CPU.
        OtherDelegate: one that was not asked for executed the model, or some of it.
    """
    others = log.executed() - {delegate}
    if delegate not in ACCELERATORS:
        if others:
            raise OtherDelegate(
                f"--delegate={delegate}, and {', '.join(sorted(others))} executed the model",
                received=log.words(),
            )
        if delegate in log.unused:
            raise DelegateNotUsed(f"{delegate} took no op of the model", received=log.words())
        return log.parts.get(delegate)
    if delegate == "nnapi" and log.on_cpu:
        raise DelegateNotUsed(
            "NNAPI has no accelerator on this device",
            received=f"{_REFERENCE} alone, which runs on the CPU",
        )
    if delegate not in log.executed():
        raise DelegateNotUsed(
            f"nothing proves that the {delegate} executed the model", received=log.words()
        )
    part = log.parts.get(delegate, Delegation())
    if not partial and not _is_whole(log, delegate, part, others):
        raise PartlyDelegated(
            f"the {delegate} executes only a part of the model",
            received=f"{log.words()}; the CPU executed the rest",
        )
    return part if part != Delegation() or not _is_whole(log, delegate, part, others) else None


def _is_whole(log: DelegateLog, delegate: str, part: Delegation, others: set[str]) -> bool:
    """Whether the delegate executed every op. The tool's word for it counts where no figures
    contradict it; another delegate that was made but took nothing does not matter."""
    if any(log.parts[name].ops for name in others if name in log.parts):
        return False
    knows_nothing_else = not part.total_ops and not part.kernels and part.partitions <= 1
    return part.is_full or (delegate in log.complete and knows_nothing_else)


def _family(name: str) -> str:
    matching = (family for family, pattern in _FAMILIES.items() if pattern.search(name))
    return next(matching, name.lower())


def _counted(ops: str, total: str | None, partitions: str | None) -> Delegation:
    if total is not None and int(ops) > int(total):
        raise GarbledOutput(
            "benchmark_model counts more ops than there are", received=f"{ops} out of {total}"
        )
    return Delegation(int(ops), int(total or 0), int(partitions or 0))


def _summed(graphs: dict[tuple[str, str], Delegation]) -> dict[str, Delegation]:
    """Family -> the sum over the model's subgraphs. A sum without a total keeps it unknown."""
    parts: dict[str, Delegation] = {}
    for (name, _), one in graphs.items():
        before = parts.get(name)
        if before is None:
            parts[name] = one
            continue
        knows = bool(before.total_ops and one.total_ops)
        parts[name] = Delegation(
            before.ops + one.ops,
            before.total_ops + one.total_ops if knows else 0,
            before.partitions + one.partitions,
        )
    return parts
