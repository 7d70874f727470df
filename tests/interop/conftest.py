"""For all Python suites: skips what pending.txt lists."""

import pytest

from harness import pending


def pytest_collection_modifyitems(items):
    entries = pending.load()
    for item in items:
        if why := pending.reason(item.nodeid, entries):
            item.add_marker(pytest.mark.skip(reason=f"pending: {why}"))
