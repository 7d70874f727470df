"""Plays the steps of a walk on one server, one at a time, and notes each as a line that a case file would take."""

import json
import re

from ..play import Play
from .masks import Masked

PLACE = re.compile(r"@(first|last|subject|taken)(?::(\w+))?(?::([\w.]+))?([+-]\d+)?")


class Skipped(Exception):
    """A step that has nothing to do: no message was delivered yet, or none would be purged."""


class Player(Play):
    """Play, with the steps that depend on what the server has."""

    def __init__(self, server, steps):
        super().__init__(server, steps)
        self.normal = Masked("\n".join(steps))

    def play(self, step):
        """The step as it was sent, and what it led to."""
        self.transcript = []
        try:
            sent = self.resolve(step)
            self.step(sent)
        except Skipped:
            sent = f"# {step}"
        return sent, self.transcript

    def reconnect(self):
        """The next request opens a new connection; what was delivered can still be acknowledged."""
        if self.client is not None:
            self.client.close()
        self.client = None

    def confirm(self):
        """Makes all that was done so far durable: the log of a server has one order, and this is answered when it is there."""
        self.api.api("STREAM.CREATE.FENCE", {"name": "FENCE"})
        self.api.api("STREAM.DELETE.FENCE")

    def resolve(self, step):
        """The step in the case language."""
        step = PLACE.sub(self._place, step)
        verb, _, rest = step.partition(" ")
        if step.startswith("api STREAM.PURGE."):
            self._check_purge(rest)
        if verb == "update":
            name, changes = rest.split(" ", 1)
            config = self._config(f"STREAM.INFO.{name}") | {"name": name}
            return f"api STREAM.UPDATE.{name} {json.dumps(config | json.loads(changes))}"
        if verb == "reconsumer":
            stream, name, changes = rest.split(" ", 2)
            config = self._config(f"CONSUMER.INFO.{stream}.{name}")
            body = {"stream_name": stream, "config": config | json.loads(changes)}
            return f"api CONSUMER.CREATE.{stream}.{name} {json.dumps(body)}"
        return step

    def _check_purge(self, request):
        """A difference of ours: nats-server moves consumers to the first sequence also when a purge removes nothing."""
        subject, body = request.split(" ", 1)
        name, limits = subject.rpartition(".")[2], json.loads(body)
        words = {"seq": 1, "next_by_subj": limits.get("filter", ">")}
        first = self.api.api(f"STREAM.MSG.GET.{name}", words).get("message", {}).get("seq")
        state = self.api.api(f"STREAM.INFO.{name}", {"subjects_filter": words["next_by_subj"]}).get("state", {})
        if first is None or 0 < limits.get("seq", 0) <= first or sum(state["subjects"].values()) <= limits.get("keep", 0):
            raise Skipped()

    def _config(self, subject):
        return self.api.api(subject).get("config", {})

    def _place(self, match):
        what, stream, subject, offset = match.groups()
        if what == "taken":
            if not self.delivered:
                raise Skipped()
            return str(max(1, len(self.delivered) + int(offset)))
        if what == "subject":
            found = self.api.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
            value = found.get("message", {}).get("seq", 0)
        else:
            found = self.api.api(f"STREAM.INFO.{stream}")
            value = found.get("state", {}).get(f"{what}_seq", 0)
        return str(max(0, value + int(offset or 0)))
