"""The last part of docs/transfer.md, from what the contenders reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.contender_rows import HEADER, RULE, Row, grouped, line_of
from pnas_tf.io import atomic

NAMES = {
    "searched": "searched, from ImageNet's weights",
    "lite0_smaller": "EfficientNet-Lite0 at a lower resolution, ImageNet's weights",
    "random": "random network of the space, ImageNet's weights",
    "mobilenet_v2": "MobileNetV2's blocks, from scratch",
    "from_scratch": "searched from scratch",
}
MARK = "<!-- contenders: python -m benchmarks.pretrained -->"
HEAD = """
## Networks of one latency

Made by `python -m benchmarks.pretrained --flowers=FOLDER --page=docs/transfer.md` from its results.
Real photographs, few of them: Oxford's 17 flowers (64 + 16 a class), and solar cells (elpv-dataset,
intact or defective). Networks of one budget of latency, a part of what EfficientNet-Lite0 takes at
the same size of image; each trained for the same epochs; test images looked at once. Means over
seeds, with their standard error where there are several; latencies were measured in one interleaved
session, one thread.
"""


def write_page(rows: Sequence[Row], path: Path) -> None:
    """Writes the page's last part; what stands before its mark is somebody's own words."""
    before, _, _ = path.read_text().partition(MARK)
    lines = [before.rstrip() + "\n", MARK, HEAD]
    for (task, share), group in grouped(rows, "task", "share").items():
        lines += [
            f"### {str(task).capitalize()}, {float(str(share)):g} of EfficientNet-Lite0\n",
            HEADER,
            RULE,
        ]
        by_name = grouped(group, "contender")
        lines += [
            line_of(shown, by_name[(name,)], decimals=1)
            for name, shown in NAMES.items()
            if (name,) in by_name
        ]
        lines.append("")
    atomic.write_text(path, "\n".join(lines))
