"""JetStream is taken from an account and given back while it is used: nothing that was acknowledged is lost."""

import threading

from harness import wait
from harness.wire import Client, Closed, Timeout

RELOADS = 12


def config(jetstream):
    return (
        "jetstream { store_dir: '@dir/data', sync_interval: always }\n"
        "accounts { A { users [{user: a, password: x}]\n jetstream: %s }\n"
        "B { users [{user: b, password: x}]\n jetstream: enabled } }\n" % jetstream
    )


class Lonely(Client):
    """Gets no answer that is another's: the raw client gives the same names to its inboxes on every connection."""

    def inbox(self):
        self.inboxes += 1
        subject = f"_INBOX.{id(self)}.{self.inboxes}"
        return subject, self.subscribe(subject)


def login(server):
    return Lonely(server.port, user="a", **{"pass": "x"})


class Worker(threading.Thread):
    """Works until it is stopped; that nobody answers is part of the test."""

    def __init__(self, server, work):
        super().__init__(daemon=True)
        self.server, self.work = server, work
        self.stopped = threading.Event()
        self.start()

    def run(self):
        while not self.stopped.is_set():
            try:
                with login(self.server) as client:
                    while not self.stopped.is_set():
                        self.work(client)
            except (Timeout, Closed, OSError):
                pass


def test_nothing_acknowledged_is_lost(serve):
    server = serve(config("enabled"))
    stored, tried, acknowledged = set(), set(), set()

    def publish(client):
        answer = client.request("s", "x", timeout=1)
        if answer.status is None and "error" not in (ack := answer.json()):
            stored.add(ack["seq"])

    def consume(client):
        message = client.request("$JS.API.CONSUMER.MSG.NEXT.S.C", '{"batch":1,"expires":200000000}', timeout=1)
        if message.status is not None:
            return
        sequence = int(message.reply.split(".")[5])
        # An answer that does not come leaves open whether the message will come again.
        tried.add(sequence)
        if client.request(message.reply, "+ACK", timeout=1).status is None:
            acknowledged.add(sequence)

    with login(server) as client:
        assert "error" not in client.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        settings = {"durable_name": "C", "ack_policy": "explicit", "ack_wait": 500_000_000}
        assert "error" not in client.api("CONSUMER.CREATE.S.C", {"stream_name": "S", "config": settings})
    workers = [Worker(server, work) for work in (publish, publish, consume, consume)]
    for _ in range(RELOADS):
        before = len(stored)
        server.reload(config("disabled"))
        server.reload(config("enabled"))
        wait_for_more(stored, before)
    for worker in workers:
        worker.stopped.set()
    for worker in workers:
        worker.join(20)
        assert not worker.is_alive()
    with login(server) as client:
        state = client.api("STREAM.INFO.S")["state"]
        assert state["messages"] == state["last_seq"] >= max(stored)
        rest = set()
        while (message := next_message(client)) is not None:
            rest.add(int(message.reply.split(".")[5]))
            client.request(message.reply, "+ACK")
    assert not rest & acknowledged, "delivered again after a confirmed ack"
    assert rest | tried >= stored, "never delivered"


def next_message(client):
    message = client.request("$JS.API.CONSUMER.MSG.NEXT.S.C", '{"batch":1,"expires":1000000000}')
    return message if message.status is None else None


def wait_for_more(stored, before):
    wait.until(lambda: len(stored) > before + 5, 10, "publishing goes on")
