"""What was promised: every message a server acknowledged and every ack it confirmed, kept outside of it.

The rules are those of the Jepsen queue test: lost = acknowledged but not read back; unexpected = read but never sent. A
publish whose answer was never heard may or may not be there.
"""

import contextlib
import threading
from dataclasses import dataclass, field

from harness.wire import Client, Closed, Timeout

WINDOW = 64


@dataclass
class Ledger:
    sent: set = field(default_factory=set)
    acknowledged: dict = field(default_factory=dict)  # value -> sequence
    refused: list = field(default_factory=list)  # error bodies
    consumed: set = field(default_factory=set)  # values whose ack was confirmed
    in_doubt: set = field(default_factory=set)  # values whose ack was sent; it may have counted without an answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, read):
        """`read`: value -> sequence as found in the stream. Returns what is wrong, an empty list when nothing is."""
        problems = []
        lost = sorted(self.acknowledged.keys() - read.keys())
        unexpected = sorted(read.keys() - self.sent)
        moved = sorted(value for value, sequence in self.acknowledged.items() if read.get(value, sequence) != sequence)
        if lost:
            problems.append(f"{len(lost)} of {len(self.acknowledged)} acknowledged messages lost, first {lost[:3]}, last {lost[-1]}")
        if unexpected:
            problems.append(f"{len(unexpected)} messages nobody sent, such as {unexpected[:3]}")
        if moved:
            problems.append(f"{len(moved)} messages at another sequence than acknowledged, such as {moved[:3]}")
        return problems


class Publisher(threading.Thread):
    """Publishes numbered values with a window of outstanding acks until the connection breaks or it is stopped."""

    def __init__(self, port, ledger, name, *, subject="q.1", payload_bytes=64, window=WINDOW):
        super().__init__(daemon=True)
        self.port, self.ledger, self.prefix, self.subject = port, ledger, name, subject
        self.filler = "." * payload_bytes
        self.window = window
        self.stopped = threading.Event()
        self.error = None

    def run(self):
        try:
            with Client(self.port) as client:
                self._publish(client)
        except (Closed, Timeout, ConnectionError, OSError) as error:
            self.error = error

    def _publish(self, client):
        # Every publisher hears its own acks only.
        acks = f"acks.{self.prefix}"
        client.subscribe(f"{acks}.*")
        number, outstanding = 0, {}
        while not self.stopped.is_set() or outstanding:
            while len(outstanding) < self.window and not self.stopped.is_set():
                value = f"{self.prefix}-{number}"
                with self.ledger.lock:
                    self.ledger.sent.add(value)
                outstanding[f"{acks}.{number}"] = value
                client.publish(self.subject, f"{value} {self.filler}", reply=f"{acks}.{number}")
                number += 1
            frame = client.next()
            value = outstanding.pop(frame.subject, None)
            if value is not None:
                self._note(value, frame)

    def _note(self, value, frame):
        body = frame.json() if frame.payload else {"error": {"description": f"status {frame.status}"}}
        with self.ledger.lock:
            if "error" in body:
                self.ledger.refused.append(body["error"])
            else:
                self.ledger.acknowledged[value] = body["seq"]

    def stop(self, seconds=10):
        self.stopped.set()
        self.join(seconds)


@contextlib.contextmanager
def publishing(server, ledger, prefixes, **options):
    """Publishers that work meanwhile, and that stop when the server does not answer any more."""
    publishers = [Publisher(server.port, ledger, prefix, **options) for prefix in prefixes]
    for publisher in publishers:
        publisher.start()
    try:
        yield
    finally:
        for publisher in publishers:
            publisher.stop()


class Worker(threading.Thread):
    """Pulls from a durable consumer and confirms each message with a double ack."""

    def __init__(self, port, ledger, stream, consumer):
        super().__init__(daemon=True)
        self.port, self.ledger, self.stream, self.consumer = port, ledger, stream, consumer
        self.stopped = threading.Event()
        self.again = []  # values delivered although their ack had been confirmed
        self.error = None

    def run(self):
        try:
            with Client(self.port) as client:
                while not self.stopped.is_set():
                    self._batch(client)
        except (Closed, Timeout, ConnectionError, OSError) as error:
            self.error = error

    def _batch(self, client):
        inbox, sid = client.inbox()
        client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.consumer}", '{"batch":20,"expires":300000000}', reply=inbox)
        for message in client.messages(sid, count=20, timeout=1):
            if message.status is not None:
                break
            value = message.payload.split(b" ")[0].decode()
            with self.ledger.lock:
                if value in self.ledger.consumed:
                    self.again.append(value)
                self.ledger.in_doubt.add(value)
            client.request(message.reply, "+ACK", timeout=5)
            with self.ledger.lock:
                self.ledger.consumed.add(value)
        client.unsubscribe(sid)

    def stop(self, seconds=10):
        self.stopped.set()
        self.join(seconds)


def read_all(client, stream):
    """value -> sequence of everything in the stream, through a consumer as an application would read it."""
    info = client.api(f"STREAM.INFO.{stream}")
    assert "error" not in info, f"the stream is gone: {info['error']['description']}"
    total = info["state"]["messages"]
    consumer = client.api(f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": {"ack_policy": "none"}})
    assert "error" not in consumer, consumer
    read = {}
    while len(read) < total:
        inbox, sid = client.inbox()
        body = '{"batch":500,"no_wait":true}'
        client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer['name']}", body, reply=inbox)
        messages = [message for message in client.messages(sid, count=500, timeout=5) if message.status is None]
        client.unsubscribe(sid)
        if not messages:
            break
        for message in messages:
            read[message.payload.split(b" ")[0].decode()] = int(message.reply.split(".")[5])
    return read
