"""Pairs of servers, one pair per configuration, cleaned between cases."""

from concurrent.futures import ThreadPoolExecutor

from harness import wait
from harness.server import Server, chosen_kind
from harness.wire import Client

from .play import Play

ATTEMPTS = 4


class Pair:
    """The genuine server and the one under test, with the same configuration."""

    def __init__(self, config):
        self.servers = [Server("nats-server", name="same", config=config), Server(chosen_kind(), name="same", config=config)]
        for server in self.servers:
            server.start()
        self.pool = ThreadPoolExecutor(2)

    def play(self, case):
        """Both transcripts; the two servers work at the same time."""
        return list(self.pool.map(lambda server: self._one(server, case), self.servers))

    @staticmethod
    def _one(server, case):
        play = Play(server, case.steps)
        try:
            return play.run()
        finally:
            # With accounts of its own a configuration also has users; those cases clean up themselves.
            if play.client is not None and "accounts" not in case.config:
                wipe(server)

    def close(self):
        self.pool.shutdown()
        for server in self.servers:
            server.close()


def wipe(server):
    """Removes every stream, so that a case starts with an empty account."""
    with Client(server.port, timeout=10) as client:
        while names := client.api("STREAM.NAMES").get("streams"):
            for name in names:
                client.api(f"STREAM.DELETE.{name}")
    # nats-server answers a delete before the files are gone; a stream created under the old name
    # within that moment starts with the old sequence numbers.
    if server.kind == "nats-server":
        folders = server.store / "jetstream" / "$G" / "streams"
        wait.until(lambda: not leftovers(folders), 5, "removal of deleted streams")


def leftovers(folders):
    """Folders of deleted streams; the longest legal name makes nats-server's own removal fail, so it stays."""
    return [path for path in folders.iterdir() if len(path.name) < 250] if folders.exists() else []


class Arena:
    """Starts a pair when a case first needs its configuration; keeps few alive."""

    LIVE_MAX = 3

    def __init__(self):
        self.pairs = {}

    def play(self, case):
        if case.config not in self.pairs:
            if len(self.pairs) == self.LIVE_MAX:
                self.pairs.pop(next(iter(self.pairs))).close()
            self.pairs[case.config] = Pair(case.config)
        return self.pairs[case.config].play(case)

    def play_until_equal(self, case):
        """nats-server counts what is pending a moment after it has acknowledged a message, so one run may differ by
        chance. A difference that is one shows in every run."""
        for _ in range(ATTEMPTS):
            genuine, ours = self.play(case)
            if genuine == ours:
                break
        return genuine, ours

    def restart(self, case):
        """After a case that broke a server: the next one gets a new pair."""
        if pair := self.pairs.pop(case.config, None):
            pair.close()

    def close(self):
        for pair in self.pairs.values():
            pair.close()
        self.pairs.clear()
