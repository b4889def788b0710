"""Types at a prompt: `prompt.py HISTORY PROGRAM ARGUMENT...`, of `clew sql`. Prints what came of it as JSON."""

import json
import os
import pty
import select
import sys
import time

ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t;"


class Terminal:
    def __init__(self, command):
        self.seen = b""
        self.child, self.file = pty.fork()
        if self.child == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)

    def wait(self, text):
        """Reads on until a text comes."""
        end = time.monotonic() + 30
        while text.encode() not in self.seen:
            if not select.select([self.file], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit(f"{text!r} did not come: {self.seen!r}")
            self.seen += os.read(self.file, 4096)
        self.seen = self.seen.split(text.encode(), 1)[1]

    def type(self, text):
        os.write(self.file, text.encode())


def main():
    history, *command = sys.argv[1:]
    terminal = Terminal(command)
    terminal.wait("sql> ")
    terminal.type(ENDLESS + "\r")
    time.sleep(1)
    with open(history) as lines:
        kept = ENDLESS in lines.read()
    terminal.type("\x03")
    terminal.wait("interrupted")
    terminal.wait("sql> ")
    terminal.type("SELECT 40 + 2 AS n;\r")
    terminal.wait("| 42 ")
    terminal.wait("sql> ")
    terminal.type("\x04")
    _, status = os.waitpid(terminal.child, 0)
    with open(history) as lines:
        lines = [line.rstrip("\n") for line in lines if not line.startswith("#")]
    json.dump({"kept": kept, "exit": os.waitstatus_to_exitcode(status), "history": lines}, sys.stdout)


main()
