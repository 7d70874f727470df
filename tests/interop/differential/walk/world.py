"""The small world of a walk: its names, and which of them the chooser believes to exist.

It never sees a reply, so that a seed always gives the same steps; a belief that is wrong only costs a refusal.
"""

STREAMS = ("S", "T", "U")
CONSUMERS = ("C", "D", "E", "F")
# The others are durable, and stay it; it has no filter, the others never lose theirs: see known-differences.txt.
EPHEMERAL = "F"
UNFILTERED = "C"
# Sets of subjects that one stream may bind; some overlap, and a stream may be asked for those of another.
SUBJECTS = {
    "S": (["s.*"], ["s.a", "s.b"], ["s.>"], ["s.a", "s.b", "t.c"]),
    "T": (["t.*"], ["t.a", "t.b"], ["t.>"], ["*.a"]),
    "U": (["u.*"], ["u.a"], ["u.>", "t.a"]),
}
TOKENS = ("a", "b", "c")
MESSAGE_IDS = ("m1", "m2", "m3", "m4", "m5")
DAY_NS = 24 * 3600 * 10**9


class World:
    """Which streams and consumers there should be after the steps chosen so far."""

    def __init__(self, random, durable):
        self.random = random
        # Only what is in files outlives a restart.
        self.durable = durable
        # nats-server's count of what is pending for such consumers is wrong after a purge: a walk has one or the other.
        self.purges = random.random() < 0.7
        # nats-server forgets a pending message that no new filter wants in the stream, but not in the consumer: where
        # filters change, no stream keeps by interest.
        self.refilters = random.random() < 0.5
        self.fixed_filters = {}
        self.consumers = {}

    def some_stream(self):
        """Most often one that exists."""
        known = [name for name in STREAMS if name in self.consumers]
        return self.random.choice(known) if known and self.random.random() < 0.95 else self.random.choice(STREAMS)

    def some_consumer(self):
        """A stream and a consumer, most often one that exists."""
        known = [(stream, name) for stream in STREAMS for name in CONSUMERS if name in self.consumers.get(stream, ())]
        if known and self.random.random() < 0.95:
            return self.random.choice(known)
        return self.some_stream(), self.random.choice(CONSUMERS)

    def some_subject(self, stream):
        return f"{stream.lower()}.{self.random.choice(TOKENS)}"

    def some_filter(self, stream):
        return self.random.choice([self.some_subject(stream), f"{stream.lower()}.*", f"{stream.lower()}.>", ">", "x.y"])

    def some_sequence(self, stream):
        """A sequence around either end, which the player looks up."""
        end, low, high = self.random.choice([("first", -1, 4), ("last", -4, 1)])
        offset = self.random.randint(low, high)
        return f"@{end}:{stream}{offset:+d}"

    def chance(self, probability):
        return self.random.random() < probability
