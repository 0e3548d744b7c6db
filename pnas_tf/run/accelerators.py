"""The NVIDIA cards of this machine, whether TensorFlow can use them or not. Knows nothing of
TensorFlow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

_WSL_TOOL = "/usr/lib/wsl/lib/nvidia-smi"  # not on every PATH there
PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # vendor; class of VGA, 3D and other display controllers


def nvidia_cards() -> tuple[str, ...]:
    """Names of the cards that the driver knows; empty without a card or a driver."""
    tool = shutil.which("nvidia-smi") or (_WSL_TOOL if os.path.exists(_WSL_TOOL) else None)
    if tool is None:
        return ()
    try:
        told = subprocess.run([tool, "-L"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = told.stdout.decode("utf-8", "replace")
    return tuple(re.findall(r"^GPU \d+: (.{1,100}?)(?: \(UUID.*)?$", lines, re.MULTILINE))


def has_card_without_driver() -> bool:
    """Whether an NVIDIA card is plugged in; asked where `nvidia_cards` finds none."""
    return any(
        _text(device / "vendor") == _NVIDIA and _text(device / "class").startswith(_DISPLAY)
        for device in PCI_DEVICES.glob("*")
    )


def hidden_by(cards: int) -> str:
    """The variable, with its value, that hides all of so many cards from programs; "" where none
    does. What stands first in it decides, be it a number without a card (CUDA C++ programming
    guide, environment variables)."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return ""
    first = value.partition(",")[0].strip()
    is_card = first.startswith(("GPU-", "MIG-")) or (
        first.isdecimal() and int(first) < max(1, cards)
    )
    return "" if is_card else f"CUDA_VISIBLE_DEVICES={value}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
