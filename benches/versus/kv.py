"""Puts and gets keys with nats-py for a while: `kv.py PORT CLIENTS SECONDS`; prints `put_rate N` and `get_rate N`."""

import asyncio
import sys
import time

import nats


async def timed(operation, clients, seconds):
    """Operations per second of all clients together, each doing one after the other."""
    end = time.monotonic() + seconds

    async def work(number):
        count = 0
        while time.monotonic() < end:
            await operation(number, count)
            count += 1
        return count

    begin = time.monotonic()
    counts = await asyncio.gather(*(work(number) for number in range(clients)))
    return sum(counts) / (time.monotonic() - begin)


async def main(port, clients, seconds):
    connections = [await nats.connect(f"nats://127.0.0.1:{port}") for _ in range(clients)]
    bucket = await connections[0].jetstream().create_key_value(bucket="versus", history=1)
    buckets = [bucket] + [await connection.jetstream().key_value("versus") for connection in connections[1:]]
    value = b"x" * 128

    async def put(number, count):
        await buckets[number].put(f"key.{number}.{count % 100}", value)

    async def get(number, count):
        entry = await buckets[number].get(f"key.{number}.{count % 10}")
        assert entry.value == value

    for number in range(clients):
        for count in range(10):
            await put(number, count)
    print("put_rate", await timed(put, clients, seconds))
    print("get_rate", await timed(get, clients, seconds))
    for connection in connections:
        await connection.close()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
