"""Plays one case against one server and returns its transcript: a list of normalised lines."""

import json
import re
import shlex
import time
import urllib.error
import urllib.request

from harness.wire import INBOX, Client, Closed, Timeout

from .normalise import Normaliser

REPLY_SECONDS = 3.0
# Fields that our pages add to those of nats-server.
ADDED = {"/jsz": {"journal"}}
SILENCE_SECONDS = 0.3
FIRST_SECONDS = 0.7
QUIET_SECONDS = 0.3
UNTIL_SECONDS = 10.0
SEND = re.compile(r"([A-Z])(>>?)(?: (.*))?\Z")
ON = re.compile(r"([A-Z]) (open|sync|closed|read|count)(?: (\d+))?\Z")


class Play:
    """State of one run: named raw connections (A, B, ...) and one well-behaved client for API steps."""

    def __init__(self, server, steps):
        self.server = server
        self.port = server.port
        self.steps = steps
        self.normal = Normaliser("\n".join(steps))
        self.raw = {}
        self.client = None
        self.subscriptions = {}
        self.delivered = []
        self.pin = ""
        self.transcript = []

    def run(self):
        try:
            for step in self.steps:
                self.note(f"-- {step[:200]}")
                self.step(step)
        finally:
            for connection in [*self.raw.values(), *([self.client] if self.client else [])]:
                connection.close()
        return self.transcript

    def note(self, line):
        self.transcript.append(line)

    def step(self, step):
        if match := SEND.match(step):
            data = unescape(match[3] or "") + (b"" if match[2] == ">>" else b"\r\n")
            try:
                self.connection(match[1]).send(data)
            except Closed:
                self.note("closed")
        elif match := ON.match(step):
            getattr(self, f"on_{match[2]}")(match[1], int(match[3] or 1))
        else:
            verb, _, rest = step.partition(" ")
            method = getattr(self, f"do_{verb}", None)
            if method is None:
                raise SyntaxError(f"unknown step: {step}")
            method(rest.strip())

    # Raw connections.

    def connection(self, name):
        if name not in self.raw:
            self.raw[name] = Client(self.port, connect=False, timeout=REPLY_SECONDS)
            self.raw[name].next()
        return self.raw[name]

    def on_open(self, name, _):
        self.raw[name] = Client(self.port, connect=False, timeout=REPLY_SECONDS)
        self.frame(self.raw[name].next())

    def on_sync(self, name, _):
        """Everything that was sent until the server has handled all we sent."""
        connection = self.connection(name)
        end = None
        try:
            connection.sync()
        except Closed:
            end = "closed"
        except Timeout:
            end = "no PONG"
        for frame in connection.pending:
            self.frame(frame)
        connection.pending.clear()
        if end:
            self.note(end)

    def on_closed(self, name, _):
        """Everything until the server closes the connection."""
        try:
            while True:
                self.frame(self.connection(name).next(REPLY_SECONDS))
        except Closed:
            self.note("closed")
        except Timeout:
            self.note("still open")

    def on_read(self, name, count):
        try:
            for _ in range(count):
                self.frame(self.connection(name).next(REPLY_SECONDS))
        except Closed:
            self.note("closed")
        except Timeout:
            self.note("nothing more")

    def do_hpub(self, rest):
        """`hpub A SUBJECT BLOCK`: HPUB with the sizes of BLOCK and the payload "x"."""
        name, subject, block = rest.split(" ", 2)
        self.send_block(name, subject, block)

    def do_hreply(self, rest):
        """`hreply A SUBJECT REPLY BLOCK`: the same with a reply subject."""
        name, subject, reply, block = rest.split(" ", 3)
        self.send_block(name, f"{subject} {reply}", block)

    def send_block(self, name, subjects, block):
        block = unescape(block)
        self.connection(name).send(f"HPUB {subjects} {len(block)} {len(block) + 1}\r\n".encode() + block + b"x\r\n")

    def do_cut(self, rest):
        """`cut A LINE`: an HPUB whose bytes come in two pieces, cut at the slash of its line."""
        name, line = rest.split(" ", 1)
        first, second = line.split("/", 1)
        self.connection(name).send(first.encode())
        # Long enough for a read of its own.
        time.sleep(0.02)
        self.connection(name).send(second.encode() + b"\r\nNATS/1.0\r\nA: bc\r\n\r\nhello\r\n")

    def on_count(self, name, _):
        """Only how many messages came: for deliveries whose choice is random."""
        self.do_sum(name)

    def do_sum(self, names):
        total = 0
        for name in names.split():
            connection = self.connection(name)
            connection.sync()
            total += sum(frame.verb in ("MSG", "HMSG") for frame in connection.pending)
            connection.pending.clear()
        self.note(f"{total} messages")

    # JetStream API and requests.

    @property
    def api(self):
        if self.client is None:
            self.client = Client(self.port, timeout=REPLY_SECONDS)
        return self.client

    def do_api(self, rest, seconds=REPLY_SECONDS):
        subject, _, body = rest.partition(" ")
        try:
            reply = self.api.request(f"$JS.API.{subject}", unescape(body), timeout=seconds)
        except Timeout:
            self.note("silence")
            return
        try:
            self.note(self.normal.json(reply.json()))
        except ValueError:
            self.frame(reply)

    def do_silent(self, rest):
        self.do_api(rest, SILENCE_SECONDS)

    def do_setup(self, rest):
        """An API call whose reply is another case's subject: only its success is noted."""
        subject, _, body = rest.partition(" ")
        reply = self.api.request(f"$JS.API.{subject}", unescape(body)).json()
        self.normal.json(reply)
        self.note(self.normal.json(reply["error"]) if "error" in reply else "done")

    def do_until(self, rest):
        """Polls an API call until a field has a value: `until STREAM.INFO.S state.messages=0`."""
        subject, _, condition = rest.partition(" ")
        path, _, wanted = condition.rpartition("=")
        deadline = time.monotonic() + UNTIL_SECONDS
        value = None
        while time.monotonic() < deadline:
            value = self.api.request(f"$JS.API.{subject}").json()
            for key in path.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if json.dumps(value) == wanted:
                self.note("done")
                return
            time.sleep(0.02)
        self.note(f"{path} stays {json.dumps(value)}")

    def do_rpc(self, rest):
        subject, payload, headers = message(rest)
        try:
            self.frame(self.api.request(subject, payload, headers=headers))
        except Timeout:
            self.note("silence")

    do_publish = do_rpc

    def do_emit(self, rest):
        """Publish without a reply subject."""
        subject, payload, headers = message(rest)
        self.api.publish(subject, payload, headers=headers)
        self.api.sync()

    def do_consumer(self, rest):
        """`consumer NAME FILTER CONFIG`: the create form that carries the filter in its subject."""
        name, subject, config = rest.split(" ", 2)
        body = {"stream_name": "S", "config": {"name": name, "ack_policy": "explicit", **json.loads(config)}}
        self.do_api(f"CONSUMER.CREATE.S.{name}.{subject} {json.dumps(body)}")

    def do_direct(self, rest):
        """A direct get that may answer with several messages."""
        subject, _, body = rest.partition(" ")
        self.collect(f"$JS.API.DIRECT.GET.{subject}", unescape(body), 1000)

    def do_pull(self, rest):
        """`pull STREAM CONSUMER [xN] [BODY]`: a pull request and up to N messages or a status."""
        stream, consumer, *words = rest.split(" ", 2)
        count, body = counted(words[0] if words else "", 1000)
        self.collect(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", unescape(body.replace("@pin", self.pin)), count)

    def collect(self, subject, body, count):
        inbox, sid = self.api.inbox()
        self.api.publish(subject, body, reply=inbox)
        taken = []
        seconds = FIRST_SECONDS + seconds_of("expires", body)
        # What beats may be as quiet as that between two beats, and what ends by itself until then.
        quiet_seconds = QUIET_SECONDS + seconds_of("idle_heartbeat", body) + seconds_of("expires", body)
        while len(taken) < count:
            batch = self.api.messages(sid, count=1, timeout=seconds)
            if not batch:
                break
            taken += batch
            seconds = quiet_seconds
            if batch[0].status not in (None, 100):
                break
        self.api.unsubscribe(sid)
        self.deliveries(taken)
        if not taken:
            self.note("silence")

    def do_sub(self, rest):
        subject, _, queue = rest.partition(" ")
        self.subscriptions[subject] = self.api.subscribe(subject, queue)
        self.api.sync()

    def do_unsub(self, subject):
        self.api.unsubscribe(self.subscriptions.pop(subject))
        self.api.sync()

    def do_take(self, rest):
        """`take SUBJECT N`: the next N messages of a subscription; N+1 must not follow at once."""
        subject, _, count = rest.partition(" ")
        self.deliveries(self.api.messages(self.subscriptions[subject], count=int(count or 1)))

    def do_nothing(self, subject):
        """`nothing SUBJECT`: no message of this subscription comes for a moment."""
        extra = self.api.messages(self.subscriptions[subject], count=1, timeout=SILENCE_SECONDS)
        self.deliveries(extra)
        if not extra:
            self.note("nothing")

    def do_ack(self, rest):
        """`ack N BODY`: publishes BODY to the reply subject of the N-th delivered message."""
        number, _, body = rest.partition(" ")
        self.api.publish(self.delivered[int(number) - 1].reply, unescape(body))
        self.api.sync()

    def do_acksync(self, rest):
        number, _, body = rest.partition(" ")
        try:
            self.frame(self.api.request(self.delivered[int(number) - 1].reply, unescape(body)))
        except Timeout:
            self.note("silence")

    def do_acknext(self, rest):
        """`acknext N [xM] BODY`: an ack that asks for the next message, or for M of them."""
        number, _, words = rest.partition(" ")
        count, body = counted(words, 1)
        self.collect(self.delivered[int(number) - 1].reply, unescape(body), count)

    def do_ask(self, rest):
        """`ask SUBJECT REPLY BODY`: publishes with that reply subject; what comes back is for `take`."""
        subject, reply, *body = rest.split(" ", 2)
        self.api.publish(subject, unescape("".join(body)), reply=reply)
        self.api.sync()

    def do_http(self, path):
        """GET of the monitoring port: the status and the shape of the JSON, not its values."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.http_port}{path}", timeout=REPLY_SECONDS) as reply:
                status, body = reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read().decode()
        self.note(f"{status} {shape(body, ADDED.get(path.partition('?')[0], ()))}")

    def do_await(self, rest):
        """`await PATH TEXT`: polls a page of the monitoring port until TEXT is in it."""
        path, _, text = rest.partition(" ")
        deadline = time.monotonic() + UNTIL_SECONDS
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.http_port}{path}", timeout=REPLY_SECONDS) as reply:
                # Servers escape the same character in different ways.
                if text in json.dumps(json.load(reply), ensure_ascii=False):
                    self.note("done")
                    return
            time.sleep(0.02)
        self.note("it never comes")

    def do_shape(self, rest):
        """A request whose answer is compared by shape: `shape SUBJECT PAYLOAD`."""
        subject, payload, headers = message(rest)
        reply = self.api.request(subject, payload, headers=headers)
        self.note(shape(reply.payload.decode()) if reply.status is None else f"status {reply.status}")

    def do_as(self, rest):
        """`as USER PASSWORD`: who the API client of the following steps is."""
        user, password = rest.split()
        if self.client is not None:
            self.client.close()
        self.client = Client(self.port, timeout=REPLY_SECONDS, user=user, **{"pass": password})

    # Recording.

    def deliveries(self, frames):
        for frame in frames:
            if frame.status is None:
                self.delivered.append(frame)
            self.pin = frame.header("Nats-Pin-Id") or self.pin
            # It has the id of the subscription, or the client would not have found it; how many there were before
            # depends on how often something was polled.
            subject, _, rest = frame.args.split(" ", 2)
            self.frame(frame, args=frame.args if subject.startswith(INBOX) else f"{subject} {rest}")

    def frame(self, frame, args=None):
        if frame.verb == "INFO":
            self.note("INFO " + self.normal.json(json.loads(frame.args)))
            return
        headers = "" if frame.headers is None else " " + repr(frame.headers.decode("utf-8", "backslashreplace"))
        body = self.normal.body(frame.payload.decode("utf-8", "backslashreplace"))
        args = re.sub(rf"{re.escape(INBOX)}\.\d+ \d+", "<inbox>", frame.args if args is None else args)
        # The size of a reply with a time or an id in it says nothing more than its text.
        if "<" in self.normal.text(headers + body):
            args = re.sub(r"(?: \d+){1,2}\Z", " <size>" if frame.headers is None else " <sizes>", args)
        self.note(self.normal.text(f"{frame.verb} {args}{headers}") + (f" {body[:2000]}" if body else ""))


ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([rnt0\\]))")
SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def counted(words, count):
    """The number of an `xN` in front, or `count`, and the rest."""
    first, _, rest = words.partition(" ")
    return (int(first[1:]), rest) if re.fullmatch(r"x\d+", first) else (count, words)


def seconds_of(field, body):
    """A duration in the JSON of a request, which there is in nanoseconds; 0 without one."""
    found = re.search(rb'"%s":(\d+)' % field.encode(), body)
    return int(found[1]) / 1e9 if found else 0


def unescape(text):
    r"""\r \n \t \0 \\ and \xHH; everything else is UTF-8."""
    return ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else SIMPLE[match[2]], text.encode())


def shape(text, left_out=()):
    """Field names and types of a JSON text; a text that is no JSON is kept."""
    try:
        value = json.loads(text)
    except ValueError:
        return text[:200]
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key not in left_out}
    return json.dumps(_shape(value), sort_keys=True)


def _shape(value):
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes = [_shape(item) for item in value]
        # The order of a list may be random: what any of its objects has counts.
        if shapes and all(isinstance(item, dict) for item in shapes):
            return [dict(sorted(pair for item in shapes for pair in item.items()))]
        return shapes[:1]
    # A number that happens to be zero in one run is still a number.
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def message(rest):
    """`SUBJECT PAYLOAD Header=value ...` with shell quoting."""
    subject, *words = shlex.split(rest)
    payload = words.pop(0).encode() if words else b""
    return subject, payload, dict(word.split("=", 1) for word in words) or None
