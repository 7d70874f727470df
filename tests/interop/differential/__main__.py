"""Prints transcripts: `python3 -m differential [-d] PATTERN ...`; -d shows only what differs.

`--pending` plays what pending.txt lists and says which of its lines can go.
"""

import fnmatch
import sys

from . import cases, known, show
from .arena import Arena


def main(arguments):
    if arguments == ["--pending"]:
        review_pending()
        return
    only_differences = "-d" in arguments
    patterns = [word for word in arguments if word != "-d"] or ["*"]
    arena = Arena()
    try:
        for case in cases.load():
            if not any(fnmatch.fnmatchcase(case.id, f"*{pattern.replace('[', '[[]')}*") for pattern in patterns):
                continue
            try:
                genuine, ours = arena.play(case)
            except Exception as error:
                print(f"=== {case.id}   BROKE: {error!r}")
                arena.restart(case)
                continue
            if not only_differences or genuine != ours:
                print(f"=== {case.id}{'' if genuine == ours else '   DIFFERS'}")
            if genuine != ours:
                print(show.difference(genuine, ours))
            elif not only_differences:
                print("\n".join(f"  {line}" for line in genuine))
    finally:
        arena.close()


def review_pending():
    arena = Arena()
    try:
        for pattern, reason in known.load(known.PENDING):
            members = [case for case in cases.load() if known.reason([(pattern, reason)], case.id)]
            agree = sum(agrees(arena, case) for case in members)
            print(f"{'CAN GO' if agree == len(members) else 'stays ':6} {agree:4} of {len(members):4} agree   {pattern} :: {reason}", flush=True)
    finally:
        arena.close()


def agrees(arena, case):
    try:
        genuine, ours = arena.play_until_equal(case)
    except Exception:
        arena.restart(case)
        return False
    return genuine == ours


main(sys.argv[1:])
