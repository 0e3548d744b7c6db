"""Does the same network take the same time tomorrow? Measures one .tflite in ten sessions and
prints how its median varies.

  python -m benchmarks.latency_repeatability runs/demo/model_float32.tflite --sessions=10

takes about 5 seconds a session, scheduled as in pnas benchmark. Every session has processes and
a reference model of its own; the correction scales each run by that model's time beside it
to the one of the first session. --busy=2 keeps two other processes at work meanwhile. So does
`python -m benchmarks.busy 2 -- COMMAND` for any other command.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.busy import busy
from pnas_tf.config import ConversionConfig, DeviceConfig
from pnas_tf.devices.host.runner import HostRunner
from pnas_tf.devices.schedule import schedule_for
from pnas_tf.latency.measure_files import measure_files
from pnas_tf.latency.measure_sources import MeasurementSetup


def main() -> None:
    """Prints one line a session, then the coefficient of variation with and without the
    correction."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--busy", type=int, default=0, help="other processes at work meanwhile")
    options = parser.parse_args()
    with busy(options.busy):
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    device = DeviceConfig(threads=options.threads)
    plain, corrected, reference = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.sessions):
            with HostRunner(device) as runner:
                schedule = schedule_for(device, runner, seed=number, few_models=True)
                setup = MeasurementSetup(runner, schedule, ConversionConfig(model_cache=folder))
                session = measure_files({"model": options.model}, setup)
            entry = session.measurements["model"]
            reference = reference or session.reference_ms
            plain.append(entry.median_ms)
            corrected.append(entry.corrected_ms(reference))
            print(
                f"session {number}: {plain[-1]:.4f} ms, corrected {corrected[-1]:.4f} ms, "
                f"reference model {session.reference_ms:.4f} ms"
                + "".join(f"; {problem}" for problem in entry.problems)
            )
    for name, values in (("as measured", plain), ("drift corrected", corrected)):
        print(
            f"coefficient of variation {name}: "
            f"{100 * statistics.stdev(values) / statistics.mean(values):.2f} %"
        )


if __name__ == "__main__":
    main()
