"""The variables of a block, as data: their order, names, shapes and what decay they have.

The mixed op creates them, both engines compute with them and update them; all iterate this list, so
they cannot disagree. Knows nothing of values.
"""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.networks.pretrained import NORM
from pnas_tf.space.blocks import Block, Layer


@dataclass(frozen=True)
class VariableSpec:
    """One variable of a layer.

    Attributes:
        layer: whose variable it is.
        name: unique in its block: "expand/kernel", "expand_bn/gamma".
        shape: its sizes.
        kind: "kernel", "bias", "norm" (gamma and beta), or "statistic" (moving mean and variance).
    """

    layer: Layer
    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def trainable(self) -> bool:
        """False for moving statistics."""
        return self.kind != "statistic"


def checkpoint_entry(name: str) -> str:
    """Where a search's checkpoint keeps the supernet's variable `name`."""
    return f"variable/{name}"


def variables_of(block: Block) -> tuple[VariableSpec, ...]:
    """For each layer in order its kernel, its bias where it has one, and gamma, beta, moving mean
    and moving variance where it is normalised."""
    specs = []
    for layer in block.layers:
        channels = (layer.out_channels,)
        specs.append(VariableSpec(layer, f"{layer.name}/kernel", layer.kernel_shape, "kernel"))
        if layer.bias:
            specs.append(VariableSpec(layer, f"{layer.name}/bias", channels, "bias"))
        if layer.norm:
            specs += [
                VariableSpec(layer, f"{layer.name}_bn/{name}", channels, kind)
                for name, kind in zip(NORM, ("norm", "norm", "statistic", "statistic"))
            ]
    return tuple(specs)
