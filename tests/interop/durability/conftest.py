"""What the durability tests share."""

import pytest

from .powerdisk import Disk


@pytest.fixture
def disk(tmp_path):
    try:
        disk = Disk(tmp_path)
    except OSError as error:
        pytest.skip(f"cannot mount a file system of our own: {error}")
    with disk:
        yield disk
