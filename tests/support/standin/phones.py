"""Stand-in phones: real adbd daemons, each with a file system of its own, in one network namespace,
and an adb that reaches them.

Only the far side is made here; the program under test uses the stock adb client. Needs root, adb,
adbd, unshare, nsenter, ip and mount; `missing()` says what is not there. As a program it runs a
command beside some phones: python tests/support/standin/phones.py --count=3 -- COMMAND (the serials stand
in $PHONES, the tool's path in $BENCHMARK_MODEL).
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIRST_PORT = 5601
_GETPROP = """#!/bin/sh
case "$1" in
ro.product.manufacturer) echo Standin;; ro.product.model) echo "Phone {number}";; ro.soc.model) echo SO-1;;
ro.build.version.release) echo 14;; ro.build.version.sdk) echo 34;; ro.build.fingerprint) echo standin/phone/{number}:14/test-keys;;
ro.product.cpu.abi) echo x86_64;;
esac
"""
_DUMPSYS = """#!/bin/sh
[ "$1" = thermalservice ] || exit 1
status=$(cat /data/local/tmp/thermal.status 2>/dev/null || echo 0)
printf 'IsStatusOverride: false\\nThermal Status: %s\\n' "$status"
printf 'Cached temperatures:\\n\\tTemperature{mValue=99.0, mType=3, mName=SKIN, mStatus=0}\\n'
printf 'HAL Ready: true\\nCurrent temperatures from HAL:\\n\\tTemperature{mValue=31.5, mType=3, mName=SKIN, mStatus=0}\\n'
printf 'Current cooling devices from HAL:\\n'
"""
_CMD = """#!/bin/sh
[ "$1 $2" = "power set-fixed-performance-mode-enabled" ] || { echo "Unknown command: $2"; exit 255; }
echo "$3" >> /data/local/tmp/fixed_mode.log
"""


def missing():
    """What the stand-ins lack on this computer, in words; "" when nothing."""
    absent = [
        name
        for name in ("adb", "adbd", "unshare", "nsenter", "ip", "mount", "chroot")
        if shutil.which(name, path=_path()) is None
    ]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: adb, and adbd of bookworm-backports)"
    if os.geteuid() != 0:
        return "stand-in phones need root, for namespaces of their own"
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False
    )
    return "" if probe.returncode == 0 else f"no namespaces here: {probe.stderr.strip()}"


def executable_tool(folder):
    """benchmark_model's stand-in as one executable file that runs with this interpreter."""
    path = Path(folder) / "benchmark_model"
    path.write_text(f"#!{sys.executable}\n" + (HERE / "benchmark_model.py").read_text())
    path.chmod(0o755)
    return path


class Phone:
    """One stand-in phone. Files under `storage` are its /data/local/tmp, as seen from here."""

    def __init__(
        self, phones, number, *, speaks=True, clocks_khz=(1800000, 2800000), storage="64m"
    ):
        self.phones, self.number, self.port = phones, number, FIRST_PORT + number
        self.serial = f"127.0.0.1:{self.port}"
        self._clocks, self._size = " ".join(map(str, clocks_khz)) or "-", storage
        self._folder = phones.folder / f"phone{number}"
        (self._folder / "root").mkdir(parents=True)
        (self._folder / "commands").mkdir()
        if speaks:
            for name, text in (
                ("getprop", _GETPROP.replace("{number}", str(number))),
                ("dumpsys", _DUMPSYS),
                ("cmd", _CMD),
            ):
                self.add_command(name, text)
        self._daemon = None

    def add_command(self, name, text):
        """A shell script that goes before the phone's own command of this name."""
        path = self._folder / "commands" / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def remove_command(self, name):
        """The phone's own command again."""
        (self._folder / "commands" / name).unlink()

    @property
    def storage(self):
        adbd = (
            Path(f"/proc/{self._daemon.pid}/task/{self._daemon.pid}/children")
            .read_text()
            .split()[0]
        )
        return Path(f"/proc/{adbd}/root/data/local/tmp")

    def configure(self, **settings):
        """Sets what its benchmark_model does, and starts counting its runs anew."""
        (self.storage / "standin.json").write_text(json.dumps(settings))
        for name in ("standin.runs", "standin.log", "fixed_mode.log", "thermal.status"):
            (self.storage / name).unlink(missing_ok=True)

    def runs(self):
        """What each run of its benchmark_model was called with, since `configure`."""
        log = self.storage / "standin.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def plug_in(self):
        """Starts its daemon; a phone plugged in again has an empty storage."""
        with open(self._folder / "adbd.log", "ab") as log:
            self._daemon = self._start(log)
        deadline = time.monotonic() + 15
        while "connected" not in self.phones.adb(
            "connect", self.serial
        ) or "device" not in self.phones.adb("-s", self.serial, "get-state"):
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise RuntimeError(
                    f"adbd did not start: {(self._folder / 'adbd.log').read_text()[-500:]}"
                )
            time.sleep(0.05)

    def _start(self, log):
        return subprocess.Popen(
            [
                "nsenter",
                f"--net=/proc/{self.phones.holder.pid}/ns/net",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--",
                "sh",
                str(HERE / "phone_root.sh"),
                str(self._folder / "root"),
                str(self._folder / "commands"),
                self._clocks,
                self._size,
            ],
            env={**os.environ, "ADBD_PORT": str(self.port), "PATH": _path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def pull_out(self):
        """The cable is pulled: every process there ends and the adb server does not list it any
        more."""
        if self._daemon is not None:
            os.killpg(self._daemon.pid, signal.SIGKILL)
            self._daemon.wait()
            self._daemon = None
        self.phones.adb("disconnect", self.serial)


class Phones:
    """Context manager of some stand-in phones. `path`: a folder whose `adb` reaches them, to be put
    first on PATH."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="standin-"))
        self.path, self._all = self.folder / "bin", []
        self.path.mkdir()
        self.holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--",
                "sh",
                "-c",
                "ip link set lo up && echo up && exec sleep 3600",
            ],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": _path()},
        )
        assert self.holder.stdout is not None and self.holder.stdout.readline() == b"up\n"
        wrapper = (
            self.path / "adb"
        )  # a server of our own in the phones' network; the client is the stock one
        wrapper.write_text(
            f"#!/bin/sh\nexport ANDROID_ADB_SERVER_PORT=5937 HOME={self.folder}\n"
            f"exec nsenter --net=/proc/{self.holder.pid}/ns/net "
            f'{shutil.which("adb", path=_path())} "$@"\n'
        )
        wrapper.chmod(0o755)
        self.adb("start-server")
        return self

    def __exit__(self, *_):
        for phone in self._all:
            phone.pull_out()
        self.adb("kill-server")
        self.holder.kill()
        self.holder.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, **options):
        """One more phone, plugged in."""
        phone = Phone(self, len(self._all), **options)
        self._all.append(phone)
        phone.plug_in()
        return phone

    def adb(self, *words):
        finished = subprocess.run(
            [str(self.path / "adb"), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return finished.stdout + finished.stderr


def _path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    with Phones() as phones:
        serials = [phones.add().serial for _ in range(options.count)]
        env = {
            **os.environ,
            "PATH": f"{phones.path}:{_path()}",
            "PHONES": ",".join(f"android:{serial}" for serial in serials),
            "BENCHMARK_MODEL": str(executable_tool(phones.folder)),
        }
        sys.exit(subprocess.call(options.command, env=env))


if __name__ == "__main__":
    main()
