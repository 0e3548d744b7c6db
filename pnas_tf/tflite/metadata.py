"""What a .tflite classifier says about itself: labels, normalisation, author, licence,
architecture, measurements.

Clients such as MediaPipe and Android Studio read it and need no code. It is a document of the
public schema in the model's metadata list under "TFLITE_METADATA", and files in a zip behind the
model. Knows nothing of training or measuring.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.io.atomic import BAD_ZIP
from pnas_tf.tflite import flatbuffer
from pnas_tf.tflite import metadata_schema as schema
from pnas_tf.tflite.flatbuffer_reader import BadFlatBuffer

ENTRY = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
MAX_FILES = 64
MAX_FILE_BYTES = 16 * 2**20
MAX_ALL_BYTES = 64 * 2**20
MIN_PARSER_VERSION = "1.0.0"  # every field written here is of the schema's first version
_ZIP_DATE = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the earliest a zip can hold: the same content gives the same bytes on every day
_MADE_BY = "Export it again: pnas export"


@dataclass(frozen=True)
class Metadata:
    """What is written and read back.

    labels: one per class, in the order of the outputs. mean, std: the model's input is (pixel -
    mean) / std, pixels 0 to 255; one value for all channels or one for each. files: further files
    by name ("architecture.json", "measurements.json").
    """

    name: str
    labels: tuple[str, ...]
    description: str = ""
    version: str = "1"
    author: str = ""
    licence: str = ""
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_metadata(model: bytes, metadata: Metadata) -> bytes:
    """The model with `metadata` in it, replacing what it held; the same arguments give the same
    bytes.

    model: a .tflite classifier, one input [batch, height, width, channels], one output [batch,
    classes]. Raises UserError when the model is corrupt or no classifier, when there is not one
    label a class, when a file's name is no plain name or its size too large, and when a uint8 input
    cannot be the pixel itself.
    """
    parsed = flatbuffer.parse(model)
    image, scores, probabilities = _ends(parsed)
    _check(metadata, image, scores)
    if flatbuffer.type_name(image) == "uint8":
        _make_pixels(metadata, parsed, image)
    content = schema.encode(_document(metadata, image, scores, probabilities))
    flatbuffer.add_buffer_entry(parsed, ENTRY, content)
    stream = io.BytesIO(flatbuffer.pack(parsed))
    with zipfile.ZipFile(
        stream, "a", zipfile.ZIP_STORED
    ) as archive:  # clients map the files; they do not inflate them
        for name, data in [(LABELS_FILE, _labels_text(metadata)), *sorted(metadata.files.items())]:
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)
    if len(stream.getvalue()) > flatbuffer.MAX_MODEL_BYTES:
        raise UserError(
            "model with its metadata",
            expected=f"at most {flatbuffer.MAX_MODEL_BYTES} bytes",
            received=f"{len(stream.getvalue())} bytes",
            fix="Attach smaller files.",
        )
    return stream.getvalue()


def read_metadata(model: bytes, *, where: str = "the model") -> Metadata:
    """What `write_metadata`, or another writer of image classifiers, put into a model.

    Raises UserError when the model is corrupt, has no metadata, or its metadata or files are
    malformed or beyond their limits.
    """
    parsed = flatbuffer.parse(model, where=where)
    content = flatbuffer.buffer_entry(parsed, ENTRY)
    if content is None:
        raise UserError(
            f"{where} has no metadata", expected=f"an entry {ENTRY}", received="none", fix=_MADE_BY
        )
    try:
        document = schema.decode(content)
    except BadFlatBuffer as error:
        raise UserError(
            f"metadata of {where} is corrupt",
            expected="a document of the public schema, identifier M001",
            received=str(error),
            fix=_MADE_BY,
        ) from error
    subgraph = (document.get("subgraph_metadata") or [{}])[0]
    image = (subgraph.get("input_tensor_metadata") or [{}])[0]
    scores = (subgraph.get("output_tensor_metadata") or [{}])[0]
    files = read_files(model, where=where)
    normalization: dict[str, Any] = next(
        (
            unit["options"]["NormalizationOptions"]
            for unit in image.get("process_units", [])
            if "NormalizationOptions" in unit.get("options", {})
        ),
        {},
    )
    labels_file = next(
        (
            entry.get("name", "")
            for entry in scores.get("associated_files", [])
            if entry.get("type") == schema.TENSOR_AXIS_LABELS
        ),
        None,
    )
    labels = _labels(files, labels_file, where=where)
    classes = flatbuffer.shape_of(_ends(parsed, where=where)[1])[-1]
    if labels_file is not None and len(labels) != classes:
        raise UserError(
            f"labels of {where}",
            expected=f"{classes}, one per output of its tensor",
            received=str(len(labels)),
            fix=_MADE_BY,
        )
    return Metadata(
        name=document.get("name", ""),
        labels=labels,
        description=document.get("description", ""),
        version=document.get("version", ""),
        author=document.get("author", ""),
        licence=document.get("license", ""),
        mean=_finite(normalization.get("mean", ()), where),
        std=_finite(normalization.get("std", ()), where),
        files={name: data for name, data in files.items() if name != labels_file},
    )


def read_files(model: bytes, *, where: str = "the model") -> dict[str, bytes]:
    """The files in the zip behind a model, by name; empty when there is no zip.

    Nothing is written to disk. Raises UserError on a damaged zip, on more or larger files than the
    limits, and on names that are not plain file names.
    """
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return {}
    files: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            if len(archive.infolist()) > MAX_FILES:
                raise UserError(
                    f"files in {where}",
                    expected=f"at most {MAX_FILES}",
                    received=str(len(archive.infolist())),
                    fix=_MADE_BY,
                )
            for entry in archive.infolist():
                _check_file_name(entry.filename, where)
                _check_file_size(entry.filename, entry.file_size, where)
                total += entry.file_size
                if total > MAX_ALL_BYTES or entry.compress_type not in (
                    zipfile.ZIP_STORED,
                    zipfile.ZIP_DEFLATED,
                ):
                    raise UserError(
                        f"file '{entry.filename}' in {where}",
                        fix=_MADE_BY,
                        received=f"{total} bytes, method {entry.compress_type}",
                        expected=f"at most {MAX_ALL_BYTES} bytes in all, stored or deflated",
                    )
                if entry.filename in files:
                    raise UserError(
                        f"files in {where}",
                        expected="each name once",
                        received=f"'{entry.filename}' twice",
                        fix=_MADE_BY,
                    )
                files[entry.filename] = archive.read(
                    entry
                )  # no more than the size it declares, checked above
    except BAD_ZIP as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"files in {where} are damaged",
            expected="a whole, unencrypted zip behind the model",
            received=f"{type(error).__name__}: {error}"[:300],
            fix=_MADE_BY,
        ) from error
    return files


def _finite(values: Any, where: str) -> tuple[float, ...]:
    if len(values) > 64 or not all(math.isfinite(value) for value in values):
        raise UserError(
            f"normalisation of {where}",
            expected="one finite number a channel",
            received=str(list(values[:8])),
            fix=_MADE_BY,
        )
    return tuple(float(value) for value in values)


def _ends(parsed: Any, *, where: str = "the model") -> tuple[Any, Any, bool]:
    """The input tensor, the output tensor, and whether the output went through a softmax."""
    graph: Any = parsed.subgraphs[0] if parsed.subgraphs else None
    tensors: list[list[Any]] = (
        [[graph.tensors[index] for index in ends] for ends in (graph.inputs, graph.outputs)]
        if graph
        else [[], []]
    )
    shapes = [[flatbuffer.shape_of(tensor) for tensor in ends] for ends in tensors]
    if [len(ends) for ends in shapes] != [1, 1] or len(shapes[0][0]) != 4 or len(shapes[1][0]) != 2:
        raise UserError(
            f"{where} is not an image classifier",
            expected="one input [batch, height, width, channels] and one output [batch, classes]",
            received=f"inputs {shapes[0]}, outputs {shapes[1]}",
            fix="Give the model of a classifier.",
        )
    return tensors[0][0], tensors[1][0], flatbuffer.softmax_at_end(parsed) is not None


def _check(metadata: Metadata, image: Any, scores: Any) -> None:
    classes, channels = int(scores.shape[-1]), int(image.shape[-1])
    if len(metadata.labels) != classes:
        raise UserError(
            "labels of the model",
            expected=f"{classes}, one per output",
            received=f"{len(metadata.labels)}: {metadata.labels[:5]}...",
            fix="Give the class names in output order.",
        )
    for label in metadata.labels:
        if not isinstance(label, str) or not label.strip() or len(label.splitlines()) != 1:
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
        _check_file_name(name, "the files to attach")
        _check_file_size(name, len(data), "the files to attach")


def _make_pixels(metadata: Metadata, parsed: Any, image: Any) -> None:
    """Makes every byte of a uint8 input stand for a pixel: clients such as MediaPipe hand it the
    image as it is.

    The converter gives the input the range of the calibration images, which need not reach black
    and white. Where the first op is a QUANTIZE, from this input's scale to the calibrated one,
    changing the input's scale is exact: that op reads it.
    """
    scales, zero_points, _ = flatbuffer.quantization_of(image)
    scale, zero_point = (scales[0], zero_points[0]) if scales else (0.0, 0)
    mean, std = metadata.mean[0], metadata.std[0]
    ends = [(pixel - mean) / std / scale + zero_point if scale else math.inf for pixel in (0, 255)]
    alike = len({*metadata.mean}) == len({*metadata.std}) == 1
    if alike and abs(ends[0]) <= 1 and abs(ends[1] - 255) <= 1:
        return
    graph = parsed.subgraphs[0]
    readers = [
        flatbuffer.op_name(parsed, operator)
        for operator in graph.operators
        if graph.inputs[0] in operator.inputs
    ]
    if not alike or set(readers) != {"QUANTIZE"} or not 0 <= mean <= 255:
        raise UserError(
            "uint8 input of the model",
            expected="a quantisation under which every pixel stands for itself",
            received=f"scale {scale:.6g}, zero point {zero_point}; mean "
            f"{_text(list(metadata.mean))}, std "
            f"{_text(list(metadata.std))}; read by {', '.join(readers)}",
            fix="Use one mean and std for all channels, or export with a float32 input.",
        )
    image.quantization.scale, image.quantization.zeroPoint = (
        [float(np.float32(1 / std))],
        [round(mean)],
    )  # as the file will hold it


def _check_file_name(name: str, where: str) -> None:
    # A client may unpack the files: a name must not lead out of its folder, on any system.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}", name) or name.endswith((".", " ")):
        raise UserError(
            f"file name in {where}",
            expected="a plain name of letters, digits, dot, dash and underscore",
            received=repr(name)[:200],
            fix="Rename the file.",
        )


def _check_file_size(name: str, size: int, where: str) -> None:
    if size > MAX_FILE_BYTES:
        raise UserError(
            f"file '{name}' in {where}",
            expected=f"at most {MAX_FILE_BYTES} bytes",
            received=f"{size} bytes or more",
            fix="Shorten the file.",
        )


def _labels_text(metadata: Metadata) -> bytes:
    return ("\n".join(metadata.labels) + "\n").encode("utf-8")


def _labels(files: Mapping[str, bytes], name: str | None, *, where: str) -> tuple[str, ...]:
    if name is None:
        return ()
    try:
        return tuple(files[name].decode("utf-8").splitlines())
    except (KeyError, UnicodeDecodeError) as error:
        raise UserError(
            f"labels of {where}",
            expected=f"a UTF-8 file '{name}' behind the model",
            received=str(error),
            fix=_MADE_BY,
        ) from error


def _document(metadata: Metadata, image: Any, scores: Any, probabilities: bool) -> dict[str, Any]:
    """The document of the public schema."""
    _, height, width, channels = (int(size) for size in image.shape)
    mean, std = list(metadata.mean), list(metadata.std)
    colour = {3: schema.RGB, 1: schema.GRAYSCALE}.get(channels, 0)
    input_tensor = {
        "name": "image",
        "description": f"{width} x {height} pixels, {channels} channels, (pixel - {_text(mean)}) "
        f"/ {_text(std)}; {_quantisation(image)}",
        "content": {
            "content_properties": {
                "ImageProperties": {
                    "color_space": colour,
                    "default_size": {"width": width, "height": height},
                }
            }
        },
        "process_units": [{"options": {"NormalizationOptions": {"mean": mean, "std": std}}}],
        "stats": {
            "max": [(255 - m) / s for m, s in zip(_each(mean, channels), _each(std, channels))],
            "min": [(0 - m) / s for m, s in zip(_each(mean, channels), _each(std, channels))],
        },
    }
    output_tensor: dict[str, Any] = {
        "name": "probability" if probabilities else "logit",
        "description": f"{'Probability' if probabilities else 'Logit'} of each class; "
        f"{_quantisation(scores)}",
        "content": {"content_properties": {"FeatureProperties": {}}},
        **({"stats": {"max": [1.0], "min": [0.0]}} if probabilities else {}),
        "associated_files": [
            {
                "name": LABELS_FILE,
                "description": "Class names, one a line, in output order.",
                "type": schema.TENSOR_AXIS_LABELS,
            }
        ],
    }
    document = {
        "name": metadata.name,
        "description": metadata.description,
        "version": metadata.version,
        "author": metadata.author,
        "license": metadata.licence,
        "min_parser_version": MIN_PARSER_VERSION,
        "subgraph_metadata": [
            {"input_tensor_metadata": [input_tensor], "output_tensor_metadata": [output_tensor]}
        ],
    }
    if metadata.files:
        document["associated_files"] = [
            {"name": name, "type": schema.DESCRIPTIONS} for name in sorted(metadata.files)
        ]
    return document


def _quantisation(tensor: Any) -> str:
    dtype = flatbuffer.type_name(tensor)
    scales, zero_points, _ = flatbuffer.quantization_of(tensor)
    return f"{dtype}, value = (q - {zero_points[0]}) * {scales[0]:.9g}" if scales else dtype


def _each(values: Any, channels: int) -> list[float]:
    return list(values) * channels if len(values) == 1 else list(values)


def _text(values: list[float]) -> str:
    return (
        f"{values[0]:g}"
        if len(values) == 1
        else "[" + ", ".join(f"{value:g}" for value in values) + "]"
    )
