"""Prints transcripts: `python3 -m differential [-d] PATTERN ...`; -d shows only what differs."""

import difflib
import fnmatch
import sys

from . import cases
from .arena import Arena


def main(arguments):
    only_differences = "-d" in arguments
    patterns = [word for word in arguments if word != "-d"] or ["*"]
    arena = Arena()
    try:
        for case in cases.load():
            if not any(fnmatch.fnmatchcase(case.id, f"*{pattern.replace('[', '[[]')}*") for pattern in patterns):
                continue
            genuine, ours = arena.play(case)
            print(f"=== {case.id}{'' if genuine == ours else '   DIFFERS'}")
            if genuine != ours:
                print("\n".join(difflib.unified_diff(genuine, ours, "nats-server", "ours", lineterm="")))
            elif not only_differences:
                print("\n".join(f"  {line}" for line in genuine))
    finally:
        arena.close()


main(sys.argv[1:])
