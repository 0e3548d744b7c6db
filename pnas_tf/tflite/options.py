"""What an export is asked for: number formats, rewrites, compression and bounds, checked before any
work as far as they depend on one another.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.tflite.formats import DTYPES
from pnas_tf.tflite.rewrites.choice import AUTO, NONE, REWRITES, check_names


def check_config(config: ExportConfig) -> None:
    """Raises UserError on options that do not go together; called before any work."""
    unknown = [name for name in config.formats if name not in DTYPES]
    int8_and_float = {"float32", "int8"} <= set(config.formats)
    _require(
        not unknown,
        "--formats",
        expected=f"some of {', '.join(DTYPES)}",
        received=", ".join(unknown),
        fix="Choose among these, comma-separated.",
    )
    _require(
        not config.debug_layers or int8_and_float,
        "--debug_layers",
        expected="float32 and int8 among --formats",
        received=", ".join(config.formats),
        fix="Export both; the comparison is of the two.",
    )
    _require(
        config.quantize != "qat" or "int8" in config.formats,
        "--quantize=qat",
        expected="int8 among --formats, the file that it is for",
        received=", ".join(config.formats),
        fix="Add int8 to --formats, or write --quantize=ptq.",
    )
    least = 3 if config.prune else 2  # one of them is the 0 of what is pruned
    _require(
        config.cluster == 0 or config.cluster >= least,
        "--cluster" + " with --prune" * bool(config.prune),
        expected=f"{least} weights a layer or more, or 0 for none",
        received=str(config.cluster),
        fix="Choose e.g. 32.",
    )


def trains_further(config: ExportConfig) -> bool:
    """Whether the network is trained before it is converted."""
    return config.quantize == "qat" or bool(config.prune or config.cluster)


def refuse_further_training(config: ExportConfig) -> None:
    """Raises UserError on options that a conversion alone does not heed."""
    asked = {"quantize": "ptq", "prune": 0.0, "cluster": 0, "export_resolution": None}
    found = [name for name, none in asked.items() if getattr(config, name) != none]
    _require(
        not found,
        "pnas_tf.export of another network than the one given",
        expected="options that convert it as it is",
        received=", ".join(f"{name}={getattr(config, name)!r}" for name in found),
        fix="Give them to pnas_tf.fit(options=[ExportConfig(...)]), or to `pnas export` in a run "
        "folder.",
    )


def _require(holds: bool, what: str, *, expected: str, received: str, fix: str) -> None:
    if not holds:
        raise UserError(what, expected=expected, received=received, fix=fix)


def rewrites_of(
    config: ExportConfig, measured: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """The rewrites that a config asks for.

    Args:
        config: "auto" takes for each format those of the table of its kind (int8 or float), else
            of the other, else all.
        measured: dtype of a latency table of the device -> the table's rewrites.

    Returns:
        Format -> names of rewrites.
    """
    if config.rewrites != (AUTO,):
        named = () if config.rewrites == (NONE,) else check_names(config.rewrites)
        return dict.fromkeys(DTYPES, named)
    tables = {kind: tuple(names) for kind, names in measured.items()}
    any_table = next(iter(tables.values()), REWRITES)
    return {
        dtype: tables.get("int8" if dtype == "int8" else "float32", any_table) for dtype in DTYPES
    }
