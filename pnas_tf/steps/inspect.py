"""Shows what stands in a .tflite file: ops, shapes, MACs, quantisation ranges, delegate partitions
and metadata. About 2 seconds.

    pnas inspect runs/demo/model_int8.tflite

prints, for a model that `make demo` made, one line an op and a summary; --json prints the same as a
JSON document.
"""

from __future__ import annotations

import json

from pnas_tf.run.terminal import say
from pnas_tf.steps.file_options import FileOptions


def main(arguments: list[str] | None = None) -> int:
    """Prints the inspection. Raises UserError when the file is no model. Returns the exit
    status."""
    from pnas_tf.tflite.inspect import describe, inspect_model

    parser = FileOptions(__doc__)
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.read(arguments)
    found = inspect_model(options.model)
    say(json.dumps(found.to_json(), indent=1) if options.json else describe(found))
    return 0
