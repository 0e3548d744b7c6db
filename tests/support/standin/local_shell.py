"""A far device on this computer: scripts run in a shell whose PATH begins with a folder of commands
that a test puts there. For what needs no line to a device: the tool's words, taskset."""

import os
import shutil
import subprocess
from pathlib import Path

from pnas_tf.devices.connection import split_end_marker, with_end_marker


class LocalShell:
    """A `Connection`. log: every script that was run."""

    def __init__(self, folder):
        self.name = f"ssh:user@{folder}"
        self.commands = Path(folder) / "commands"
        self.commands.mkdir(parents=True, exist_ok=True)
        self.log: list[str] = []

    def add_command(self, name, text):
        """A shell script that goes before this computer's own command; its path."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    def run(self, script, *, timeout_s=30.0):
        self.log.append(script)
        finished = subprocess.run(
            ["sh", "-c", with_end_marker(script)],
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
            env={**os.environ, "PATH": f"{self.commands}:{os.environ['PATH']}"},
        )
        result = split_end_marker(finished.stdout)
        assert result is not None
        return result

    def push(self, local, remote, *, timeout_s=300.0):
        shutil.copyfile(local, remote)

    def wait_until_back(self, *, timeout_s):
        return

    def close(self):
        return
