"""Reads known-differences.txt: patterns of case ids, each with the reason why we answer otherwise."""

import fnmatch
import pathlib

FILE = pathlib.Path(__file__).parent / "known-differences.txt"
PENDING = pathlib.Path(__file__).parent / "pending.txt"


def load(path=FILE):
    entries = []
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.split("#", 1)[0].strip() if raw.lstrip().startswith("#") else raw.strip()
        if not line:
            continue
        pattern, separator, reason = line.partition(" :: ")
        if not separator or not reason.strip():
            raise SyntaxError(f"{path.name}:{number}: wants `pattern :: reason`")
        entries.append((pattern.strip(), reason.strip()))
    return entries


def reason(entries, case_id):
    """The reason for the first pattern that matches, None without one. Brackets in ids are not classes."""
    for pattern, text in entries:
        if fnmatch.fnmatchcase(case_id, pattern.replace("[", "[[]")):
            return text
    return None
