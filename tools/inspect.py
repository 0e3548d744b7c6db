"""Shows what stands in a .tflite file: ops, shapes, MACs, quantisation ranges, delegate partitions
and metadata. About 2 seconds.

    python tools/inspect.py runs/demo/model_int8.tflite

prints, for a model that `make demo` made, one line an op and a summary; --json prints the same as a
JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __name__ == "inspect":
    # `python tools/NAME.py` puts this folder first on the path, where this file stands before the
    # standard library's `inspect`. Whoever asks for that gets it: the folder leaves the path, and
    # the import begins again.
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    del sys.modules["inspect"]
    import inspect  # noqa: F401


def main(arguments: list[str] | None = None) -> int:
    """Prints the inspection; returns the exit status: 0, or 2 when the file is refused."""
    # Not above: the standard library's own modules ask for `inspect`, which must be settled first.
    from pnas_tf.errors import UserError
    from pnas_tf.export.inspect_model import describe, inspect_model

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args(arguments)
    try:
        found = inspect_model(options.model)
    except UserError as error:
        print(f"tools/inspect.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.to_json(), indent=1) if options.json else describe(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
