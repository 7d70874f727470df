"""What is skipped against Headwater because its feature is not there yet: the list in pending.txt.

As a program it answers for runners that are not Python: `python3 -m harness.pending go NAME ...` prints a regular
expression of the tests to skip, `... js FILE ...` the files that are left.
"""

import fnmatch
import os
import pathlib
import re
import sys

from .server import chosen_kind

FILE = pathlib.Path(__file__).resolve().parents[1] / "pending.txt"


def load(path=FILE):
    """(pattern, reason) of each line; none against the genuine server, or with PENDING=run to see what works by now."""
    if chosen_kind() == "nats-server" or os.environ.get("PENDING") == "run":
        return []
    lines = [line.strip() for line in path.read_text().splitlines()]
    entries = [line.partition(" :: ") for line in lines if line and not line.startswith("#")]
    for pattern, _, reason in entries:
        assert reason, f"{path.name}: {pattern} gives no reason"
    return [(pattern.strip(), reason.strip()) for pattern, _, reason in entries]


def reason(test, entries=None):
    """Why this test waits, None when it does not."""
    for pattern, text in load() if entries is None else entries:
        if fnmatch.fnmatchcase(test, pattern):
            return text
    return None


def main(suite, *names):
    entries = load()
    waiting = [name for name in names if reason(f"{suite}/{name}", entries)]
    if suite == "go":
        print("^(" + "|".join(map(re.escape, waiting)) + ")$" if waiting else "^$")
    else:
        print("\n".join(name for name in names if name not in waiting))


if __name__ == "__main__":
    main(*sys.argv[1:])
