"""Chooses the steps of a walk. A step is a line of the case language of the folder above, except:

`restart [STEP]`               plays the step, kills the server under test with -9 and starts it; the genuine one runs on
`update STREAM JSON`           STREAM.UPDATE with what the stream has now, and these fields
`reconsumer STREAM NAME JSON`  CONSUMER.CREATE with what the consumer has now, and these fields
`@first:S+1`, `@last:S`        a sequence of the stream as it is then; `@subject:S:s.a` the last one of a subject
`@taken-2`                     the message that was delivered third last; the step does nothing before there is one
"""

import json
import random

from . import configs
from .world import CONSUMERS, MESSAGE_IDS, STREAMS, World

RESTART_EVERY = 25


def choose(seed, count):
    """The same steps for the same seed and a prefix of them for a smaller count."""
    source = random.Random(seed)
    world = World(source, durable=source.random() < 0.75)
    steps = []
    while len(steps) < count:
        if world.durable and world.chance(1 / RESTART_EVERY):
            confirmed = source.choice(CONFIRMED)
            steps.append(" ".join(["restart", *(confirmed(world) if confirmed else [])]))
        else:
            steps += source.choices(CHOICES, WEIGHTS)[0](world)
    return steps[:count]


def api(subject, body=None):
    return f"api {subject}" + ("" if body is None else f" {json.dumps(body)}")


def create_stream(world):
    name = next((name for name in STREAMS if name not in world.consumers), None) or world.random.choice(STREAMS)
    world.consumers.setdefault(name, set())
    return [api(f"STREAM.CREATE.{name}", configs.stream(world, name))]


def update_stream(world):
    name = world.some_stream()
    return [f"update {name} {json.dumps(configs.stream_changes(world, name))}"]


def delete_stream(world):
    name = world.some_stream()
    world.consumers.pop(name, None)
    return [api(f"STREAM.DELETE.{name}")]


def purge_stream(world):
    if not world.purges:
        return []
    name = world.some_stream()
    fields = []
    if world.chance(0.5):
        fields.append(f'"filter":"{world.some_filter(name)}"')
    limit = world.random.choice(["", f'"seq":{world.some_sequence(name)}', f'"keep":{world.random.randint(0, 3)}'])
    return [f"api STREAM.PURGE.{name} {{{','.join([*fields, *filter(None, [limit])])}}}"]


def read_streams(world):
    name = world.some_stream()
    subject = world.some_filter(name)
    return [
        world.random.choice(
            [
                api(f"STREAM.INFO.{name}", {"subjects_filter": subject}),
                api("STREAM.NAMES", {"subject": subject}),
                api("STREAM.LIST", {"subject": subject}),
                api("STREAM.LIST", {"offset": world.random.randint(0, 3)}),
                api(f"CONSUMER.NAMES.{name}", {"offset": world.random.randint(0, 2)}),
                api(f"CONSUMER.LIST.{name}"),
                api("INFO"),
            ]
        )
    ]


def publish(world):
    name = world.some_stream()
    subject = world.some_subject(name)
    headers = "".join(f" {header}" for header in _headers(world, name, subject))
    payload = "x" * world.random.choice([1, 1, 1, 5, 30, 120])
    return [f"publish {subject} {payload}{headers}"]


def _headers(world, name, subject):
    other = world.some_subject(name)
    off = world.random.choice(["", "", "", "-1", "+1"])
    headers = [
        f"Nats-Msg-Id={world.random.choice(MESSAGE_IDS)}",
        f"Nats-Expected-Stream={world.random.choice([name, name, 'X'])}",
        f"Nats-Expected-Last-Sequence=@last:{name}{off}",
        f"Nats-Expected-Last-Subject-Sequence=@subject:{name}:{subject}{off}",
        f"Nats-Expected-Last-Subject-Sequence=@subject:{name}:{other}{off} Nats-Expected-Last-Subject-Sequence-Subject={other}",
        f"Nats-Expected-Last-Msg-Id={world.random.choice(MESSAGE_IDS)}",
        f"Nats-Rollup={world.random.choice(['sub', 'all', 'x'])}",
        f"Nats-TTL={world.random.choice(['1h', 'never', '0'])}",
        "Any=thing",
    ]
    return world.random.sample(headers, world.random.choice([0, 0, 1, 1, 2]))


def publish_batch(world):
    """An atomic batch, complete or not; two of them are never open at once."""
    name = world.some_stream()
    batch = f"Nats-Batch-Id=b{world.random.randint(1, 10**6)}"
    steps = []
    count = world.random.randint(1, 4)
    for number in range(1, count + 1):
        subject = world.some_subject(name)
        headers = _headers(world, name, subject) if world.chance(0.3) else []
        commit = ["Nats-Batch-Commit=1"] if number == count else []
        steps.append(" ".join(["publish", subject, "x", batch, f"Nats-Batch-Sequence={number}", *commit, *headers]))
    return steps


