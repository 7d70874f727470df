"""A full disk: a typed error at once, reads go on, and publishing resumes by itself when there is space again."""

import json
import os
import subprocess
import tempfile
import time

import pytest

from harness import wait
from harness.server import Server
from harness.wire import Client

from .peer import may_fail

MEBIBYTES = int(os.environ.get("FULL_DISK_MIB", "192"))
CHUNK = "x" * 32_768


@pytest.fixture
def small_disk():
    """A file system of its own with little space; skipped where mounting is not allowed."""
    with tempfile.TemporaryDirectory(prefix="full-disk-") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "tmpfs", folder], capture_output=True)
        if mounted.returncode != 0:
            pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def fill(client, acknowledged, refusals, seconds=60):
    """Publishes until the first refusal; returns how long that answer took."""
    deadline = time.monotonic() + seconds
    number = len(acknowledged)
    while time.monotonic() < deadline:
        begin = time.monotonic()
        value = f"{number}"
        reply = client.request("q.fill", f"{value} {CHUNK}", timeout=10)
        if reply.status is not None or "error" in reply.json():
            refusals.append(reply.json()["error"] if reply.payload else {"description": f"status {reply.status}"})
            return time.monotonic() - begin
        acknowledged[value] = reply.json()["seq"]
        number += 1
    raise AssertionError(f"{number} messages did not fill {MEBIBYTES} MiB")


def resumes(server, client):
    with may_fail(server, "does not resume by itself when space returns"):
        wait.until(lambda: "seq" in client.request("q.after", "space", timeout=5).json(), 15, "publishing to resume")


def test_full_disk(small_disk):
    acknowledged, refusals = {}, []
    # Ballast that can be removed to give space back without touching the server's files.
    ballast = os.path.join(small_disk, "ballast")
    with open(ballast, "wb") as out:
        out.write(b"b" * (16 << 20))
    with Server(store=os.path.join(small_disk, "data")) as server:
        with Client(server.port) as client:
            created = client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
            assert "error" not in created, created
            with may_fail(server, "publishers get no answer on a full disk"):
                seconds = fill(client, acknowledged, refusals)
                assert seconds < 2, f"the refusal took {seconds:.1f} s"
                assert refusals[0].get("err_code"), refusals
            # Reads go on.
            middle = str(len(acknowledged) // 2)
            reply = client.api("STREAM.MSG.GET.Q", {"seq": acknowledged[middle]})
            assert "message" in reply, reply
            # A second refusal comes as fast as the first.
            with may_fail(server, "later publishers get no answer on a full disk"):
                begin = time.monotonic()
                assert "error" in client.request("q.fill", "x " + CHUNK, timeout=5).json()
                assert time.monotonic() - begin < 2
            os.remove(ballast)
            resumes(server, client)
        server.kill()
        server.start()
        with Client(server.port, timeout=20) as client:
            for value, sequence in list(acknowledged.items())[:: max(1, len(acknowledged) // 50)]:
                reply = client.api("STREAM.MSG.GET.Q", {"seq": sequence})
                assert "message" in reply, f"message {value} at {sequence}: {reply}"


def test_purge_works_on_a_full_disk(small_disk):
    with Server(store=os.path.join(small_disk, "data")) as server, Client(server.port) as client:
        client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
        with may_fail(server, "no answer on a full disk"):
            fill(client, {}, [])
            assert client.api("STREAM.PURGE.Q", timeout=10).get("success")
        resumes(server, client)


def consume(client, count):
    """Pulls and acknowledges one message after the other, each ack answered before the next pull."""
    request = json.dumps({"batch": 1, "expires": 15_000_000_000})
    for number in range(count):
        message = client.request("$JS.API.CONSUMER.MSG.NEXT.Q.C", request, timeout=20)
        assert message.status is None and message.reply, f"message {number} is not delivered: {message}"
        assert client.request(message.reply, "+ACK", timeout=20).status is None, f"ack {number} is not answered"


def consumed_stream(client, retention):
    created = client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"], "retention": retention})
    assert "error" not in created, created
    config = {"durable_name": "C", "ack_policy": "explicit"}
    created = client.api("CONSUMER.DURABLE.CREATE.Q.C", {"stream_name": "Q", "config": config})
    assert "error" not in created, created


def test_a_consumer_goes_on_on_a_full_disk_and_a_purge_still_works(small_disk):
    """What it delivered and what was acknowledged took the space that a purge needs, and a restart gave none back."""
    with Server(store=os.path.join(small_disk, "data")) as server:
        with Client(server.port) as client:
            consumed_stream(client, "limits")
            with may_fail(server, "consumers stop on a full disk"):
                fill(client, {}, [])
                consume(client, 4_000)
        server.kill()
        server.start()
        with Client(server.port, timeout=20) as client:
            with may_fail(server, "a purge is refused"):
                assert client.api("STREAM.PURGE.Q", timeout=10).get("success")
            resumes(server, client)


def test_acks_of_a_work_queue_empty_a_full_disk(small_disk):
    acknowledged = {}
    with Server(store=os.path.join(small_disk, "data")) as server, Client(server.port) as client:
        consumed_stream(client, "workqueue")
        with may_fail(server, "consumers stop on a full disk"):
            fill(client, acknowledged, [])
            consume(client, len(acknowledged))
            state = client.api("STREAM.INFO.Q")["state"]
            assert state["messages"] == 0, state
        resumes(server, client)


def test_a_store_that_is_mounted_read_only_is_looked_at(small_disk):
    """A snapshot, say: `store verify` gave up because it could not make a file to try the disk with."""
    with Server(store=os.path.join(small_disk, "data")) as server:
        if server.kind != "headwater":
            pytest.skip("a command of our own")
        with Client(server.port) as client:
            client.api("STREAM.CREATE.Q", {"name": "Q", "subjects": ["q.>"]})
            assert client.request("q.1", "kept").json()["seq"] == 1
        server.stop()
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        verify = [server.command()[0], "store", "verify", str(server.store)]
        looked = subprocess.run(verify, capture_output=True, text=True, check=False)
        assert looked.returncode == 0, looked.stderr
        assert "stream Q of account $G" in looked.stdout and "no damage found" in looked.stdout
        refused = subprocess.run(server.command(), capture_output=True, text=True, check=False, timeout=20)
        assert refused.returncode == 1
        assert "Read-only file system" in refused.stdout + refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        server.start()
        with Client(server.port) as client:
            assert client.api("STREAM.INFO.Q")["state"]["messages"] == 1
