"""JetStream consumers with nats-py: pull, push, ordered, every kind of ack, redelivery."""

import asyncio

import pytest
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from harness import wait_async


@pytest.fixture
def filled(connect, name):
    """`await filled(n)`: a JetStream context and a stream with n messages."""

    async def fill(count=0):
        js = (await connect()).jetstream()
        await js.add_stream(name=name, subjects=[f"{name}.>"])
        for number in range(count):
            await js.publish(f"{name}.{number % 2}", str(number).encode())
        return js

    return fill


async def test_fetch(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(25):
        await js.publish(f"{name}.a", str(number).encode())
    subscription = await js.pull_subscribe(f"{name}.>", durable="d")
    received = []
    while len(received) < 25:
        for message in await subscription.fetch(10, timeout=2):
            received.append(int(message.data))
            await message.ack()
    assert received == list(range(25))
    with pytest.raises(NatsTimeout):
        await subscription.fetch(1, timeout=0.3)
    info = await subscription.consumer_info()
    assert (info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq) == (0, 0, 25)


async def test_fetch_waits_for_new_messages(connect, name):
    client = await connect()
    js = client.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    subscription = await js.pull_subscribe(f"{name}.>", durable="d")
    waiting = asyncio.create_task(subscription.fetch(1, timeout=5))

    async def is_waiting():
        return (await subscription.consumer_info()).num_waiting == 1

    await wait_async.until(is_waiting, 3, "the request to wait")
    await js.publish(f"{name}.a", b"late")
    [message] = await waiting
    assert message.data == b"late"


async def test_message_metadata(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"1")
    await js.publish(f"{name}.a", b"2")
    subscription = await js.pull_subscribe(f"{name}.>", durable="d")
    [message] = await subscription.fetch(1, timeout=2)
    metadata = message.metadata
    assert (metadata.stream, metadata.consumer) == (name, "d")
    assert (metadata.sequence.stream, metadata.sequence.consumer) == (1, 1)
    assert (metadata.num_pending, metadata.num_delivered) == (1, 1)


async def test_nak_redelivers(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"x")
    subscription = await js.pull_subscribe(f"{name}.>", durable="d")
    [message] = await subscription.fetch(1, timeout=2)
    await message.nak()
    [again] = await subscription.fetch(1, timeout=2)
    assert again.metadata.num_delivered == 2
    await again.nak(delay=0.2)
    with pytest.raises(NatsTimeout):
        await subscription.fetch(1, timeout=0.1)
    [third] = await subscription.fetch(1, timeout=3)
    assert third.metadata.num_delivered == 3


async def test_term_ends_redelivery(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"x")
    config = ConsumerConfig(durable_name="d", ack_wait=0.2, ack_policy=AckPolicy.EXPLICIT)
    subscription = await js.pull_subscribe(f"{name}.>", durable="d", config=config)
    [message] = await subscription.fetch(1, timeout=2)
    await message.term()
    with pytest.raises(NatsTimeout):
        await subscription.fetch(1, timeout=0.5)
    assert (await subscription.consumer_info()).num_ack_pending == 0


async def test_in_progress_resets_the_timer(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"x")
    config = ConsumerConfig(durable_name="d", ack_wait=0.4, ack_policy=AckPolicy.EXPLICIT)
    subscription = await js.pull_subscribe(f"{name}.>", durable="d", config=config)
    [message] = await subscription.fetch(1, timeout=2)
    for _ in range(6):
        await asyncio.sleep(0.15)
        await message.in_progress()
    await message.ack_sync()
    with pytest.raises(NatsTimeout):
        await subscription.fetch(1, timeout=0.6)


async def test_ack_wait_redelivers(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"x")
    config = ConsumerConfig(durable_name="d", ack_wait=0.3, max_deliver=2, ack_policy=AckPolicy.EXPLICIT)
    subscription = await js.pull_subscribe(f"{name}.>", durable="d", config=config)
    counts = []
    for _ in range(2):
        [message] = await subscription.fetch(1, timeout=3)
        counts.append(message.metadata.num_delivered)
    assert counts == [1, 2]
    with pytest.raises(NatsTimeout):
        await subscription.fetch(1, timeout=0.8)


async def test_push_subscription(connect, name):
    client = await connect()
    js = client.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"before")
    subscription = await js.subscribe(f"{name}.>", durable="p")
    await js.publish(f"{name}.a", b"after")
    received = []
    for _ in range(2):
        message = await subscription.next_msg(2)
        await message.ack()
        received.append(message.data)
    assert received == [b"before", b"after"]
    assert (await js.consumer_info(name, "p")).push_bound


