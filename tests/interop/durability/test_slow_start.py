"""A start that takes long says so while it goes on."""

import os
import signal
import subprocess
import threading

import pytest

from harness.server import Server
from harness.wait import until
from harness.wire import Client

MESSAGES = 100
SIZE = 1_000_000
PATIENCE = 60


def fill(server):
    """What takes long to read from a slow disk."""
    if server.kind != "headwater":
        pytest.skip("the words are our own")
    with Client(server.port) as client:
        created = client.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        assert "error" not in created, created
        for _ in range(MESSAGES):
            client.request("s", b"x" * SIZE)


def test_a_start_from_a_slow_disk_tells_how_far_it_is(disk):
    with Server(store=os.path.join(disk.path, "data")) as server:
        fill(server)
        assert "recovering the store" not in server.log(), "a quick start says nothing"
        server.kill()
        disk.slow(20)
        told = threading.Thread(target=hurry_once_told, args=(server, disk))
        told.start()
        server.start(seconds=PATIENCE)
        told.join()
        with Client(server.port) as client:
            assert client.api("STREAM.INFO.S")["state"]["messages"] == MESSAGES
        lines = [line for line in server.log().splitlines() if "recovering the store" in line]
        assert lines and all("done=" in line and "total=" in line for line in lines), server.log()
        assert "store recovered" in server.log()


def test_a_slow_start_ends_as_soon_as_it_is_told_to(disk):
    """An orchestrator that changes its mind used to wait for the whole store to be read."""
    with Server(store=os.path.join(disk.path, "data")) as server:
        fill(server)
        server.kill()
        disk.slow(20)
        with open(server.log_path, "ab") as log:
            starting = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: "recovering the store" in server.log(), PATIENCE, "a word on how far the start is")
            starting.send_signal(signal.SIGTERM)
            # One read that is under way may end first.
            assert starting.wait(10) == 0
        finally:
            disk.slow(0)
            starting.kill()
        assert "Server is ready" not in server.log().split("recovering the store")[-1]
        server.start(seconds=PATIENCE)
        with Client(server.port) as client:
            assert client.api("STREAM.INFO.S")["state"]["messages"] == MESSAGES


def test_a_reload_that_opens_a_store_ends_as_soon_as_it_is_told_to(disk):
    """SIGTERM used to wait until a store that a reload switched on was read."""
    with Server(store=os.path.join(disk.path, "data")) as server:
        fill(server)
        server.kill()
        config = server.directory / "switched.conf"
        config.write_text(f"listen: '127.0.0.1:{server.port}'\n")
        ready = server.log().count("Server is ready") + 1
        without = [server.command()[0], "-c", config]
        with open(server.log_path, "ab") as log:
            running = subprocess.Popen(without, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: server.log().count("Server is ready") == ready, PATIENCE, "a server without streams")
            with open(config, "a") as file:
                file.write(f"jetstream {{ store_dir: '{server.store}' }}\n")
            disk.slow(20)
            running.send_signal(signal.SIGHUP)
            until(lambda: "recovering the store" in server.log(), PATIENCE, "a word on how far the reload is")
            with Client(server.port) as client:
                assert client.request("nobody", b"") is not None, "others are served meanwhile"
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0
        finally:
            disk.slow(0)
            running.kill()
        server.start(seconds=PATIENCE)
        with Client(server.port) as client:
            assert client.api("STREAM.INFO.S")["state"]["messages"] == MESSAGES


def hurry_once_told(server, disk):
    """What is waited for has come: the rest may go at full speed."""
    try:
        until(lambda: "recovering the store" in server.log(), PATIENCE, "a word on how far the start is")
    finally:
        disk.slow(0)
