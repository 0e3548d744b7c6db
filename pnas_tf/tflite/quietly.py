"""The converter's and the runtime's chatter, kept off the terminal. Knows nothing of models."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Holds back Python's loggers and warnings, and what C++ writes to descriptor 2.

    What was held back is printed after all when the block raises.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            logger.setLevel(level)
