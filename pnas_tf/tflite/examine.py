"""What the child process of `io.isolated` does with a .tflite file of somebody else.

Nothing else imports this: the runtime may crash on such a file, and the generated reader of the
schema may take all time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pnas_tf.tflite.schema_reader import read_contents

DELEGATE = "DELEGATE"  # the runtime's name of the op that stands for a partition


def check(content: bytes, *, prepare: bool = False, run: bool = False) -> dict[str, object]:
    """Builds the interpreter, which verifies the bytes, and reads what stands in them.

    Args:
        content: the file.
        prepare: whether the runtime prepares it with its default CPU delegate, as clients do.
        run: whether it is also run once, with and without the delegate.

    Returns:
        The fields of `schema_reader.Contents`, partitions among them where it was prepared.

    Raises:
        Exception: whatever the runtime and the generated reader raise on what is no model.
    """
    plain = {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    interpreter = Interpreter(model_content=content, **plain)
    if run:
        interpreter.allocate_tensors()
        interpreter.invoke()
    contents = read_contents(content)
    if not prepare and not run:
        return asdict(contents)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    if run:
        interpreter.invoke()
    # Not a public name: a later runtime may drop it.
    if hasattr(interpreter, "_get_ops_details"):
        nodes = interpreter._get_ops_details()
        partition_of = dict(_partitions(nodes))
        contents = replace(
            contents,
            ops=[replace(op, partition=partition_of.get(op.index)) for op in contents.ops],
            partitions=sum(node["op_name"] == DELEGATE for node in nodes),
        )
    return asdict(contents)


def _partitions(nodes: list[dict]) -> Iterator[tuple[int, int]]:
    """(op, number of the partition that computes it) of every op that a delegate takes."""
    delegates = [node for node in nodes if node["op_name"] == DELEGATE]
    ops = [node for node in nodes if node["op_name"] != DELEGATE]
    makers = {int(output): node for node in ops for output in node["outputs"]}
    seen: set[int] = set()
    for number, delegate in enumerate(delegates):
        # An op is inside when the partition's outputs need it and its result is not given to the
        # partition from outside.
        given = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in seen:
                seen.add(node["index"])
                wanted += [int(tensor) for tensor in node["inputs"] if int(tensor) not in given]
                yield int(node["index"]), number
