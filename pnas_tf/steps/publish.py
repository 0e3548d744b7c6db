"""Copies the exported models of a finished run into tflite_models/ and enters them in its manifest.

  pnas publish --run_dir=runs/demo --model_name=digits

takes a second, writes tflite_models/digits_float32.tflite and digits_int8.tflite and their entries
in manifest.json: SHA-256, architecture, dataset, test accuracy, parity, measured latency with
device, and the command that made the run. digits_model_card.md tells people the same, with the
front matter that Hugging Face reads.
"""

from __future__ import annotations

from pathlib import Path

from pnas_tf.config import PublishConfig
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.terminal import say
from pnas_tf.steps.inputs import Inputs


def publish_run(call: Inputs) -> None:
    """Publishes the run's models."""
    from pnas_tf.report.manifest import publish

    assert isinstance(call.folder, RunFolder)
    config = call.configs[PublishConfig]
    for path in publish(call.folder, Path(config.models_dir), name=config.model_name):
        say(f"wrote {path}")
