"""Makes a difference readable: long JSON lines are shown field by field."""

import difflib
import json


def difference(genuine, ours, name="ours"):
    lines = (explode(genuine), explode(ours))
    return "\n".join(difflib.unified_diff(*lines, "nats-server", name, lineterm="", n=2))


def explode(transcript):
    return [part for line in transcript for part in _explode(line)]


def _explode(line):
    start = line.find("{")
    if line.startswith("--") or start < 0:
        return [line]
    try:
        value = json.loads(line[start:])
    except ValueError:
        return [line]
    return [line[:start] + "{", *(f"    {path}: {json.dumps(item, ensure_ascii=False)}" for path, item in _fields(value)), "}"]


def _fields(value, path=""):
    if isinstance(value, dict) and value:
        for key, item in sorted(value.items()):
            yield from _fields(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _fields(item, f"{path}[{number}]")
    else:
        yield path, value
