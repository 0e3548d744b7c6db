"""Stand-ins of far devices for the tests of this folder: phones behind a real adbd, a board behind
a real sshd."""

import sys
from pathlib import Path

STANDIN = Path(__file__).resolve().parents[1] / "standin"
sys.path.insert(0, str(STANDIN))
