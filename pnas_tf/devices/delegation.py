"""How much of a model a delegate executed, as a fact of one run. Knows nothing of how it was found
out."""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.errors import number_of

ACCELERATORS = ("gpu", "nnapi", "npu")  # delegates beside the CPU, which executes what they leave


@dataclass(frozen=True)
class Delegation:
    """How much of a model a delegate executed, as the tool told; 0 where it told no number.

    Attributes:
        ops: operations of the model that the delegate took.
        total_ops: of the model.
        partitions: pieces that the model was cut into, those of the CPU included; 1 for a whole.
        kernels: pieces among them that are the delegate's.
        first_on_cpu: the first operation that the CPU executes; "" where none is known.
    """

    ops: int = 0
    total_ops: int = 0
    partitions: int = 0
    kernels: int = 0
    first_on_cpu: str = ""

    def __post_init__(self) -> None:
        counts = (self.ops, self.total_ops, self.partitions, self.kernels)
        if min(counts) < 0 or (self.total_ops and self.ops > self.total_ops):
            raise ValueError(
                f"{self.ops} of {self.total_ops} ops in {number_of(self.partitions, 'partition')}"
            )

    @property
    def is_full(self) -> bool:
        """Whether it is proven that nothing was left to the CPU."""
        if self.total_ops:
            return 0 < self.ops == self.total_ops
        return self.partitions == 1 and self.ops > 0

    def describe(self) -> str:
        """ "30 of 66 ops, 7 partitions, CAST on the CPU"; "an unknown part, CAST on the CPU"."""
        told = (
            (f"{self.ops} of {self.total_ops or 'unknown'} ops" if self.ops else ""),
            (number_of(self.partitions, "partition") if self.partitions else ""),
            (f"{self.kernels} delegate kernels" if self.kernels and not self.partitions else ""),
        )
        counts = ", ".join(words for words in told if words) or "an unknown part"
        return f"{counts}, {self.first_on_cpu} on the CPU" if self.first_on_cpu else counts
