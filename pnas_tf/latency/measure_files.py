"""Measures .tflite files as they are shipped. Reads their facts from the files; knows nothing of
how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import ModelFacts
from pnas_tf.devices.reference_model import sentinel_model
from pnas_tf.devices.session import Session, measure, model_facts
from pnas_tf.errors import UserError
from pnas_tf.latency.measure_sources import MeasurementSetup
from pnas_tf.tflite import flatbuffer


def measure_files(
    models: Mapping[str, Path],
    setup: MeasurementSetup,
) -> Session:
    """Measures .tflite files (name -> path) in one interleaved session.

    Raises:
        UserError: a file is absent or no model, or none of them could be measured; DeviceLost and
            DeviceRefused of the runner.
    """
    facts = {name: facts_of(path) for name, path in models.items()}
    session = measure(
        models,
        setup.runner,
        facts=facts,
        sentinel=sentinel_model(setup.folder),
        schedule=setup.schedule,
        progress=setup.progress,
    )
    if not session.measurements:
        raise UserError(
            "no model could be measured",
            expected="at least one",
            received="; ".join(f"{name}: {reason}" for name, reason in session.failures.items())
            or "no models",
            fix="See the reasons above; --delegate=none tells whether a delegate is at fault.",
        )
    return session


def facts_of(path: Path) -> ModelFacts:
    """Hash, size, dtype and input shape of a .tflite file. Raises UserError when it is none."""
    model = flatbuffer.parse(flatbuffer.read_bytes(path), where=str(path))
    graph = model.subgraphs[0]
    if not len(graph.inputs):
        raise UserError(
            f"{path} has no input",
            expected="a model of images",
            received="no input tensor",
            fix="Give another file.",
        )
    shape = tuple(flatbuffer.shape_of(graph.tensors[graph.inputs[0]]))
    return model_facts(Path(path), dtype=_dtype(model), input_shape=shape, rewrites=())


def _dtype(model: Any) -> str:
    """Export's name for the number format: by what the tensors that are computed hold, then by what
    the constants hold."""
    from ai_edge_litert.schema_py_generated import TensorType

    graph = model.subgraphs[0]
    constant, computed = set(), []
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            constant.add(tensor.type)
        else:
            computed.append(tensor.type)
    quantised = sum(kind in (TensorType.INT8, TensorType.UINT8) for kind in computed)
    if 2 * quantised > len(computed):
        return "int8"
    if TensorType.INT8 in constant:
        return "dynamic_int8"
    return "float16" if TensorType.FLOAT16 in constant else "float32"
