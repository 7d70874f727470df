"""Replaces what may differ between two runs of one server: ids, times, random names. Nothing else."""

import base64
import json
import re

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
ZERO_TIME = "0001-01-01T00:00:00Z"
NANOSECONDS = re.compile(r"(?<!\d)1[6-9]\d{17}(?!\d)")
KEYS = re.compile(r"\b[NXA][A-Z2-7]{55}\b")
FLOW_CONTROL = re.compile(r"(\$JS\.FC\.\S+\.)[A-Za-z0-9]{4}\b")
SOURCE_IDENTITY = re.compile(r"(Nats-Stream-Source: [^\r\n]* )[A-Za-z0-9]{8}(?=\r\n)")
PIN = re.compile(r"(Nats-Pin-Id: )[A-Za-z0-9]{22}(?=\\r|\r)")
VERSION = re.compile(r"\b2\.15\.\d+(?:-[\w.]+)?")
RANDOM_NAME = re.compile(r"[A-Za-z0-9]{8}\Z")

# Fields whose value is the run's own, whatever it says.
VOLATILE = {"pause_remaining", "git_commit", "go", "client_id", "client_ip", "nonce", "port", "id", "uptime", "rtt", "raft_group",
            "_nats.ver", "pinned_client_id", "pinned_id", "ack_time", "delay"}


class Normaliser:
    """One per case and server: random names are numbered in the order in which they appear."""

    def __init__(self, script):
        self.literal = set(TIME.findall(script)) | {ZERO_TIME}
        self.script = script
        self.names = {}

    def text(self, text):
        for name, placeholder in self.names.items():
            text = text.replace(name, placeholder)
        text = TIME.sub(lambda match: match[0] if match[0] in self.literal else "<time>", text)
        text = NANOSECONDS.sub("<ns>", text)
        text = KEYS.sub("<key>", text)
        text = PIN.sub(r"\1<pin>", text)
        text = FLOW_CONTROL.sub(r"\1<token>", text)
        return VERSION.sub("2.15.x", text)

    def json(self, value):
        """Canonical text of a JSON value; key order is not part of the contract."""
        self._learn(value)
        return self.text(json.dumps(self._clean(value), sort_keys=True, ensure_ascii=False))

    def body(self, text):
        """A payload: canonical when it is a reply or a report of the server, byte for byte otherwise."""
        try:
            value = json.loads(text)
        except ValueError:
            return self.text(text)
        return self.json(value) if isinstance(value, dict) and value.keys() & {"type", "server"} else self.text(text)

    def _learn(self, value):
        """An ephemeral consumer gets its name from the server; the script cannot contain it."""
        if not isinstance(value, dict):
            return
        name = value.get("name")
        if "stream_name" in value and isinstance(name, str) and RANDOM_NAME.match(name) and name not in self.script:
            self.names.setdefault(name, f"<name {len(self.names) + 1}>")

    def _clean(self, value):
        if isinstance(value, dict):
            return {key: self._field(key, item) for key, item in self._fields(value)}
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return value

    def _field(self, key, item):
        if key in VOLATILE:
            return "<volatile>"
        if key == "hdrs" and isinstance(item, str):
            return SOURCE_IDENTITY.sub(r"\1<identity>", base64.b64decode(item).decode("utf-8", "backslashreplace"))
        if key == "active" and isinstance(item, int) and item > 0:
            return "<since>"
        if key == "sources" and all(isinstance(source, dict) and "lag" in source for source in item):
            return sorted(map(self._clean, item), key=lambda source: json.dumps(source, sort_keys=True))
        if key in ("request", "response") and isinstance(item, str) and item.startswith("{"):
            return self._nested(item)
        return self._clean(item)

    def _nested(self, text):
        """An audit quotes request and reply as text; some requests are no JSON."""
        try:
            return self._clean(json.loads(text))
        except ValueError:
            return text

    @staticmethod
    def _fields(value):
        api_counters = {"level", "total", "errors"} <= value.keys()
        server = {"ver", "seq", "time"} <= value.keys()
        for key, item in value.items():
            if server and key == "seq":
                continue
            if api_counters and key in ("total", "errors", "inflight"):
                continue
            yield key, item
