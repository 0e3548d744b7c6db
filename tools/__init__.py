"""Thin programs, one for each step; `python -m tools.NAME --help` and `python tools/NAME.py --help`
explain them."""

import os
import sys

# `python tools/NAME.py` puts this folder first on the module path, where inspect.py and others
# would hide the standard library's modules of that name. Every program imports this package before
# anything else.
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _here]
