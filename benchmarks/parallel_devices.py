"""Do several devices at once take as long as the slowest of them? Measured on stand-in phones
behind real adbd daemons.

  python benchmarks/parallel_devices.py --count=3

takes about a minute on a quiet computer and prints the seconds of each phone alone, of all at once,
and their ratio; exit status 1 when the ratio is above 1.2. A stand-in sleeps 40 to 60 ms in every
invocation, so that the phones do not share this computer's processor. Needs root, adb and adbd, as
tests/support/standin/phones.py says.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

STANDIN = Path(__file__).resolve().parent.parent / "tests" / "support" / "standin"
sys.path.insert(0, str(STANDIN))

import phones as standin  # noqa: E402

from pnas_tf.config import DeviceConfig  # noqa: E402
from pnas_tf.devices.registry import on_each_device  # noqa: E402
from pnas_tf.devices.schedule import Schedule  # noqa: E402
from pnas_tf.devices.session import ModelFile, measure  # noqa: E402

MODELS = {dtype: STANDIN / f"tiny_{dtype}.tflite" for dtype in ("float32", "int8")}
FILES = {
    name: ModelFile.of(path, dtype=name, input_shape=(1, 16, 16, 3), rewrites=())
    for name, path in MODELS.items()
}
SCHEDULE = Schedule(min_invocations=90, warmups=2, rounds=3, extra_rounds=0, noisy_rounds=0)
MAX_RATIO = 1.2


def duration_s(devices: str, tool: str) -> float:
    """Seconds for a whole session on these devices at once, opening them included."""
    began = time.monotonic()
    outcomes = on_each_device(
        DeviceConfig(device=devices, benchmark_binary=tool),
        lambda _, runner: measure(FILES, runner, SCHEDULE),
    )
    for outcome in outcomes.values():
        if outcome.error is not None:
            raise outcome.error
        assert outcome.result is not None and not outcome.result.failures, outcome.result
    return time.monotonic() - began


def main() -> int:
    """Measures each phone alone, then all at once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=3, help="phones")
    count = parser.parse_args().count
    if reason := standin.missing():
        print(reason, file=sys.stderr)
        return 2
    with standin.Phones() as phones:
        os.environ["PATH"] = f"{phones.path}:{os.environ['PATH']}"
        tool = str(standin.executable_tool(phones.folder))
        names = []
        for number in range(count):
            phone = phones.add()
            phone.configure(pace_ms=40 + 20 * number / max(1, count - 1))
            names.append(f"android:{phone.serial}")
        alone = [duration_s(name, tool) for name in names]
        together = duration_s(",".join(names), tool)
    ratio = together / max(alone)
    print(
        f"alone {', '.join(f'{seconds:.2f}' for seconds in alone)} s; {count} at once "
        f"{together:.2f} s; "
        f"{ratio:.3f} times the slowest (bound {MAX_RATIO})"
    )
    return 0 if ratio <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
