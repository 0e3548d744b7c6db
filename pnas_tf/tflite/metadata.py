"""What a .tflite classifier says about itself: labels, normalisation, author, licence,
architecture, measurements.

Clients such as MediaPipe and Android Studio read it and need no code. It is a document of the
public schema in the model's metadata list, and files in a zip behind the model. Knows nothing of
training or measuring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.tflite import metadata_schema, schema_names, schema_reader
from pnas_tf.tflite.associated_files import MAX_FILES, attach_files, check_file, read_files
from pnas_tf.tflite.metadata_schema import Document
from pnas_tf.tflite.model import MADE_BY, MAX_BYTES, TfliteModel, pack, put_buffer
from pnas_tf.tflite.pixel_input import make_pixels

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

LABELS_FILE = "labels.txt"
MIN_PARSER_VERSION = "1.0.0"  # every field written here is of the schema's first version


@dataclass(frozen=True)
class Metadata:
    """What is written and read back.

    labels: one per class, in the order of the outputs. mean, std: the model's input is (pixel -
    mean) / std, pixels 0 to 255; one value for all channels or one for each. files: further files
    by name ("architecture.json", "measurements.json").
    """

    name: str
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str = ""
    version: str = "1"
    author: str = ExportConfig.author
    licence: str = ExportConfig.licence
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_metadata(content: bytes, metadata: Metadata) -> bytes:
    """A model of ours with `metadata` in it, replacing what it held; the same arguments give the
    same bytes.

    Args:
        content: a .tflite classifier, one input [batch, height, width, channels], one output
            [batch, classes].
        metadata: what it says about itself.

    Raises:
        UserError: the model is no classifier, there is not one label a class, a file's name is no
            plain name or its size too large, or a uint8 input cannot be the pixel itself.
    """
    model = TfliteModel(content)
    _check_classifier(model)
    parsed = schema_reader.parse(content)
    graph = parsed.subgraphs[0]
    image, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    _check(metadata, classes=int(scores.shape[-1]), channels=int(image.shape[-1]))
    if schema_names.type_name(image) == "uint8":
        make_pixels(parsed, mean=metadata.mean, std=metadata.std)
    document = _document(metadata, _image(metadata, image), _scores(scores, model.has_softmax))
    put_buffer(parsed, schema_reader.METADATA, metadata_schema.encode(document))
    labels = ("\n".join(metadata.labels) + "\n").encode("utf-8")
    made = attach_files(pack(parsed), {LABELS_FILE: labels, **dict(sorted(metadata.files.items()))})
    if len(made) > MAX_BYTES:
        raise UserError(
            "model with its metadata",
            expected=f"at most {MAX_BYTES} bytes",
            received=f"{len(made)} bytes",
            fix="Attach smaller files.",
        )
    return made


def read_metadata(model: TfliteModel, *, of_classifier: bool = True) -> Metadata:
    """What `write_metadata`, or another writer, put into a model. of_classifier: one of any other
    kind is refused, and so are labels of another number than its outputs.

    Raises:
        UserError: the model has no metadata, or its metadata or files are malformed or beyond their
            limits.
    """
    where, document = model.where, model.metadata
    if document is None:
        raise UserError(
            f"{where} has no metadata",
            expected=f"an entry {schema_reader.METADATA}",
            received="none",
            fix=MADE_BY,
        )
    subgraph = _first(document, "subgraph_metadata")
    image = _first(subgraph, "input_tensor_metadata")
    scores = _first(subgraph, "output_tensor_metadata")
    files = read_files(model.content, where=where)
    labels_file, labels = _labels(scores, files, where=where)
    if of_classifier:
        _check_classifier(model)
        classes = model.contents.outputs[0].shape[-1]
        if labels_file is not None and len(labels) != classes:
            raise UserError(
                f"labels of {where}",
                expected=f"{classes}, one per output of its tensor",
                received=str(len(labels)),
                fix=MADE_BY,
            )
    options = [_first(unit, "options") for unit in _rows(image, "process_units")]
    named = [option for option in options if "NormalizationOptions" in option]
    normalization = _first(named[0], "NormalizationOptions") if named else {}
    return Metadata(
        name=_text(document, "name"),
        labels=labels,
        description=_text(document, "description"),
        version=_text(document, "version"),
        author=_text(document, "author"),
        licence=_text(document, "license"),
        mean=_finite(normalization.get("mean", []), where),
        std=_finite(normalization.get("std", []), where),
        files={name: data for name, data in files.items() if name != labels_file},
    )


def _rows(document: Document, name: str) -> list[Document]:
    found = document.get(name, [])
    if isinstance(found, list):
        return found
    return [found] if isinstance(found, dict) else []


def _first(document: Document, name: str) -> Document:
    return next(iter(_rows(document, name)), {})


def _text(document: Document, name: str) -> str:
    return str(document.get(name, ""))


def _finite(values: object, where: str) -> tuple[float, ...]:
    assert isinstance(values, list)
    if len(values) > 64 or not all(math.isfinite(value) for value in values):
        raise UserError(
            f"normalisation of {where}",
            expected="one finite number a channel",
            received=str(values[:8]),
            fix=MADE_BY,
        )
    return tuple(float(value) for value in values)


def _check_classifier(model: TfliteModel) -> None:
    inputs = [tensor.shape for tensor in model.contents.inputs]
    outputs = [tensor.shape for tensor in model.contents.outputs]
    if [len(shape) for shape in inputs] != [4] or [len(shape) for shape in outputs] != [2]:
        raise UserError(
            f"{model.where} is not an image classifier",
            expected="one input [batch, height, width, channels] and one output [batch, classes]",
            received=f"inputs {inputs}, outputs {outputs}"[:300],
            fix="Give the model of a classifier.",
        )


def _check(metadata: Metadata, *, classes: int, channels: int) -> None:
    if len(metadata.labels) != classes:
        raise UserError(
            "labels of the model",
            expected=f"{classes}, one per output",
            received=f"{len(metadata.labels)}: {metadata.labels[:5]}...",
            fix="Give the class names in output order.",
        )
    for label in metadata.labels:
        if not label.strip() or label.splitlines() != [label]:
            raise UserError(
                "labels of the model",
                expected="one line of text each",
                received=repr(label)[:200],
                fix="Rename the class.",
            )
    for name, values in (("mean", metadata.mean), ("std", metadata.std)):
        bounded = all(abs(value) < 1e6 for value in values)
        if len(values) not in (1, channels) or not bounded or (name == "std" and min(values) <= 0):
            raise UserError(
                f"{name} of the input normalisation",
                expected=f"1 or {channels} finite numbers, std above 0",
                received=repr(values)[:200],
                fix="Give what the training data were normalised with.",
            )
    if len(metadata.files) >= MAX_FILES or LABELS_FILE in metadata.files:
        raise UserError(
            "files to attach",
            expected=f"fewer than {MAX_FILES}, none called {LABELS_FILE}",
            received=str(sorted(metadata.files))[:300],
            fix="Attach fewer, or rename the file.",
        )
    for name, data in metadata.files.items():
        check_file(name, len(data), where="the files to attach")


def _labels(
    scores: Document, files: Mapping[str, bytes], *, where: str
) -> tuple[str | None, tuple[str, ...]]:
    """The name of the labels' file and the labels; None and none where there is none."""
    for entry in _rows(scores, "associated_files"):
        if entry.get("type") == metadata_schema.TENSOR_AXIS_LABELS:
            name = _text(entry, "name")
            try:
                return name, tuple(files[name].decode("utf-8").splitlines())
            except (KeyError, UnicodeDecodeError) as error:
                raise UserError(
                    f"labels of {where}",
                    expected=f"a UTF-8 file '{name}' behind the model",
                    received=str(error),
                    fix=MADE_BY,
                ) from error
    return None, ()


