"""Asks MediaPipe, a client of somebody else's, for what it makes of exported models."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = ROOT / "tests" / "tflite" / "mediapipe_client.py"
PYTHON = Path(
    os.environ.get("PNAS_TF_MEDIAPIPE_PYTHON", ROOT / ".venv-mediapipe" / "bin" / "python")
)


def skip_where_absent() -> None:
    """Skips the test where there is no MediaPipe."""
    if not PYTHON.exists():
        pytest.skip(
            f"no MediaPipe at {PYTHON}; make test installs it (make {PYTHON.parts[-3]}/installed)"
        )


def answers(models: Path, pictures: Path) -> dict:
    """What `mediapipe_client.py` prints of all models and pictures of two folders."""
    skip_where_absent()
    done = subprocess.run(
        [str(PYTHON), str(PROGRAM), str(models), str(pictures)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
