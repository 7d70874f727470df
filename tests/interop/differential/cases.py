"""Reads case files. The language is described in README.md of this folder."""

import itertools
import pathlib
import re
from dataclasses import dataclass, field

FOLDER = pathlib.Path(__file__).parent / "cases"
EMPTY = "(empty)"
REPEAT = re.compile(r"<<(.+?)\*(\d+)>>")


@dataclass(frozen=True)
class Case:
    """One script. `id` is file/name and, for a member of a family, the values that made it."""

    id: str
    config: str
    steps: tuple[str, ...]


@dataclass
class _Draft:
    name: str
    families: list = field(default_factory=list)
    steps: list = field(default_factory=list)


def load(folder=FOLDER):
    """Every case of every file, in a stable order; ids are unique."""
    cases = [case for path in sorted(folder.rglob("*.txt")) for case in parse(path.read_text(), _stem(path, folder))]
    seen = set()
    for case in cases:
        assert case.id not in seen, f"two cases are called {case.id}"
        seen.add(case.id)
    return cases


def _stem(path, folder):
    return path.relative_to(folder).with_suffix("").as_posix()


def parse(text, stem):
    config, drafts, prelude = [], [], []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            drafts.append(_Draft(line[3:].strip(), steps=list(prelude)))
        elif line.startswith("config ") and not drafts:
            config.append(line[len("config ") :])
        elif line.startswith("before ") and not drafts:
            prelude.append(line[len("before ") :])
        elif not drafts:
            raise SyntaxError(f"{stem}:{number}: a step before the first case")
        elif line.startswith("each "):
            name, _, values = line[len("each ") :].partition(":")
            members = [value.strip() for value in values.split(" | ")]
            drafts[-1].families.append([(name.strip(), "" if value == EMPTY else value) for value in members])
        else:
            drafts[-1].steps.append(line)
    return [case for draft in drafts for case in _expand(draft, stem, "\n".join(config))]


def _expand(draft, stem, config):
    """A family multiplies the case by its values; several families multiply each other."""
    for choice in itertools.product(*draft.families):
        suffix = "".join(f" [{value}]" for _, value in choice)
        steps = []
        for step in draft.steps:
            for name, value in choice:
                step = step.replace(f"${name}$", value)
            steps.append(REPEAT.sub(lambda match: match[1] * int(match[2]), step))
        yield Case(f"{stem}/{draft.name}{suffix}", config, tuple(steps))
