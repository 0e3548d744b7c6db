"""Who executed a model, by what the tool's log says: the proof that a time is the delegate's.

The absence of bad words proves nothing: a build without a delegate warns and runs the model on the
CPU. Nor does one good word: LiteRT prints that nodes were replaced though their kernel could not be
made, and calls a model fully accelerated whose GPU delegate has left an op to the CPU. So where two
lines speak of one delegate, that counts which claims less. Pure text in, facts out. Source:
ApplyDelegates in benchmark_tflite_model.cc, the partitioning line of TensorFlow Lite's subgraph.cc,
the GPU, NNAPI and Hexagon delegates' own lines, LiteRT's dispatch_delegate.cc, compiler_plugin.cc.
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
    "npu": re.compile(r"dispatchdelegate|\bnpu\b", re.IGNORECASE),
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
_ON_GPU = re.compile(
    rf"\b{_COUNT} operations will run on the GPU, and the remaining {_COUNT} (?:operations )?"
    r"(?:will run )?on the CPU"
)
_REFUSED = re.compile(r"\b(?:Following|Next) operations are not supported by GPU delegate:")
_OP = re.compile(r"^\s{0,9}([A-Z][A-Z0-9_]{1,60}): ?")
_SELECTED = re.compile(rf"\bselected {_COUNT} ops, from a total of {_COUNT} ops")
_NO_KERNEL = re.compile(r"Failed to create a dispatch delegate kernel|No usable Dispatch runtime")
_UNDONE = re.compile(r"\bRestored original execution plan after delegate application failure")
_NOT_FULL = re.compile(r"^Fully accelerated:\s{0,20}False\b")
_DEFAULT = re.compile(r"\bCreated TensorFlow Lite XNNPACK delegate for CPU")
_UNSUPPORTED = re.compile(
    r"(?:acceleration|delegate) is (?:unsupported|not supported)|dispatch delegate kernel|"
    r"Restored original execution plan|"
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
        first_refused: the first op that the GPU delegate names as not its own; "" for none.
        not_full: the tool says that something was left to the CPU.
    """

    parts: dict[str, Delegation] = field(default_factory=dict)
    complete: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()
    created: frozenset[str] = frozenset()
    on_cpu: bool = False
    complaints: tuple[str, ...] = ()
    first_refused: str = ""
    not_full: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all is said of delegates, as by a build that does not log them."""
        return not (self.parts or self.complete or self.unused or self.complaints)

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
        if self.first_refused:
            found.append(f"{self.first_refused} is the first op named that it does not take")
        if self.not_full:
            found.append("the tool says that the model is not fully accelerated")
        return "; ".join(found) or "no line that says which delegate executed the model"


def read_delegates(texts: Iterable[str]) -> DelegateLog:
    """Reads the lines of one run, prefixes stripped. Raises GarbledOutput on counts that cannot
    be."""
    counts, found, may_name_ops = _Counts(), DelegateLog(), False
    for text in texts:
        if may_name_ops and not found.first_refused and (match := _OP.match(text)):
            found = replace(found, first_refused=match.group(1))
        may_name_ops = bool(_REFUSED.search(text)) or (may_name_ops and not _ON_GPU.search(text))
        found = _with_words(found, text)
        if _UNDONE.search(text):
            counts, found = _Counts(), replace(found, complete=frozenset(), first_refused="")
        elif match := _APPLIED.search(text):
            name = _family(match.group(1))
            if match.group(2) == "completely":
                found = replace(found, complete=found.complete | {name})
            else:
                counts.kernels[name] = int(match.group(3) or 1)
        else:
            counts.read(text)
    return replace(found, parts=counts.parts(found.complete, found.first_refused))


def _with_words(found: DelegateLog, text: str) -> DelegateLog:
    """With what one line says in words alone."""
    if _UNSUPPORTED.search(text):
        found = replace(found, complaints=(*found.complaints, text.strip()[:200]))
    if match := _NOT_EXECUTED.search(text):
        return replace(found, unused=(*found.unused, _family(match.group(1))))
    if _NO_KERNEL.search(text):
        return replace(found, unused=(*found.unused, "npu"))
    if match := _NNAPI_UNITS.search(text):
        names = {name.strip() for name in match.group(1).split(",")} - {""}
        return replace(found, on_cpu=names <= {_REFERENCE})
    if _DEFAULT.search(text):
        return replace(found, created=found.created | {"xnnpack"})
    return replace(found, not_full=True) if _NOT_FULL.search(text) else found


@dataclass
class _Counts:
    """Figures of the lines so far, by family.

    Attributes:
        graphs: (family, graph) -> what the runtime replaced; of a graph the last line holds.
        own: what a delegate itself says that it took.
        limits: what it says that it can take at most, which proves nothing: the GPU delegate before
            it is applied, an NPU's compiler before the runtime sees its work as one op.
        kernels: pieces of the delegate, in the tool's words for a partial delegation.
    """

    graphs: dict[tuple[str, str], Delegation] = field(default_factory=dict)
    own: dict[str, Delegation] = field(default_factory=dict)
    limits: dict[str, Delegation] = field(default_factory=dict)
    kernels: dict[str, int] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Takes the figures of one line."""
        if match := _REPLACING.search(text):
            ops, total, name, partitions, graph = match.groups()
            self.graphs[_family(name), graph or ""] = _counted(ops, total, partitions)
        elif match := _COUNTED.search(text):
            name, ops, total, partitions = match.groups()
            self.own[_family(name)] = _counted(ops, total, partitions)
        elif match := _ON_GPU.search(text):
            one = _counted(match.group(1), str(sum(map(int, match.groups()))), None)
            self.limits["gpu"] = _sum(self.limits.get("gpu"), one)
        elif match := _SELECTED.search(text):
            one = _counted(match.group(1), match.group(2), None)
            self.limits["npu"] = _sum(self.limits.get("npu"), one)

    def parts(self, complete: frozenset[str], first_refused: str) -> dict[str, Delegation]:
        """Family -> how much it took: where two kinds of line speak of it, what claims less.

        complete, first_refused: as in `DelegateLog`.
        """
        graphs: dict[str, Delegation] = {}
        for (name, _), one in self.graphs.items():
            graphs[name] = _sum(graphs.get(name), one)
        parts = self.own | graphs
        for name, own in self.own.items():
            if parts[name].is_full and not own.is_full:
                parts[name] = replace(own, partitions=parts[name].partitions)
        for name, limit in self.limits.items():
            part = parts.get(name, Delegation())
            takes_part = name in parts or name in self.kernels or name in complete
            takes_less = part.total_ops == limit.total_ops and part.ops < limit.ops
            if takes_part and not limit.is_full and not takes_less:
                parts[name] = replace(limit, partitions=part.partitions)
        for name, count in self.kernels.items():
            parts[name] = replace(parts.get(name, Delegation()), kernels=count)
        if "gpu" in parts and not parts["gpu"].is_full:
            parts["gpu"] = replace(parts["gpu"], first_on_cpu=first_refused)
        return parts


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
    if _is_whole(log, delegate, part, others):
        return None if part == Delegation() else part
    if not partial:
        raise PartlyDelegated(
            f"the {delegate} executes only a part of the model",
            received=f"{log.words()}; the CPU executed the rest",
        )
    # Another line denies that these ops are all there are.
    return Delegation(part.ops) if part.is_full else part


def _is_whole(log: DelegateLog, delegate: str, part: Delegation, others: set[str]) -> bool:
    """Whether the delegate executed every op. The tool's word for it counts where no figures
    contradict it; another delegate that was made but took nothing does not matter."""
    if log.not_full or any(log.parts[name].ops for name in others if name in log.parts):
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


def _sum(before: Delegation | None, one: Delegation) -> Delegation:
    """Of the model's subgraphs. A sum without a total keeps it unknown."""
    if before is None:
        return one
    knows = bool(before.total_ops and one.total_ops)
    return Delegation(
        before.ops + one.ops,
        before.total_ops + one.total_ops if knows else 0,
        before.partitions + one.partitions,
    )
