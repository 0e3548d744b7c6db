"""Names, shapes and quantisation of a model's ops and tensors, as plain values. Knows the public
schema, as shipped with the runtime."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema


def op_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """The name of an operator: "CONV_2D", or the custom op's own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Old files have only the second, a byte.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return bytes(code.customCode or b"CUSTOM").decode("utf-8", "replace")
    return _names(schema.BuiltinOperator).get(number, f"op {number}")


def type_name(tensor: schema.TensorT) -> str:
    """The number type of a tensor: "float32", "uint8", ..."""
    return _names(schema.TensorType).get(tensor.type, f"type {tensor.type}").lower()


def shape_of(tensor: schema.TensorT) -> list[int]:
    """The shape of a tensor; empty for a scalar or an unknown one."""
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def quantization_of(tensor: schema.TensorT) -> tuple[list[float], list[int]]:
    """Scales and zero points: value = (q - zero point) * scale. Empty when not quantised."""
    found = tensor.quantization
    if found is None or found.scale is None or found.zeroPoint is None:
        return [], []
    if len(found.scale) != len(found.zeroPoint):
        return [], []
    return [float(scale) for scale in found.scale], [int(point) for point in found.zeroPoint]


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}