async def test_push_queue_group(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    subscriptions = [await js.subscribe(f"{name}.>", "group", durable="group") for _ in range(2)]
    for number in range(20):
        await js.publish(f"{name}.a", str(number).encode())
    seen = set()

    async def drain():
        for subscription in subscriptions:
            while subscription.pending_msgs:
                message = await subscription.next_msg(1)
                seen.add(int(message.data))
                await message.ack()
        return len(seen) == 20

    await wait_async.until(drain, 5, "all messages in the group")


async def test_ordered_consumer(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(200):
        await js.publish(f"{name}.a", str(number).encode())
    subscription = await js.subscribe(f"{name}.>", ordered_consumer=True)
    received = [int((await subscription.next_msg(3)).data) for _ in range(200)]
    assert received == list(range(200))


async def test_ordered_consumer_survives_the_loss_of_its_consumer(connect, name):
    client = await connect()
    js = client.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(10):
        await js.publish(f"{name}.a", str(number).encode())
    subscription = await js.subscribe(f"{name}.>", ordered_consumer=True, idle_heartbeat=0.3)
    received = [int((await subscription.next_msg(3)).data) for _ in range(10)]
    [info] = await js.consumers_info(name)
    await js.delete_consumer(name, info.name)
    for number in range(10, 15):
        await js.publish(f"{name}.a", str(number).encode())
    received += [int((await subscription.next_msg(10)).data) for _ in range(5)]
    assert received == list(range(15))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (dict(deliver_policy=DeliverPolicy.ALL), [0, 1, 2, 3]),
        (dict(deliver_policy=DeliverPolicy.LAST), [3]),
        (dict(deliver_policy=DeliverPolicy.NEW), []),
        (dict(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=3), [2, 3]),
        (dict(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, filter_subject="F.>"), [2, 3]),
        (dict(filter_subject="F.1"), [1, 3]),
        (dict(filter_subjects=["F.0", "F.1"]), [0, 1, 2, 3]),
    ],
)
async def test_deliver_policies(filled, name, policy, expected):
    js = await filled(4)
    if "filter_subject" in policy:
        policy = policy | {"filter_subject": policy["filter_subject"].replace("F", name)}
    if "filter_subjects" in policy:
        policy = policy | {"filter_subjects": [subject.replace("F", name) for subject in policy["filter_subjects"]]}
    await js.add_consumer(name, ConsumerConfig(durable_name="d", ack_policy=AckPolicy.EXPLICIT, **policy))
    info = await js.consumer_info(name, "d")
    assert info.num_pending == len(expected)
    subscription = await js.pull_subscribe_bind("d", name)
    received = [int(message.data) for message in await subscription.fetch(4, timeout=1)] if expected else []
    assert received == expected


async def test_consumer_life_cycle(filled, name):
    js = await filled(1)
    await js.add_consumer(name, ConsumerConfig(durable_name="a", ack_policy=AckPolicy.EXPLICIT))
    await js.add_consumer(name, ConsumerConfig(durable_name="b", ack_policy=AckPolicy.EXPLICIT))
    assert {info.name for info in await js.consumers_info(name)} == {"a", "b"}
    assert await js.delete_consumer(name, "a")
    with pytest.raises(NotFoundError):
        await js.consumer_info(name, "a")


async def test_max_ack_pending_holds_back(filled, name):
    js = await filled(5)
    config = ConsumerConfig(durable_name="d", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=2)
    subscription = await js.pull_subscribe(f"{name}.>", durable="d", config=config)
    messages = await subscription.fetch(5, timeout=0.5)
    assert len(messages) == 2
    for message in messages:
        await message.ack_sync()
    assert len(await subscription.fetch(5, timeout=0.5)) == 2
