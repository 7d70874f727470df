"""Everything that a server says about its streams, consumers and messages."""


def read(client, messages=False):
    """Pairs of a label and the server's own words, in a stable order."""
    entries = []
    for name in client.api("STREAM.NAMES").get("streams") or []:
        info = client.api(f"STREAM.INFO.{name}", {"subjects_filter": ">", "deleted_details": True})
        entries.append((f"stream {name}", info))
        for consumer in client.api(f"CONSUMER.LIST.{name}")["consumers"] or []:
            entries.append((f"consumer {name} {consumer['name']}", consumer))
        if messages:
            state = info["state"]
            for sequence in range(max(1, state["first_seq"]), state["last_seq"] + 1):
                entries.append((f"message {name} {sequence}", client.api(f"STREAM.MSG.GET.{name}", {"seq": sequence})))
    return entries


def timeless(entries):
    """Without what depends on the time of the answer: two readings of one state differ in nothing else."""
    return [(label, {key: value for key, value in words.items() if key not in ("ts", "pause_remaining")}) for label, words in entries]


def lines(entries, normal):
    return [f"{label}: {normal.json(words)}" for label, words in entries]
