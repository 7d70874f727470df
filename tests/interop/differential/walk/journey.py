"""One walk over both servers: plays the steps, compares after each, and says where the first difference is."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness import wait
from harness.server import Server, chosen_kind

from .. import show
from ..arena import wipe
from . import state
from .player import Player

SETTLE_SECONDS = 1.0
MESSAGES_EVERY = 10


@dataclass(frozen=True)
class Difference:
    """Where two servers parted: the position of the step, what was compared, and both sides."""

    position: int
    what: str
    sent: tuple[str, ...]
    genuine: list[str]
    ours: list[str]

    def kind(self):
        """What two differences with one cause have in common: which fields differ, not in which way."""
        lines = show.difference(self.genuine, self.ours).splitlines()[2:]
        return self.what, {line.partition(":")[0] for line in lines if line[0] in "+-"}

    def text(self, last=None):
        """The steps, or only the last of them, and what differs then."""
        steps = "\n".join(self.sent[-last:] if last else self.sent)
        return f"{steps}\n{self.what} differs:\n{show.difference(self.genuine, self.ours, chosen_kind())}"


class Ground:
    """The two servers that walks are made on, one walk after the other."""

    def __init__(self):
        self.servers = [Server("nats-server", name="same"), Server(chosen_kind(), name="same")]
        self.pool = ThreadPoolExecutor(2)
        for server in self.servers:
            server.start()

    def walk(self, steps, show_step=None):
        """The first difference, None without one. `show_step` is told of each step as it was sent."""
        journey = Journey(self, steps)
        try:
            return journey.run(show_step or (lambda line: None))
        finally:
            journey.close()
            self.both(wipe, self.servers)

    def both(self, action, subjects):
        return list(self.pool.map(action, subjects))

    def close(self):
        self.pool.shutdown()
        for server in self.servers:
            server.close()


class Journey:
    """One walk: a player for each server."""

    def __init__(self, ground, steps):
        self.ground = ground
        self.steps = steps
        self.players = [Player(server, steps) for server in ground.servers]
        self.sent = []

    def run(self, show_step):
        for position, step in enumerate(self.steps):
            show_step(step)
            verb, _, rest = step.partition(" ")
            found = self.restart(rest) if verb == "restart" else self.play(step)
            found = found or self.settle(messages=verb == "restart" or position % MESSAGES_EVERY == 0)
            if found:
                return Difference(position, found[0], tuple(self.sent), found[1], found[2])
        return None

    def play(self, step):
        """The step on both servers; what differs, if anything."""
        (sent, genuine), (_, ours) = self.ground.both(lambda player: player.play(step), self.players)
        self.sent.append(sent)
        if sent.startswith("api STREAM.DELETE."):
            wait.until(self.folders_are_gone, 5, "removal of a deleted stream")
        return None if genuine == ours else ("the reply", genuine, ours)

    def restart(self, step):
        """Kills the server under test, at once after the step if there is one; it has to come back with all it had."""
        player, server = self.players[1], self.ground.servers[1]
        player.confirm()
        if found := step and (self.play(step) or self.settle(messages=False)):
            return found
        before = state.timeless(state.read(player.api, messages=True))
        server.kill()
        server.start()
        player.reconnect()
        self.sent.append("# restart")
        after = state.timeless(state.read(player.api, messages=True))
        if before == after:
            return None
        return ("what a kill -9 leaves", *([f"{label}: {json.dumps(words)}" for label, words in side] for side in (before, after)))

    def settle(self, messages):
        """nats-server counts what is pending and removes what is acknowledged a moment after it has answered."""
        try:
            wait.until(lambda: self.states_are_equal(messages), SETTLE_SECONDS, "equal states")
        except wait.DeadlineExceeded:
            return ("the state", *self.states(messages))
        return None

    def states_are_equal(self, messages):
        genuine, ours = self.states(messages)
        return genuine == ours

    def states(self, messages):
        return self.ground.both(lambda player: state.lines(state.read(player.api, messages), player.normal), self.players)

    def folders_are_gone(self):
        """A stream created before nats-server has removed the last one's folder starts with its sequence numbers."""
        genuine = self.ground.servers[0]
        folders = genuine.store / "jetstream" / "$G" / "streams"
        streams = set(self.players[0].api.api("STREAM.NAMES").get("streams") or [])
        return genuine.kind != "nats-server" or not folders.exists() or {path.name for path in folders.iterdir()} <= streams

    def close(self):
        for player in self.players:
            player.reconnect()
