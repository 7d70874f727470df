"""Plays the steps of a walk on one server, one at a time, and notes each as a line that a case file would take."""

import json
import re

from ..play import Play

PLACE = re.compile(r"@(first|last|subject|taken)(?::(\w+))?(?::([\w.]+))?([+-]\d+)?")


class NothingTaken(Exception):
    """A step wants a delivered message before there is one."""


class Player(Play):
    """Play, with the steps that depend on what the server has."""

    def play(self, step):
        """The step as it was sent, and what it led to."""
        self.transcript = []
        try:
            sent = self.resolve(step)
            self.step(sent)
        except NothingTaken:
            sent = f"# {step}"
        return sent, self.transcript

    def reconnect(self):
        """The next request opens a new connection; what was delivered can still be acknowledged."""
        if self.client is not None:
            self.client.close()
        self.client = None

    def do_fence(self, _):
        for verb in ("CREATE", "DELETE"):
            self.api.api(f"STREAM.{verb}.FENCE", {"name": "FENCE"})

    def resolve(self, step):
        """The step in the case language."""
        step = PLACE.sub(self._place, step)
        verb, _, rest = step.partition(" ")
        if verb == "update":
            name, changes = rest.split(" ", 1)
            config = self._config(f"STREAM.INFO.{name}", {"name": name})
            return f"api STREAM.UPDATE.{name} {json.dumps(config | json.loads(changes))}"
        if verb == "reconsumer":
            stream, name, changes = rest.split(" ", 2)
            config = self._config(f"CONSUMER.INFO.{stream}.{name}", {"name": name})
            body = {"stream_name": stream, "config": config | json.loads(changes)}
            return f"api CONSUMER.CREATE.{stream}.{name} {json.dumps(body)}"
        return step

    def _config(self, subject, default):
        return self.api.api(subject).get("config", default)

    def _place(self, match):
        what, stream, subject, offset = match.groups()
        if what == "taken":
            if not self.delivered:
                raise NothingTaken()
            return str(max(1, len(self.delivered) + int(offset)))
        if what == "subject":
            found = self.api.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
            value = found.get("message", {}).get("seq", 0)
        else:
            found = self.api.api(f"STREAM.INFO.{stream}")
            value = found.get("state", {}).get(f"{what}_seq", 0)
        return str(max(0, value + int(offset or 0)))