def read_message(world):
    name = world.some_stream()
    body = world.random.choice(
        [
            f'"seq":{world.some_sequence(name)}',
            f'"last_by_subj":"{world.some_filter(name)}"',
            f'"seq":{world.some_sequence(name)},"next_by_subj":"{world.some_filter(name)}"',
        ]
    )
    if world.chance(0.5):
        return [f"api STREAM.MSG.GET.{name} {{{body}}}"]
    return [f"publish $JS.API.DIRECT.GET.{name} '{{{body}}}'"]


def read_direct(world):
    name = world.some_stream()
    if world.chance(0.4):
        return [f"publish $JS.API.DIRECT.GET.{name}.{world.some_subject(name)} ''"]
    body = world.random.choice(
        [
            f'"batch":{world.random.randint(1, 4)},"seq":{world.some_sequence(name)}',
            f'"batch":3,"seq":1,"next_by_subj":"{world.some_filter(name)}"',
            f'"multi_last":["{world.some_filter(name)}"]',
            # nats-server's file store finds nothing when this is beyond its last sequence.
            f'"multi_last":["{world.some_subject(name)}","{world.some_subject(name)}"],"up_to_seq":@last:{name}{world.random.choice(["", "-1", "-2"])}',
        ]
    )
    return [f"direct {name} {{{body}}}"]


def delete_message(world):
    name = world.some_stream()
    erase = world.random.choice(["", ',"no_erase":true'])
    return [f'api STREAM.MSG.DELETE.{name} {{"seq":{world.some_sequence(name)}{erase}}}']


def create_consumer(world):
    stream, name = world.some_stream(), world.random.choice(CONSUMERS)
    if stream in world.consumers:
        world.consumers[stream].add(name)
    body = {"stream_name": stream, "config": configs.consumer(world, stream, name)}
    if world.chance(0.2):
        body["action"] = world.random.choice(["create", "update"])
    return [api(f"CONSUMER.CREATE.{stream}.{name}", body)]


def update_consumer(world):
    stream, name = world.some_consumer()
    return [f"reconsumer {stream} {name} {json.dumps(configs.consumer_changes(world, stream, name))}"]


def delete_consumer(world):
    stream, name = world.some_consumer()
    world.consumers.get(stream, set()).discard(name)
    return [api(f"CONSUMER.DELETE.{stream}.{name}")]


def manage_consumer(world):
    stream, name = world.some_consumer()
    return [
        world.random.choice(
            [
                api(f"CONSUMER.INFO.{stream}.{name}"),
                api(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": "2098-01-01T00:00:00Z"}),
                api(f"CONSUMER.PAUSE.{stream}.{name}", {}),
                api(f"CONSUMER.PAUSE.{stream}.{name}", {}),
                api(f"CONSUMER.RESET.{stream}.{name}", {}),
                f'api CONSUMER.RESET.{stream}.{name} {{"seq":{world.some_sequence(stream)}}}',
            ]
        )
    ]


def pull(world):
    stream, name = world.some_consumer()
    body = {"batch": world.random.choice([1, 1, 2, 3, 10]), "no_wait": True}
    if world.chance(0.1):
        body["max_bytes"] = world.random.choice([60, 200])
    return [f"pull {stream} {name} {json.dumps(body)}"]


def ack(world):
    """Only what the state shows may go unconfirmed: nats-server handles acks and pulls side by side."""
    return [f"ack {_taken(world)} +ACK"] if world.chance(0.3) else confirmed_ack(world)


def confirmed_ack(world):
    body = world.random.choice(["+ACK", "+ACK", "+ACK", "", "-NAK", "-NAK", "-TERM", "-TERM why", "+WPI", "junk"])
    return [f"acksync {_taken(world)} {body}"]


def ack_next(world):
    return [f'acknext {_taken(world)} +NXT {{"batch":1,"no_wait":true}}']


def _taken(world):
    return f"@taken-{world.random.choice([0, 0, 0, 1, 1, 2, 3, 5, 8])}"


TABLE = {
    publish: 30,
    publish_batch: 2,
    pull: 16,
    ack: 18,
    ack_next: 2,
    read_message: 3,
    read_direct: 3,
    delete_message: 3,
    purge_stream: 2,
    create_stream: 2,
    update_stream: 3,
    delete_stream: 0.5,
    read_streams: 3,
    create_consumer: 5,
    update_consumer: 3,
    delete_consumer: 1.5,
    manage_consumer: 4,
}
# What may be the last step before a kill: single ones that are answered when they can no longer be lost.
CONFIRMED = [None, publish, confirmed_ack, delete_message, update_stream, create_consumer, update_consumer, delete_consumer]
CHOICES, WEIGHTS = list(TABLE), list(TABLE.values())
