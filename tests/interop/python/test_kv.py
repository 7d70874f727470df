"""Key-value buckets with nats-py."""

import asyncio

import pytest
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError


async def test_put_and_get(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name, history=5)
    first = await kv.put("key", b"one")
    second = await kv.put("key", b"two")
    entry = await kv.get("key")
    assert (entry.value, entry.revision) == (b"two", second)
    assert (await kv.get("key", revision=first)).value == b"one"
    with pytest.raises(KeyNotFoundError):
        await kv.get("other")


async def test_create_and_update(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name)
    revision = await kv.create("key", b"one")
    with pytest.raises(KeyWrongLastSequenceError):
        await kv.create("key", b"again")
    newer = await kv.update("key", b"two", last=revision)
    with pytest.raises(KeyWrongLastSequenceError):
        await kv.update("key", b"three", last=revision)
    assert (await kv.get("key")).revision == newer


async def test_delete_and_create_again(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name, history=5)
    await kv.put("key", b"one")
    await kv.delete("key")
    with pytest.raises(KeyNotFoundError):
        await kv.get("key")
    await kv.create("key", b"two")
    assert (await kv.get("key")).value == b"two"


async def test_purge_leaves_one_marker(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name, history=5)
    for value in (b"1", b"2", b"3"):
        await kv.put("key", value)
    await kv.purge("key")
    history = await kv.history("key")
    assert [entry.operation for entry in history] == ["PURGE"]


async def test_history_and_keys(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name, history=3)
    with pytest.raises(NoKeysError):
        await kv.keys()
    for value in (b"1", b"2", b"3", b"4"):
        await kv.put("a", value)
    await kv.put("b.c", b"x")
    assert [entry.value for entry in await kv.history("a")] == [b"2", b"3", b"4"]
    assert sorted(await kv.keys()) == ["a", "b.c"]
    status = await kv.status()
    assert (status.bucket, status.values, status.history) == (name, 4, 3)


async def test_watch(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name)
    await kv.put("a.1", b"one")
    await kv.put("b.1", b"other")
    watcher = await kv.watch("a.*")
    first = await watcher.updates(timeout=2)
    assert (first.key, first.value) == ("a.1", b"one")
    assert await watcher.updates(timeout=2) is None, "the end of the initial values"
    await kv.put("a.2", b"two")
    await kv.delete("a.1")
    second, third = await watcher.updates(timeout=2), await watcher.updates(timeout=2)
    assert (second.key, second.value) == ("a.2", b"two")
    assert (third.key, third.operation) == ("a.1", "DEL")
    await watcher.stop()


async def test_watch_of_an_empty_bucket_ends_at_once(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name)
    watcher = await kv.watchall()
    assert await watcher.updates(timeout=2) is None
    await watcher.stop()


async def test_keys_expire_with_the_bucket(connect, name):
    js = (await connect()).jetstream()
    kv = await js.create_key_value(bucket=name, ttl=0.5)
    await kv.put("key", b"soon gone")
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        try:
            await kv.get("key")
        except KeyNotFoundError:
            break
        assert asyncio.get_running_loop().time() < deadline, "the key never expired"
        await asyncio.sleep(0.05)


async def test_buckets_come_and_go(connect, name):
    js = (await connect()).jetstream()
    await js.create_key_value(bucket=name)
    assert (await (await js.key_value(name)).status()).bucket == name
    assert await js.delete_key_value(name)
    with pytest.raises(BucketNotFoundError):
        await js.key_value(name)
