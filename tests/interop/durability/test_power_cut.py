"""Power cuts: whatever was not synced is gone. What was acknowledged must have been synced."""

import mmap
import os
import random
import time

import pytest

from harness.server import Server
from harness.wire import Client

from .ledger import Ledger, publishing, read_all
from .peer import may_fail

ROUNDS = int(os.environ.get("POWER_CUT_ROUNDS", "2"))
SEED = int(os.environ.get("SEED", "42"))


def test_the_disk_itself(disk):
    """What this file relies on: synced content stays, unsynced content and names go."""
    kept, lost, torn = (os.path.join(disk.path, name) for name in ("kept", "lost", "torn"))
    with open(kept, "wb", buffering=0) as file:
        file.write(b"synced")
        os.fsync(file.fileno())
        file.write(b" and more")
    with open(torn, "wb", buffering=0) as file:
        file.write(b"0123456789")
        os.fsync(file.fileno())
        os.pwrite(file.fileno(), b"abc", 3)
        os.ftruncate(file.fileno(), 5)
    with open(lost, "wb", buffering=0) as file:
        file.write(b"never synced")
    assert os.path.getsize(kept) == 15
    assert disk.cut() > 0
    assert open(kept, "rb").read() == b"synced"
    assert open(torn, "rb").read() == b"0123456789"
    assert not os.path.exists(lost)
    descriptor = os.open(lost, os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    os.write(descriptor, b"synced by its flag")
    os.close(descriptor)
    disk.cut()
    assert open(lost, "rb").read() == b"synced by its flag"
    descriptor = os.open(lost, os.O_WRONLY)
    os.pwritev(descriptor, [b"SYNCED"], 0, os.RWF_DSYNC)
    os.close(descriptor)
    disk.cut()
    assert open(lost, "rb").read() == b"SYNCED by its flag"
    # Direct writes, as a journal may use them, and a mapping to read them.
    page = mmap.mmap(-1, 4096)
    page[:6] = b"direct"
    descriptor = os.open(kept, os.O_RDWR | os.O_DIRECT)
    os.pwritev(descriptor, [page], 0, os.RWF_DSYNC)
    page[:6] = b"no one"
    os.pwritev(descriptor, [page], 4096)
    os.close(descriptor)
    disk.cut()
    with open(kept, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        assert len(mapping) == 4096 and mapping[:6] == b"direct"


@pytest.mark.parametrize("survivors", ["none", "some"])
@pytest.mark.parametrize("sync", ["default", "always"])
def test_acknowledged_messages_survive_power_cuts(disk, sync, survivors):
    moments = random.Random(SEED)
    ledger = Ledger()
    config = "jetstream { sync_interval: always }" if sync == "always" else ""
    with Server(store=os.path.join(disk.path, "data"), config=config) as server:
        with Client(server.port) as client:
            created = client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
            assert "error" not in created, created
        for round_number in range(ROUNDS):
            with publishing(server, ledger, [f"{round_number}.{number}" for number in range(2)]):
                time.sleep(moments.uniform(0.5, 1.5))
                server.kill()
            disk.cut(None if survivors == "none" else moments.randrange(10**6))
            with may_fail(server, f"with sync {sync}, acknowledged messages do not survive a power cut"):
                server.start()
                with Client(server.port, timeout=20) as client:
                    assert ledger.check(read_all(client, "Q")) == [], f"round {round_number}, SEED={SEED}"
    assert len(ledger.acknowledged) > 20 * ROUNDS
    assert ledger.refused == []
