"""What signals do to a server that has clients."""

import json
import os
import signal
import time
import urllib.error
import urllib.request

import pytest

from harness import wait
from harness.wire import Client, Closed

LAME_DUCK = "lame_duck_duration: '30s'\nlame_duck_grace_period: '2s'\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_exits_with_0(serve, number):
    server = serve()
    with Client(server.port) as client:
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        with pytest.raises(Closed):
            while True:
                client.next(5)
    assert "Server Exiting.." in server.log()


def test_a_log_that_was_moved_away_is_opened_again(serve):
    server = serve("logfile: '@dir/server.out'\n")
    log, moved = server.directory / "server.out", server.directory / "moved.out"
    wait.until(lambda: "Server is ready" in log.read_text(), 10, "the log of the start")
    os.rename(log, moved)
    server.process.send_signal(signal.SIGUSR1)
    wait.until(lambda: log.exists() and "File log re-opened" in log.read_text(), 10, "the new log")
    assert "Server is ready" in moved.read_text()


def test_a_reload_that_is_asked_for_during_a_start_is_done_after_it(serve):
    """A start takes as long as the store is large; who changed the configuration meanwhile was not heard."""

    def meanwhile(server):
        server.write("max_connections: 7\n" + server.config)
        server.process.send_signal(signal.SIGHUP)

    server = serve("pid_file: '@dir/pid'\n", meanwhile=meanwhile)
    wait.until(lambda: "Reloaded server configuration" in server.log(), 10, "the reload")
    assert "Reloaded: max_connections = 7" in server.log()


def test_logs_are_cut_by_size_and_only_so_many_are_kept(serve):
    server = serve("logfile: '@dir/server.out'\nlogfile_size_limit: 2000\nlogfile_max_num: 3\n")

    def backups():
        return [name for name in os.listdir(server.directory) if name.startswith("server.out.")]

    for _ in range(100):
        with Client(server.port) as client:
            client.send(b"NONSENSE\r\n")
    wait.until(lambda: len(backups()) == 2, 10, "two backups beside the log")


def test_lame_duck_mode_runs_its_course_whoever_terminates_meanwhile(serve):
    """A preStop hook starts lame duck mode, and the orchestrator sends SIGTERM as soon as the hook has ended: that used
    to cut the clients off at once."""
    server = serve("http: 127.0.0.1:@http\n" + LAME_DUCK)
    clients = [Client(server.port) for _ in range(3)]
    began = time.monotonic()
    server.process.send_signal(signal.SIGUSR2)
    for client in clients:
        while not (frame := client.next()).args.startswith("{") or not json.loads(frame.args).get("ldm"):
            pass
    # Who comes in the very moment is reset.
    with pytest.raises((OSError, Closed)):
        Client(server.port)
    server.process.send_signal(signal.SIGTERM)
    assert health(server) == 500, "nobody should be sent here any more"
    # Who is still there is served.
    sid = clients[0].subscribe("a")
    clients[0].publish("a", "x")
    assert clients[0].messages(sid, count=1)[0].payload == b"x"
    assert server.process.wait(30) == 0
    assert time.monotonic() - began > 2, "the grace period"
    assert "Entering lame duck mode, stop accepting new clients" in server.log()


def health(server):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/healthz") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