def _document(metadata: Metadata, image: Document, scores: Document) -> Document:
    """The document of the public schema, of the documents of its two tensors."""
    document: Document = {
        "name": metadata.name,
        "description": metadata.description,
        "version": metadata.version,
        "author": metadata.author,
        "license": metadata.licence,
        "min_parser_version": MIN_PARSER_VERSION,
        "subgraph_metadata": [
            {"input_tensor_metadata": [image], "output_tensor_metadata": [scores]}
        ],
    }
    if metadata.files:
        document["associated_files"] = [
            {"name": name, "type": metadata_schema.DESCRIPTIONS} for name in sorted(metadata.files)
        ]
    return document


def _image(metadata: Metadata, tensor: schema.TensorT) -> Document:
    _, height, width, channels = (int(size) for size in tensor.shape)
    mean, std = list(metadata.mean), list(metadata.std)
    each = [(m, s) for m, s, _ in np.broadcast(mean, std, range(channels))]
    colour = {3: metadata_schema.RGB, 1: metadata_schema.GRAYSCALE}.get(channels, 0)
    size = {"width": width, "height": height}
    return {
        "name": "image",
        "description": f"{width} x {height} pixels, {channels} channels, (pixel - "
        f"{_numbers(mean)}) / {_numbers(std)}; {_quantisation(tensor)}",
        "content": {
            "content_properties": {"ImageProperties": {"color_space": colour, "default_size": size}}
        },
        "process_units": [{"options": {"NormalizationOptions": {"mean": mean, "std": std}}}],
        "stats": {
            "max": [float((255 - m) / s) for m, s in each],
            "min": [float((0 - m) / s) for m, s in each],
        },
    }


def _scores(tensor: schema.TensorT, are_probabilities: bool) -> Document:
    kind = "Probability" if are_probabilities else "Logit"
    return {
        "name": kind.lower(),
        "description": f"{kind} of each class; {_quantisation(tensor)}",
        "content": {"content_properties": {"FeatureProperties": {}}},
        **({"stats": {"max": [1.0], "min": [0.0]}} if are_probabilities else {}),
        "associated_files": [
            {
                "name": LABELS_FILE,
                "description": "Class names, one a line, in output order.",
                "type": metadata_schema.TENSOR_AXIS_LABELS,
            }
        ],
    }


def _quantisation(tensor: schema.TensorT) -> str:
    dtype = schema_names.type_name(tensor)
    scales, zero_points = schema_names.quantization_of(tensor)
    return f"{dtype}, value = (q - {zero_points[0]}) * {scales[0]:.9g}" if scales else dtype


def _numbers(values: Sequence[float]) -> str:
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
