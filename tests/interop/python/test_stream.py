"""JetStream streams with nats-py: life cycle, publish acks, dedupe, expectations, reads and removals."""

import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError


@pytest.mark.parametrize("storage", [StorageType.FILE, StorageType.MEMORY])
async def test_life_cycle(connect, name, storage):
    js = (await connect()).jetstream()
    created = await js.add_stream(name=name, subjects=[f"{name}.>"], storage=storage, max_msgs=100)
    assert created.config.storage == storage and created.config.max_msgs == 100
    updated = await js.update_stream(name=name, subjects=[f"{name}.>"], storage=storage, max_msgs=50)
    assert updated.config.max_msgs == 50
    assert (await js.stream_info(name)).state.messages == 0
    assert name in [info.config.name for info in await js.streams_info()]
    assert await js.find_stream_name_by_subject(f"{name}.x") == name
    assert await js.delete_stream(name)
    with pytest.raises(NotFoundError):
        await js.stream_info(name)


async def test_publish_acks(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    acks = [await js.publish(f"{name}.a", b"x") for _ in range(3)]
    assert [ack.seq for ack in acks] == [1, 2, 3]
    assert {ack.stream for ack in acks} == {name}


async def test_asynchronous_publish(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    futures = [await js.publish_async(f"{name}.a", str(number).encode()) for number in range(500)]
    await js.publish_async_completed()
    assert sorted([(await future).seq for future in futures]) == list(range(1, 501))


async def test_duplicates_are_recognised(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    first = await js.publish(f"{name}.a", b"x", headers={"Nats-Msg-Id": "one"})
    again = await js.publish(f"{name}.a", b"x", headers={"Nats-Msg-Id": "one"})
    assert (first.duplicate, again.duplicate) == (None, True)
    assert again.seq == first.seq
    assert (await js.stream_info(name)).state.messages == 1


async def test_expectations(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    await js.publish(f"{name}.a", b"x", headers={"Nats-Expected-Last-Sequence": "0"})
    with pytest.raises(BadRequestError) as wrong_sequence:
        await js.publish(f"{name}.a", b"x", headers={"Nats-Expected-Last-Sequence": "7"})
    assert wrong_sequence.value.err_code == 10071
    with pytest.raises(BadRequestError) as wrong_stream:
        await js.publish(f"{name}.a", b"x", stream="OTHER")
    assert wrong_stream.value.err_code == 10060
    with pytest.raises(BadRequestError) as wrong_subject_sequence:
        await js.publish(f"{name}.b", b"x", headers={"Nats-Expected-Last-Subject-Sequence": "1"})
    assert wrong_subject_sequence.value.err_code == 10071


async def test_reads(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"], allow_direct=True)
    await js.publish(f"{name}.a", b"one", headers={"Key": "value"})
    await js.publish(f"{name}.b", b"two")
    await js.publish(f"{name}.a", b"three")
    message = await js.get_msg(name, 1)
    assert (message.subject, message.data, message.headers["Key"]) == (f"{name}.a", b"one", "value")
    assert (await js.get_last_msg(name, f"{name}.a")).seq == 3
    assert (await js.get_msg(name, 1, direct=True)).data == b"one"
    assert (await js.get_last_msg(name, f"{name}.b", direct=True)).data == b"two"
    assert (await js.get_msg(name, seq=2, next=True, subject=f"{name}.a")).seq == 3
    with pytest.raises(NotFoundError):
        await js.get_msg(name, 9)


async def test_removals(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(6):
        await js.publish(f"{name}.{number % 2}", b"x")
    assert await js.delete_msg(name, 3)
    with pytest.raises(NotFoundError):
        await js.get_msg(name, 3)
    await js.purge_stream(name, subject=f"{name}.1")
    state = (await js.stream_info(name)).state
    assert (state.messages, state.last_seq) == (2, 6)
    await js.purge_stream(name, keep=1)
    assert (await js.stream_info(name)).state.messages == 1
    await js.purge_stream(name)
    assert (await js.stream_info(name)).state.first_seq == 7


async def test_limits(connect, name):
    js = (await connect()).jetstream()
    config = StreamConfig(name=name, subjects=[f"{name}.>"], max_msgs=2, discard=DiscardPolicy.NEW, max_msg_size=10)
    await js.add_stream(config)
    await js.publish(f"{name}.a", b"x")
    await js.publish(f"{name}.a", b"x")
    with pytest.raises(APIError) as full:
        await js.publish(f"{name}.a", b"x")
    assert full.value.description == "maximum messages exceeded"
    with pytest.raises(APIError) as too_large:
        await js.publish(f"{name}.a", b"x" * 11)
    assert too_large.value.err_code == 10054


async def test_work_queue_removes_what_is_acknowledged(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"], retention=RetentionPolicy.WORK_QUEUE)
    await js.publish(f"{name}.a", b"x")
    subscription = await js.pull_subscribe(f"{name}.>", durable="worker")
    [message] = await subscription.fetch(1, timeout=2)
    await message.ack_sync()
    assert (await js.stream_info(name)).state.messages == 0


async def test_account_information(connect, name):
    js = (await connect()).jetstream()
    before = await js.account_info()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    after = await js.account_info()
    assert after.streams == before.streams + 1


async def test_subjects_may_not_overlap(connect, name):
    js = (await connect()).jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    with pytest.raises(BadRequestError) as overlap:
        await js.add_stream(name=f"{name}b", subjects=[f"{name}.a"])
    assert overlap.value.err_code == 10065


async def test_mirror_and_source(connect, name):
    js = (await connect()).jetstream()
    from nats.js.api import StreamSource

    await js.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(10):
        await js.publish(f"{name}.a", str(number).encode())
    await js.add_stream(name=f"{name}m", mirror=StreamSource(name=name))
    await js.add_stream(name=f"{name}s", sources=[StreamSource(name=name)])
    from harness import wait_async

    for copy in (f"{name}m", f"{name}s"):
        await wait_async.until(lambda copy=copy: has_messages(js, copy, 10), 10, f"{copy} to catch up")
    assert (await js.get_msg(f"{name}m", 5)).data == b"4"


async def has_messages(js, stream, count):
    return (await js.stream_info(stream)).state.messages == count
