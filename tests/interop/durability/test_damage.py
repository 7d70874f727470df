"""Flipped bits in the files of a stopped server: the rest is served, and the damage is told."""

import os
import random

import pytest

from harness.server import Server
from harness.wire import Client

from .peer import may_fail

SEED = int(os.environ.get("SEED", "42"))
MESSAGES = 2000


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def find(folder, needle):
    """(file, offset) of the bytes, which are stored as they were sent; None when they are not."""
    for path in files(folder):
        offset = path.read_bytes().find(needle)
        if offset >= 0:
            return path, offset
    return None


def fullest(folder):
    """The file with most content; files may be allocated ahead and hold zeros."""
    return max(files(folder), key=lambda path: len(path.read_bytes().rstrip(b"\0")))


def flip(path, offset, bit=0):
    with open(path, "r+b") as file:
        file.seek(offset)
        [byte] = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


@pytest.fixture
def stopped():
    """A server with MESSAGES acknowledged messages, stopped cleanly."""
    server = Server()
    server.start()
    with Client(server.port) as client:
        client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
        for number in range(MESSAGES):
            assert client.request(f"q.{number % 10}", f"value-{number:06}-{'.' * 100}").json()["seq"] == number + 1
    server.stop()
    yield server
    server.close()


def survivors(client):
    """Sequences that can be read, with the right content."""
    alive = set()
    for sequence in range(1, MESSAGES + 1):
        reply = client.api("STREAM.MSG.GET.Q", {"seq": sequence})
        if "message" in reply:
            alive.add(sequence)
    return alive


def test_one_flipped_payload_bit_costs_one_message(stopped):
    victim = random.Random(SEED).randrange(MESSAGES // 4, MESSAGES // 2)
    place = find(stopped.store, b"value-%06d-" % victim)
    if place is None:
        pytest.skip("messages are not stored as they were sent")
    path, offset = place
    flip(path, offset + 20)
    stopped.start()
    with Client(stopped.port, timeout=20) as client:
        missing = set(range(1, MESSAGES + 1)) - survivors(client)
        published = client.request("q.1", "after").json()
    with may_fail(stopped, "one flipped bit costs more than its message"):
        assert missing == {victim + 1}, f"{len(missing)} messages are gone, SEED={SEED}"
        assert published.get("seq") == MESSAGES + 1, published
    with may_fail(stopped, "damage is not reported"):
        log = stopped.log().lower()
        assert any(word in log for word in ("corrupt", "damage", "checksum", "crc")), "the damage is not in the log"


def test_many_flipped_bits_leave_the_rest(stopped):
    numbers = random.Random(SEED)
    victims = sorted(numbers.sample(range(MESSAGES // 2), 5))
    for victim in victims:
        place = find(stopped.store, b"value-%06d-" % victim)
        if place is None:
            pytest.skip("messages are not stored as they were sent")
        path, offset = place
        flip(path, offset + numbers.randrange(60), numbers.randrange(8))
    stopped.start()
    with Client(stopped.port, timeout=20) as client:
        missing = set(range(1, MESSAGES + 1)) - survivors(client)
        info = client.api("STREAM.INFO.Q")
    with may_fail(stopped, "five flipped bits cost more than their messages"):
        assert missing == {victim + 1 for victim in victims}, f"{len(missing)} messages are gone, SEED={SEED}"
        assert info["state"]["last_seq"] == MESSAGES


def test_wrong_content_is_never_served(stopped):
    """Whatever a server does with damage, it may not hand out bytes that were not sent."""
    numbers = random.Random(SEED)
    path = fullest(stopped.store)
    size = len(path.read_bytes().rstrip(b"\0"))
    for _ in range(20):
        flip(path, numbers.randrange(size), numbers.randrange(8))
    with may_fail(stopped, "does not start with damaged files"):
        stopped.start()
    with Client(stopped.port, timeout=20) as client:
        with may_fail(stopped, "the whole stream is gone"):
            assert "error" not in client.api("STREAM.INFO.Q")
        consumer = client.api("CONSUMER.CREATE.Q", {"stream_name": "Q", "config": {"ack_policy": "none"}})
        inbox, sid = client.inbox()
        client.publish(f"$JS.API.CONSUMER.MSG.NEXT.Q.{consumer['name']}", '{"batch":5000,"no_wait":true}', reply=inbox)
        messages = [message for message in client.messages(sid, count=5000, timeout=5) if message.status is None]
    expected = {b"value-%06d-" % number + b"." * 100 for number in range(MESSAGES)}
    assert all(message.payload in expected for message in messages)
    with may_fail(stopped, "twenty flipped bits cost more than twenty messages"):
        assert len(messages) >= MESSAGES - 20, f"{MESSAGES - len(messages)} messages are gone"


def test_a_torn_tail_is_no_damage():
    """Half a record at the end of the newest file is what a crash leaves; nothing acknowledged may go with it."""
    with Server() as server:
        with Client(server.port) as client:
            client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
            for number in range(100):
                client.request("q.1", f"value-{number:06}")
        server.kill()
        path, offset = find(server.store, b"value-000099")
        end = len(path.read_bytes().rstrip(b"\0"))
        assert end >= offset
        with open(path, "r+b") as file:
            # Behind everything that was written, on the next block if the file has room for it.
            file.seek(max(end, min(-(-end // 4096) * 4096, path.stat().st_size)))
            file.write(b"\x07" * 100)
        server.start()
        with Client(server.port, timeout=20) as client:
            state = client.api("STREAM.INFO.Q")["state"]
            assert (state["messages"], state["last_seq"]) == (100, 100)
            assert client.request("q.1", "next").json()["seq"] == 101
