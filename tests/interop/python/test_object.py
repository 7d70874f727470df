"""Object store with nats-py."""

import io
import os

import pytest
from nats.js.api import ObjectMeta
from nats.js.errors import ObjectNotFoundError


async def test_put_and_get(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    data = os.urandom(700_000)
    info = await store.put("file", data)
    assert (info.size, info.chunks) == (len(data), 6)
    assert (await store.get("file")).data == data


async def test_an_empty_object(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("empty", b"")
    assert (await store.get("empty")).data in (b"", None)


async def test_put_again_replaces(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("file", io.BytesIO(b"first version"))
    await store.put("file", b"second")
    assert (await store.get("file")).data == b"second"
    assert (await js.stream_info(f"OBJ_{name}")).state.messages == 2, "one chunk and one description are left"


async def test_list_and_delete(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("a", b"1")
    await store.put("b", b"2")
    assert sorted(info.name for info in await store.list()) == ["a", "b"]
    await store.delete("a")
    with pytest.raises(ObjectNotFoundError):
        await store.get("a")
    assert [info.name for info in await store.list(ignore_deletes=True)] == ["b"]


async def test_watch(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("a", b"1")
    watcher = await store.watch()
    assert (await watcher.updates(timeout=2)).name == "a"
    assert await watcher.updates(timeout=2) is None
    await store.put("b", b"2")
    assert (await watcher.updates(timeout=2)).name == "b"
    await watcher.stop()


async def test_meta_update_and_status(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("a", b"x")
    await store.update_meta("a", ObjectMeta(name="a", description="described"))
    assert (await store.get_info("a")).description == "described"
    assert (await store.status()).bucket == name


async def test_seal(connect, name):
    js = (await connect()).jetstream()
    store = await js.create_object_store(name)
    await store.put("a", b"1")
    await store.seal()
    with pytest.raises(Exception):
        await store.put("b", b"2")
    assert (await store.get("a")).data == b"1"


async def test_delete_store(connect, name):
    js = (await connect()).jetstream()
    await js.create_object_store(name)
    assert await js.delete_object_store(name)
