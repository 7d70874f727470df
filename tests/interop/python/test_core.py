"""Core messaging with nats-py: publish, subscribe, queue groups, requests, headers, drain."""

import asyncio

import nats
import pytest
from nats.errors import MaxPayloadError, NoRespondersError

from harness import wait_async


async def test_publish_and_subscribe(connect):
    client = await connect()
    subscription = await client.subscribe("a.*")
    await client.publish("a.b", b"hello")
    await client.publish("x.b", b"not for us")
    await client.publish("a.c", b"")
    first, second = [await subscription.next_msg(2) for _ in range(2)]
    assert (first.subject, first.data) == ("a.b", b"hello")
    assert (second.subject, second.data) == ("a.c", b"")


async def test_order_of_many_messages(connect):
    publisher, subscriber = await connect(), await connect()
    subscription = await subscriber.subscribe("many.>")
    await subscriber.flush()
    for number in range(5000):
        await publisher.publish(f"many.{number % 7}", str(number).encode())
    received = [int((await subscription.next_msg(5)).data) for _ in range(5000)]
    assert received == list(range(5000))


async def test_a_queue_group_shares_messages(connect):
    client = await connect()
    counts = [0, 0, 0]

    def member(index):
        async def count(_):
            counts[index] += 1

        return count

    for index in range(3):
        await client.subscribe("work", queue="workers", cb=member(index))
    for _ in range(300):
        await client.publish("work", b"")
    await client.flush()
    for _ in range(200):
        if sum(counts) == 300:
            break
        await asyncio.sleep(0.01)
    assert sum(counts) == 300
    assert all(counts), counts


async def test_request_and_reply(connect):
    client = await connect()

    async def answer(message):
        await message.respond(b"re: " + message.data)

    await client.subscribe("help", cb=answer)
    reply = await client.request("help", b"me", timeout=2)
    assert reply.data == b"re: me"


async def test_old_style_request(connect):
    client = await connect()

    async def answer(message):
        await client.publish(message.reply, b"yes")

    await client.subscribe("old", cb=answer)
    assert (await client.request("old", b"", timeout=2, old_style=True)).data == b"yes"


async def test_a_request_without_responders_fails_at_once(connect):
    client = await connect()
    with pytest.raises(NoRespondersError):
        await client.request("nobody.there", b"", timeout=5)


async def test_headers_arrive(connect):
    client = await connect()
    subscription = await client.subscribe("with.headers")
    await client.publish("with.headers", b"body", headers={"Colour": "blue", "empty": ""})
    message = await subscription.next_msg(2)
    assert message.headers == {"Colour": "blue", "empty": ""}
    assert message.data == b"body"


async def test_auto_unsubscribe(connect):
    client = await connect()
    subscription = await client.subscribe("limited")
    await subscription.unsubscribe(limit=2)
    for number in range(4):
        await client.publish("limited", str(number).encode())
    await client.flush()
    assert [(await subscription.next_msg(1)).data for _ in range(2)] == [b"0", b"1"]
    with pytest.raises(Exception):
        await subscription.next_msg(0.2)


async def test_drain_handles_what_was_received(connect):
    publisher, client = await connect(), await connect()
    seen = []

    async def slow(message):
        await asyncio.sleep(0.001)
        seen.append(message.data)

    await client.subscribe("drained", cb=slow)
    await client.flush()
    for _ in range(50):
        await publisher.publish("drained", b"x")
    await publisher.flush()

    async def arrived():
        return client.stats["in_msgs"] == 50

    await wait_async.until(arrived, 5, "all messages")
    await client.drain()
    assert len(seen) == 50
    assert client.is_closed


async def test_no_echo(connect):
    silent, other = await connect(no_echo=True), await connect()
    subscription = await silent.subscribe("echo")
    await silent.flush()
    await silent.publish("echo", b"own")
    await silent.flush()
    await other.publish("echo", b"other")
    assert (await subscription.next_msg(2)).data == b"other"


async def test_payload_limit_is_known_to_the_client(connect):
    client = await connect()
    assert client.max_payload == 1024 * 1024
    with pytest.raises(MaxPayloadError):
        await client.publish("big", b"x" * (client.max_payload + 1))
    subscription = await client.subscribe("big")
    await client.publish("big", b"x" * client.max_payload)
    assert len((await subscription.next_msg(5)).data) == client.max_payload


async def test_server_information(connect):
    client = await connect()
    assert client.connected_server_version.major == 2
    assert client.connected_server_version.minor >= 10
    assert await client.rtt() > 0


async def test_pedantic_and_verbose(connect):
    client = await connect(pedantic=True, verbose=True)
    subscription = await client.subscribe("loud")
    await client.publish("loud", b"1")
    assert (await subscription.next_msg(2)).data == b"1"


async def test_reconnect_restores_subscriptions():
    # A server of its own: it is restarted.
    from harness.server import Server

    with Server() as server:
        back = asyncio.Event()

        async def reconnected():
            back.set()

        client = await nats.connect(server.url, reconnect_time_wait=0.05, max_reconnect_attempts=-1, reconnected_cb=reconnected)
        subscription = await client.subscribe("after.restart")
        await client.flush()
        server.kill()
        server.start()
        await asyncio.wait_for(back.wait(), 10)
        await client.publish("after.restart", b"still here")
        assert (await subscription.next_msg(5)).data == b"still here"
        await client.close()
