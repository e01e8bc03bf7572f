"""An emulator that starts at once: forked, not imported again."""

import json
import os
import subprocess

from pipeline.emulator.process import EmulatorProcess
from tests.support.forkserver import ROOT, fork_server


class ForkedEmulator(EmulatorProcess):
    """The same program with the same options, from the fork server; stops as the other does."""

    def start(self):
        self._child = fork_server().start(
            "pipeline.emulator",
            ["--port", "0", "--exit-with-stdin", *self._options],
            env=dict(os.environ),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=None,
        )
        told = json.loads(self._first_line(self._child))
        self.url, self.control, self.pid = told["url"], told["control"], told["pid"]
