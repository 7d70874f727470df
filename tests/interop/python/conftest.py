"""One server for the suite; async tests run on a loop of their own; every test has its own stream and bucket names."""

import asyncio
import inspect
import itertools
import os

import nats
import pytest

from harness.server import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def name():
    """A name that no other test uses."""
    return f"T{os.getpid()}x{next(_numbers)}"


@pytest.fixture
def connect(server):
    """`await connect()` opens a connection that is closed with the test."""

    def open_connection(**options):
        return nats.connect(server.url, allow_reconnect=False, **options)

    return open_connection


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(asyncio.wait_for(_closing(pyfuncitem.obj, arguments), 30))
    return True


async def _closing(test, arguments):
    """Connections opened through `connect` are closed on the loop that made them."""
    opened = []
    if "connect" in arguments:
        connect = arguments["connect"]

        async def remember(**options):
            opened.append(await connect(**options))
            return opened[-1]

        arguments["connect"] = remember
    try:
        await test(**arguments)
    finally:
        for connection in opened:
            if not connection.is_closed:
                await connection.close()
