"""The command lines of programs that take files and no run folder: `pnas inspect`, `compare`, `try`
and `learn-prior`. Knows what all of them share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from pnas_tf.config import OutputConfig
from pnas_tf.run.terminal import TERMINAL


class FileOptions(argparse.ArgumentParser):
    """Arguments, and the options of what is printed. doc: what --help says first."""

    def __init__(self, doc: str | None):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def read(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """arguments: None is those of the process. Ends the process on others than it knows."""
        for option in dataclasses.fields(OutputConfig):
            self.add_argument(f"--{option.name}", action="store_true", help=option.metadata["help"])
        options = self.parse_args(arguments)
        TERMINAL.verbose, TERMINAL.quiet = options.verbose, options.quiet
        return options
