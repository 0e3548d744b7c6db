"""Lines of a tool's output without what a logger puts before them: logcat in all of its formats,
Android Studio's, glog and absl, severities, source files, colours.

Pure text in, text out. Knows nothing of what the lines say. Source: logcat's `-v` formats and
modifiers (year, usec, nsec, zone, epoch, monotonic, uid), glog's line prefix, absl/log.
"""

from __future__ import annotations

import re

from pnas_tf.devices.failures import GarbledOutput

MAX_OUTPUT = 4 * 2**20  # characters; a profile of 2,000 ops has 1 MB
_MAX_LINE = 2000  # real ones have 200; patterns take quadratic time on endless ones
_SEVERITIES = {
    "V": "VERBOSE",
    "D": "DEBUG",
    "I": "INFO",
    "W": "WARNING",
    "E": "ERROR",
    "F": "FATAL",
    "WARN": "WARNING",
}
_COLOUR = re.compile(r"\x1b\[[0-9;?]{0,30}[A-Za-z]")
_DAY_TIME = r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d{3,9}(?: [+-]\d{4})?"
_STAMP = rf"\s{{0,9}}(?:{_DAY_TIME}|\d{{1,12}}\.\d{{3,9}})\s{{1,9}}"  # epoch and monotonic: seconds
_LEVEL = "(?P<level>[VDIWEF])"
_TAG = r"[^\s:()\[\]/][^:()]{0,80}?"
# "22838 22838 ", with uid "u0_a81 22838 22838 "; Studio's "22838-22838/org.example "
_IDS = r"(?:(?:[\w.]{1,30}\s{1,9})?\d{1,9}\s{1,9}\d{1,9}\s{1,9}|\d{1,9}-\d{1,9}/\S{1,200}\s{1,9})"
_PREFIXES = (
    re.compile(
        rf"^(?:{_STAMP})?{_IDS}?{_LEVEL}[ /]{_TAG}\s{{0,90}}(?:\(\s{{0,9}}[\w:. ]{{1,40}}\))?"
        r"\s{0,9}: ?"
    ),
    # Android Studio since 2022: STAMP PID-TID TAG PACKAGE LEVEL
    re.compile(
        rf"^{_STAMP}\d{{1,9}}-\d{{1,9}}\s{{1,9}}\S{{1,80}}\s{{1,80}}\S{{1,200}}\s+{_LEVEL}  ?"
    ),
    re.compile(rf"^{_LEVEL}\(\s{{0,9}}\d{{1,9}}(?::\s{{0,9}}\d{{1,9}})?\) ?"),  # process, thread
    re.compile(
        rf"^(?:{_DAY_TIME}: {_LEVEL} )[^\s\]]{{1,200}}:\d{{1,7}}\] ?"
    ),  # TensorFlow's own logger
    re.compile(
        r"^(?P<level>[IWEF])(?:\d{8}|\d{4})(?:\s{1,9}\d\d:\d\d:\d{2,12}(?:\.\d{1,9})?)?"
        r"(?:\s{1,9}\d{1,10})?\s{1,9}[^\s\]]{1,200}:\d{1,7}\] ?"
    ),  # glog, absl
    re.compile(r"^(?P<level>INFO|VERBOSE|DEBUG|WARN|WARNING|ERROR|FATAL): ?"),
    re.compile(r"^\[[\w./-]{1,200}:\d{1,7}\] ?"),  # LiteRT: [./litert/tools/benchmark_model.h:88]
)
_PROCESS = _PREFIXES[2]
_TAG_BEHIND = re.compile(r" {1,9}\([^()]{1,80}\)$")  # logcat -v process


def lines_of(output: str) -> list[str]:
    """The lines, long ones cut. Raises GarbledOutput where a device talks without end."""
    if len(output) > MAX_OUTPUT:
        raise GarbledOutput(
            "the output of benchmark_model is too long",
            received=f"{len(output)} characters, beginning {output[:100]!r}",
        )
    return [line[:_MAX_LINE] for line in output.splitlines()]


def strip_prefix(line: str) -> tuple[str, str]:
    """(severity or "", text) of a printed line without colours and loggers' prefixes, of which it
    may have several."""
    text, severity = _COLOUR.sub("", line.rstrip("\r\n")), ""
    for pattern in _PREFIXES:
        if (match := pattern.match(text)) is None:
            continue
        text = text[match.end() :]
        if word := match.groupdict().get("level"):
            severity = _SEVERITIES.get(word, word)
        if pattern is _PROCESS:
            text = _TAG_BEHIND.sub("", text)
    return severity, text
