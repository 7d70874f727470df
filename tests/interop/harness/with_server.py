"""Runs a command beside a fresh server: `python3 -m harness.with_server -- go test ./...`.

The command finds the server in NATS_URL; its exit code is ours, and the server's log is shown when it fails.
"""

import os
import subprocess
import sys

from .server import Server


def main():
    if sys.argv[1:2] != ["--"] or not sys.argv[2:]:
        raise SystemExit("usage: with_server -- COMMAND [ARGUMENTS]")
    with Server() as server:
        code = subprocess.call(sys.argv[2:], env={**os.environ, "NATS_URL": server.url})
        if code != 0:
            sys.stderr.write(f"--- log of {server.kind} ---\n{server.log()[-8000:]}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
