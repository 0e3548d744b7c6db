"""How a run of benchmark_model is started on a far device: behind the device's own `taskset`, with
the libraries that it needs, killed where it does not end, and with what is read after it.

Text in, a shell script out. Knows nothing of what the tool prints.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pnas_tf.devices.cores import taskset_mask
from pnas_tf.devices.thermal import SCRIPT as THERMAL_SCRIPT

AFTER_LINE = "pnas_tf-after"
TIMED_OUT = 124  # exit code of a run that was ended, as `timeout` has it
# `timeout` is not on every device, nor of one form; a shell can do the same. Whoever watches kills
# the tool when its sleep has ended, and ends with 0 then alone. Tried in dash, bash, BusyBox and
# mksh, Android's, which heeds a trap only where it is set first and no `&&` ends the group. What a
# shell says of a watch that was ended before its trap was set is none of the tool's words.
_WATCHED = """{tool} &
tool=$!
{{
  trap 'kill $sleep; exit 1' TERM
  sleep {run_s} &
  sleep=$!
  if wait $sleep; then kill -9 $tool; else exit 1; fi
}} </dev/null >/dev/null 2>&1 &
watch=$!
wait $tool
ended=$?
kill $watch 2>/dev/null
wait $watch 2>/dev/null && ended={timed_out}
"""
# Where Qualcomm's runtime looks for what it loads into its DSP, beside the linker's own variable.
_LIBRARY_VARIABLES = ("LD_LIBRARY_PATH", "ADSP_LIBRARY_PATH")


@dataclass(frozen=True)
class Launcher:
    """What stands before the tool.

    Attributes:
        run_s: how long one run may take there before it is killed.
        cores: that it is held to; () for none.
        libraries: a folder there with libraries that it loads; "" for none.
    """

    run_s: float
    cores: tuple[int, ...]
    libraries: str = ""

    def script(self, words: Sequence[str]) -> str:
        """A shell script that runs `words`, then tells the thermal state behind `AFTER_LINE`, and
        ends with the exit code of `words`, or with `TIMED_OUT`."""
        held = ["taskset", taskset_mask(self.cores)] if self.cores else []
        there = shlex.quote(self.libraries)
        variables = "".join(f"{name}={there} " for name in _LIBRARY_VARIABLES if self.libraries)
        tool = f"{variables}{shlex.join([*held, *words])}"
        watched = _WATCHED.format(tool=tool, run_s=int(self.run_s), timed_out=TIMED_OUT)
        return f"{watched}echo\necho {AFTER_LINE}\n{THERMAL_SCRIPT}\nexit $ended"
