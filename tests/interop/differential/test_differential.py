"""pytest entry: one test per case. Select with -k, or FAMILY of ids as printed."""

import pytest

from harness.server import chosen_kind

from . import cases, known, show
from .arena import Arena

CASES = cases.load()
KNOWN = known.load()
PENDING = known.load(known.PENDING)


@pytest.fixture(scope="session")
def arena():
    arena = Arena()
    yield arena
    arena.close()


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_same_answers(arena, case):
    if chosen_kind() != "nats-server" and (why := known.reason(PENDING, case.id)):
        pytest.skip(f"pending: {why}")
    try:
        genuine, ours = arena.play_until_equal(case)
    except Exception:
        arena.restart(case)
        raise
    why = known.reason(KNOWN, case.id) if chosen_kind() != "nats-server" else None
    if genuine == ours:
        assert why is None, f"no longer differs, take it off known-differences.txt: {why}"
        return
    if why:
        pytest.xfail(why)
    pytest.fail("\n" + show.difference(genuine, ours, chosen_kind()), pytrace=False)


def test_known_differences_name_existing_cases():
    for pattern, _ in [*KNOWN, *PENDING]:
        assert any(known.reason([(pattern, "x")], case.id) for case in CASES), f"no case matches {pattern}"
