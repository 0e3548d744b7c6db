"""Architecture: a search space and one op per choice block; the hand-over from search to
deployment.

The file is versioned JSON, holds the whole backbone, and so can be built, exported and measured
without the search.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.errors import UserError, named
from pnas_tf.io import atomic
from pnas_tf.io.serialization import Json, value_of
from pnas_tf.space import complexity
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import Choice, Fixed, run_graph
from pnas_tf.space.ops import CandidateOp, Zero, op_to_json
from pnas_tf.space.registry import space_from_json

FORMAT, VERSION = "pnas_tf/architecture", 1
_MADE_BY = "pnas search --run_dir=..."
_MADE_AGAIN = f"Make it again: {_MADE_BY}"

ChoiceIndices = tuple[int, ...]  # for each choice block the index of a candidate: a path


@dataclass(frozen=True)
class Architecture:
    """One network of `space`: `ops[i]` stands in choice block i.

    Raises:
        UserError: another number of ops than choice blocks, or an op that its block does not have.
    """

    space: SearchSpace
    ops: tuple[CandidateOp, ...]

    def __post_init__(self) -> None:
        choices = self.space.choice_blocks
        if len(self.ops) != len(choices):
            raise UserError(
                f"architecture of space '{self.space.name}'",
                expected=f"{len(choices)} ops",
                received=f"{len(self.ops)} ops",
                fix="Give one op for each choice block.",
            )
        for choice, op in zip(choices, self.ops):
            if op not in choice.candidates:
                raise UserError(
                    f"op of choice block {choice.index} of space '{self.space.name}'",
                    expected=f"one of {[candidate.key for candidate in choice.candidates]}",
                    received=op.key,
                    fix="Choose a candidate of the block.",
                )

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every block of the network in the order of the topology: the fixed ones, and one for each
        choice block (Zero included). Parameters, MACs, latency keys, models and drawings all
        iterate these."""
        space, rows = self.space, []
        choices = space.choice_blocks
        for node in space.topology:
            if isinstance(node, Fixed):
                rows.append(node.block)
            elif isinstance(node, Choice):
                rows.append(space.candidate_block(choices[node.index], self.ops[node.index]))
        return tuple(rows)

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return complexity.parameters(self.blocks)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return complexity.macs(self.blocks)

    @property
    def computation(self) -> str:
        """A digest of what the network computes: the same for architectures that skip other blocks
        of one shape and hold the same ops in the same order, which are one network."""
        choices = self.space.choice_blocks

        def behind(what: object, *inputs: str) -> str:
            return hashlib.sha256(repr((what, inputs)).encode()).hexdigest()

        def choice(index: int, x: str) -> str:
            block = self.space.candidate_block(choices[index], self.ops[index])
            return x if isinstance(block.op, Zero) and block.shortcut else behind(block.key, x)

        return run_graph(
            self.space.topology,
            "images",
            fixed=lambda block, x: behind(block.key, x),
            choice=choice,
            merge=lambda _, node, inputs: behind(node, *inputs),
        )

    def to_json(self) -> dict[str, Json]:
        """The versioned document; parameters and MACs are there for readers and are recomputed on
        load."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "parameters": self.parameters,
            "macs": self.macs,
            "space": self.space.to_json(),
            "ops": [op_to_json(op) for op in self.ops],
        }

    @classmethod
    def from_json(cls, document: Json, *, where: str) -> Architecture:
        """The inverse of `to_json`. where: the place named in errors.

        Raises:
            UserError: a missing, unknown or ill-typed field, or ops that the space does not have.
        """
        with named(where):
            what = f"architecture in {where}"
            read = value_of(_Document, document, what=what, fix=_MADE_AGAIN)
            return cls(space_from_json(read.space, where=where), read.ops)

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the JSON document atomically."""
        return atomic.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Architecture:
        """Reads what `save` wrote.

        Raises:
            UserError: the file is absent, truncated or not an architecture.
        """
        document = atomic.read_document(
            path, format=FORMAT, version=VERSION, what="architecture", made_by=_MADE_BY
        )
        return cls.from_json(document, where=str(path))


@dataclass(frozen=True)
class _Document:
    """What stands in a file of an architecture; parameters and MACs are for readers."""

    space: Json
    ops: tuple[CandidateOp, ...]
    format: str = FORMAT
    version: int = VERSION
    parameters: Json = None
    macs: Json = None


def random_architecture(space: SearchSpace, *, seed: int) -> Architecture:
    """An architecture drawn uniformly, the same for the same seed."""
    generator = random.Random(seed)
    return Architecture(
        space, tuple(generator.choice(choice.candidates) for choice in space.choice_blocks)
    )
