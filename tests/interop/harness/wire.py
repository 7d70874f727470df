"""A raw client: bytes out, frames in. It hides nothing, so a test sees what a client library would swallow."""

import json
import socket
import time
from dataclasses import dataclass

INBOX = "_INBOX.raw"


@dataclass(frozen=True)
class Frame:
    """One server-to-client operation. `args` is the line without the verb; `headers` is None for MSG."""

    verb: str
    args: str = ""
    headers: bytes | None = None
    payload: bytes = b""

    @property
    def subject(self):
        return self.args.split(" ")[0]

    @property
    def sid(self):
        return self.args.split(" ")[1]

    @property
    def reply(self):
        """Reply subject of a MSG or HMSG, None without one."""
        words = self.args.split(" ")
        sizes = 2 if self.verb == "HMSG" else 1
        return words[2] if len(words) > 2 + sizes else None

    @property
    def status(self):
        """Status number of the header line ("NATS/1.0 404 ..."), None without one."""
        if not self.headers:
            return None
        words = self.headers.split(b"\r\n", 1)[0].split(b" ", 2)
        return int(words[1]) if len(words) > 1 and words[1][:3].isdigit() else None

    def header(self, name):
        for line in (self.headers or b"").decode("utf-8", "replace").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        return None

    def json(self):
        return json.loads(self.payload)


class Closed(Exception):
    """The server closed the connection."""


class Timeout(Exception):
    """No frame came within the deadline."""


class Client:
    """One connection. CONNECT is sent only when asked: protocol tests want to speak first."""

    def __init__(self, port, *, connect=True, timeout=5.0, **options):
        self.timeout = timeout
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sids = 0
        self.inboxes = 0
        self.pending = []
        self.info = None
        if connect:
            self.info = json.loads(self.next().args)
            fields = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "raw",
                      "version": "1", "protocol": 1, "name": "raw"} | options
            self.send(f"CONNECT {json.dumps(fields)}\r\n".encode())
            self.sync()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def next(self, timeout=None):
        """The next frame, in order of arrival."""
        if self.pending:
            return self.pending.pop(0)
        return self._read(time.monotonic() + (self.timeout if timeout is None else timeout))

    def sync(self, timeout=None):
        """PING, then waits for its PONG; what came before it is left for next()."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            self.send(b"PING\r\n")
        except Closed:
            pass  # What the server said before it closed can still be read.
        while (frame := self._read(deadline)).verb != "PONG":
            self.pending.append(frame)

    def publish(self, subject, payload=b"", *, reply="", headers=None):
        payload = payload.encode() if isinstance(payload, str) else payload
        reply = f" {reply}" if reply else ""
        if headers is None:
            line = f"PUB {subject}{reply} {len(payload)}\r\n".encode()
            self.send(line + payload + b"\r\n")
        else:
            block = encode_headers(headers)
            line = f"HPUB {subject}{reply} {len(block)} {len(block) + len(payload)}\r\n".encode()
            self.send(line + block + payload + b"\r\n")

    def subscribe(self, subject, queue=""):
        self.sids += 1
        queue = f" {queue}" if queue else ""
        self.send(f"SUB {subject}{queue} {self.sids}\r\n".encode())
        return str(self.sids)

    def unsubscribe(self, sid, after=""):
        self.send(f"UNSUB {sid} {after}".rstrip().encode() + b"\r\n")

    def inbox(self):
        """A fresh reply subject with a subscription; names repeat from run to run so that replies compare."""
        self.inboxes += 1
        subject = f"{INBOX}.{self.inboxes}"
        return subject, self.subscribe(subject)

    def request(self, subject, payload=b"", *, headers=None, timeout=None):
        """One request, its first reply; raises Timeout without one."""
        inbox, sid = self.inbox()
        self.publish(subject, payload, reply=inbox, headers=headers)
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            return self._take(sid, deadline)
        finally:
            self.unsubscribe(sid)

    def api(self, subject, body=None, **options):
        """A JetStream API request, the decoded reply."""
        payload = b"" if body is None else json.dumps(body).encode()
        return self.request(f"$JS.API.{subject}", payload, **options).json()

    def messages(self, sid, *, count, timeout=None):
        """Up to `count` messages of one subscription; a status message ends it and is included."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        taken = []
        while len(taken) < count:
            try:
                frame = self._take(sid, deadline)
            except Timeout:
                break
            taken.append(frame)
            if frame.status is not None and frame.status != 100:
                break
        return taken

    def _take(self, sid, deadline):
        for position, frame in enumerate(self.pending):
            if frame.verb in ("MSG", "HMSG") and frame.sid == sid:
                return self.pending.pop(position)
        while True:
            frame = self._read(deadline)
            if frame.verb in ("MSG", "HMSG") and frame.sid == sid:
                return frame
            self.pending.append(frame)

    def _read(self, deadline):
        line = self._line(deadline)
        verb, _, args = line.partition(" ")
        if verb == "PING":
            self.send(b"PONG\r\n")
            return self._read(deadline)
        if verb in ("MSG", "HMSG"):
            # nats-server writes an empty reply subject as two spaces; no client can tell.
            args = " ".join(args.split())
        if verb == "MSG":
            payload = self._bytes(int(args.split(" ")[-1]) + 2, deadline)[:-2]
            return Frame(verb, args, None, payload)
        if verb == "HMSG":
            header_bytes, total = (int(word) for word in args.split(" ")[-2:])
            body = self._bytes(total + 2, deadline)[:-2]
            return Frame(verb, args, body[:header_bytes], body[header_bytes:])
        return Frame(verb, args.strip())

    def _line(self, deadline):
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._fill(deadline)
        line, self.buffer = self.buffer[:end], self.buffer[end + 2 :]
        return line.decode("utf-8", "surrogateescape")

    def _bytes(self, count, deadline):
        while len(self.buffer) < count:
            self._fill(deadline)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _fill(self, deadline):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Timeout()
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            raise Timeout() from None
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of stream")
        self.buffer += data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def encode_headers(headers):
    """Bytes are taken as they are; a dict or a list of pairs becomes a well-formed block."""
    if isinstance(headers, bytes):
        return headers
    pairs = headers.items() if isinstance(headers, dict) else headers
    return ("NATS/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in pairs) + "\r\n").encode()
