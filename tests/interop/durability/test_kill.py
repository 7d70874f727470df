"""kill -9 under load, again and again: every acknowledged message and every confirmed ack survives."""

import os
import random
import time

from harness.server import Server
from harness.wire import Client

from .ledger import Ledger, Worker, publishing, read_all
from .peer import may_fail

ROUNDS = int(os.environ.get("KILL_ROUNDS", "3"))
SEED = int(os.environ.get("SEED", "42"))


def create(port, **options):
    config = {"name": "Q", "subjects": ["q.>"], "storage": "file", "num_replicas": 1, **options}
    with Client(port) as client:
        reply = client.api("STREAM.CREATE.Q", config)
    assert "error" not in reply, reply


def test_acknowledged_messages_survive_kill():
    moments = random.Random(SEED)
    ledger = Ledger()
    with Server() as server:
        create(server.port)
        for round_number in range(ROUNDS):
            with publishing(server, ledger, [f"{round_number}.{number}" for number in range(3)]):
                time.sleep(moments.uniform(0.3, 1.2))
                server.kill()
            server.start()
            with Client(server.port, timeout=20) as client:
                assert ledger.check(read_all(client, "Q")) == [], f"round {round_number}, SEED={SEED}"
    assert len(ledger.acknowledged) > 100 * ROUNDS
    assert ledger.refused == []


def test_confirmed_acks_survive_kill():
    moments = random.Random(SEED)
    ledger = Ledger()
    workers = []
    with Server() as server:
        create(server.port)
        with Client(server.port) as client:
            config = {"durable_name": "W", "ack_policy": "explicit", "ack_wait": 1_000_000_000, "max_ack_pending": 200}
            reply = client.api("CONSUMER.DURABLE.CREATE.Q.W", {"stream_name": "Q", "config": config})
            assert "error" not in reply, reply
        for round_number in range(ROUNDS):
            # One at a time: a worker that confirms each message must be able to follow.
            with publishing(server, ledger, [f"{round_number}"], window=1):
                worker = Worker(server.port, ledger, "Q", "W")
                workers.append(worker)
                worker.start()
                time.sleep(moments.uniform(0.3, 1.2))
                server.kill()
            worker.stop()
            server.start()
        # What was in flight when the server died may come again; what was confirmed may not.
        worker = Worker(server.port, ledger, "Q", "W")
        workers.append(worker)
        worker.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not ledger.acknowledged.keys() <= ledger.in_doubt:
            time.sleep(0.05)
        worker.stop()
        again = [value for worker in workers for value in worker.again]
    assert ledger.acknowledged.keys() <= ledger.in_doubt, "acknowledged messages were never delivered"
    with may_fail(server, "confirmed acks are forgotten"):
        assert again == [], f"{len(again)} confirmed messages came again"


def test_streams_consumers_and_kv_survive_kill():
    with Server() as server:
        create(server.port, max_msgs_per_subject=5, allow_rollup_hdrs=True)
        with Client(server.port) as client:
            for number in range(20):
                client.api(f"STREAM.CREATE.S{number}", {"name": f"S{number}", "subjects": [f"s.{number}"]})
                client.request(f"s.{number}", "x")
            client.api("CONSUMER.DURABLE.CREATE.Q.W", {"stream_name": "Q", "config": {"durable_name": "W", "ack_policy": "explicit"}})
            for number in range(30):
                client.request(f"q.{number % 3}", str(number))
            client.api("STREAM.MSG.DELETE.Q", {"seq": 20})
            client.api("STREAM.PURGE.Q", {"filter": "q.2"})
            client.api("STREAM.DELETE.S7")
            client.api("STREAM.UPDATE.S8", {"name": "S8", "subjects": ["s.8", "s.eight"]})
            before = {name: stable(client.api(f"STREAM.INFO.{name}", {"deleted_details": True})) for name in ("Q", "S8", "S19")}
        server.kill()
        server.start()
        with Client(server.port, timeout=20) as client:
            after = {name: stable(client.api(f"STREAM.INFO.{name}", {"deleted_details": True})) for name in ("Q", "S8", "S19")}
            with may_fail(server, "removals that were answered are undone"):
                assert after == before
            names = client.api("STREAM.NAMES")["streams"]
            assert "S7" not in names and len(names) == 20
            assert client.api("CONSUMER.INFO.Q.W")["config"]["durable_name"] == "W"
            assert client.request("q.1", "next").json()["seq"] == 31


def stable(info):
    """Configuration, creation time and state; not the time of the answer."""
    return {key: info[key] for key in ("config", "created", "state")}
