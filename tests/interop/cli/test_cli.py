"""A tour of the `nats` program: every command that a single server must support, judged by its exit code and output."""

import json
import os

import pytest

from harness import wait


def test_publish_and_subscribe(nats):
    listener = nats.start("sub", "tour.>", "--count", "2")
    wait.until(lambda: "tour" in first_line(listener), 10, "the subscriber to be ready")
    nats("pub", "tour.a", "hello", "-H", "Colour:blue")
    nats("pub", "tour.b", "again")
    output, _ = listener.communicate(timeout=10)
    assert "hello" in output and "again" in output and "Colour: blue" in output


def first_line(process):
    return process.stdout.readline()


def test_request_and_reply(nats):
    service = nats.start("reply", "help.me", "at your service", "--count", "1")
    wait.until(lambda: "help.me" in first_line(service), 10, "the service to be ready")
    assert "at your service" in nats("request", "help.me", "please", "--raw")
    service.communicate(timeout=10)


def test_request_without_responders(nats):
    assert "No responders" in nats("request", "nobody.home", "x", "--timeout", "1s")


def test_rtt_and_account(nats):
    assert "nats://" in nats("rtt", "1")
    account = nats("account", "info")
    assert "Account Information" in account and "JetStream Account Information" in account


def test_stream_info_and_list(nats, stream):
    info = nats.json("stream", "info", stream, "--json")
    assert (info["config"]["name"], info["state"]["messages"]) == (stream, 3)
    assert stream in nats("stream", "ls", "--names")
    assert stream in nats("stream", "report")
    assert nats.json("stream", "state", stream, "--json")["state"]["last_seq"] == 3
    assert f"{stream}.2" in nats("stream", "subjects", stream)
    assert stream in nats("stream", "find")


def test_stream_get_and_view(nats, stream):
    assert "message 2" in nats("stream", "get", stream, "2")
    assert "message 3" in nats("stream", "get", stream, "-S", f"{stream}.3")
    # The pager wants a terminal; `script` lends it one.
    page = nats.in_terminal("stream", "view", stream, "10")
    assert all(f"message {number}" in page for number in (1, 2, 3))


def test_stream_edit_and_copy(nats, stream):
    nats("stream", "edit", stream, "--max-msgs", "2", "-f")
    assert nats.json("stream", "info", stream, "--json")["state"]["messages"] == 2
    nats("stream", "copy", stream, f"{stream}c", "--subjects", f"{stream}copy.>")
    assert nats.json("stream", "info", f"{stream}c", "--json")["config"]["max_msgs"] == 2
    nats("stream", "rm", f"{stream}c", "-f")


def test_stream_removals(nats, stream):
    nats("stream", "rmm", stream, "2", "-f")
    assert nats.json("stream", "info", stream, "--json")["state"]["messages"] == 2
    nats("stream", "purge", stream, "--subject", f"{stream}.1", "-f")
    assert nats.json("stream", "info", stream, "--json")["state"]["messages"] == 1
    nats("stream", "purge", stream, "-f")
    assert nats.json("stream", "info", stream, "--json")["state"]["first_seq"] == 4
    nats("stream", "seal", stream, "-f")
    assert "sealed" in nats("pub", f"{stream}.1", "x", "--jetstream", fails=True)


def test_stream_that_does_not_exist(nats):
    # With one name it does not know the program offers a choice, which wants a terminal.
    assert "could not pick a Stream" in nats("stream", "info", "NONE", fails=True)


def test_backup_and_restore(nats, stream, tmp_path):
    nats("stream", "backup", stream, tmp_path / "backup", "--no-progress")
    nats("stream", "rm", stream, "-f")
    nats("stream", "restore", tmp_path / "backup", "--no-progress")
    assert nats.json("stream", "info", stream, "--json")["state"]["messages"] == 3
    assert "message 3" in nats("stream", "get", stream, "3")


def test_consumer_pull(nats, stream):
    nats("consumer", "add", stream, "C", "--pull", "--defaults")
    assert "message 1" in nats("consumer", "next", stream, "C", "--count", "1")
    assert "message 2" in nats("consumer", "next", stream, "C", "--count", "1", "--ack")
    info = nats.json("consumer", "info", stream, "C", "--json")
    assert (info["num_pending"], info["ack_floor"]["stream_seq"]) == (1, 2)
    assert "C" in nats("consumer", "ls", stream, "--names")
    assert "C" in nats("consumer", "report", stream)
    nats("consumer", "pause", stream, "C", "1h", "-f")
    assert nats.json("consumer", "info", stream, "C", "--json")["paused"] is True
    nats("consumer", "resume", stream, "C", "-f")
    nats("consumer", "rm", stream, "C", "-f")
    assert nats("consumer", "ls", stream, "--names").split() == []


def test_consumer_edit_and_copy(nats, stream):
    nats("consumer", "add", stream, "C", "--pull", "--defaults", "--filter", f"{stream}.1")
    nats("consumer", "edit", stream, "C", "--description", "edited", "-f")
    assert nats.json("consumer", "info", stream, "C", "--json")["config"]["description"] == "edited"
    nats("consumer", "copy", stream, "C", "D")
    assert nats.json("consumer", "info", stream, "D", "--json")["config"]["filter_subject"] == f"{stream}.1"


def test_consumer_push(nats, stream):
    nats("consumer", "add", stream, "P", "--target", f"deliver.{stream}", "--ack", "none", "--deliver", "all", "--defaults")
    listener = nats.start("sub", f"deliver.{stream}", "--count", "3")
    output, _ = listener.communicate(timeout=15)
    assert "message 3" in output


def test_ordered_read_of_a_stream(nats, stream):
    output = nats("sub", "--stream", stream, "--all", "--count", "3", "--raw")
    assert output.split("\n")[:3] == ["message 1", "message 2", "message 3"]


def test_kv(nats):
    nats("kv", "add", "TOUR", "--history", "3")
    nats("kv", "put", "TOUR", "a.b", "one")
    nats("kv", "create", "TOUR", "c", "new")
    assert "wrong last sequence" in nats("kv", "create", "TOUR", "c", "again", fails=True)
    assert nats("kv", "get", "TOUR", "a.b", "--raw") == "one"
    nats("kv", "update", "TOUR", "a.b", "two", "1")
    assert sorted(nats("kv", "ls", "TOUR").split()) == ["a.b", "c"]
    assert "one" in nats("kv", "history", "TOUR", "a.b") and "TOUR" in nats("kv", "ls")
    assert "TOUR" in nats("kv", "info", "TOUR")
    nats("kv", "del", "TOUR", "c", "-f")
    nats("kv", "purge", "TOUR", "a.b", "-f")
    nats("kv", "compact", "TOUR", "-f")
    assert "not found" in nats("kv", "get", "TOUR", "c", fails=True)
    nats("kv", "del", "TOUR", "-f")


def test_kv_watch(nats):
    nats("kv", "add", "WATCHED")
    nats("kv", "put", "WATCHED", "k", "one")
    watcher = nats.start("kv", "watch", "WATCHED")
    assert "one" in first_line(watcher)
    nats("kv", "put", "WATCHED", "k", "two")
    assert "two" in first_line(watcher)
    watcher.terminate()
    watcher.wait(10)


def test_object_store(nats, tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(300_000))
    nats("object", "add", "BOX")
    nats("object", "put", "BOX", source, "--name", "file", "--no-progress", "-f")
    assert "file" in nats("object", "ls", "BOX")
    nats("object", "get", "BOX", "file", "--output", tmp_path / "back.bin", "--no-progress", "-f")
    assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
    assert "SHA-256" in nats("object", "info", "BOX", "file")
    nats("object", "rm", "BOX", "file", "-f")
    nats("object", "seal", "BOX", "-f")
    nats("object", "rm", "BOX", "-f")


def test_checks(nats, stream):
    assert nats("server", "check", "connection").startswith("OK")
    assert nats("server", "check", "jetstream").startswith("OK")
    assert nats("server", "check", "stream", "--stream", stream).startswith("OK")
    nats("consumer", "add", stream, "C", "--pull", "--defaults")
    assert nats("server", "check", "consumer", "--stream", stream, "--consumer", "C").startswith("OK")
    nats("kv", "add", "CHECKED")
    assert nats("server", "check", "kv", "--bucket", "CHECKED").startswith("OK")


@pytest.mark.parametrize("words", [
    ("pub", "load"),
    ("js", "pub", "async", "load", "--create", "--purge"),
    ("js", "pub", "sync", "load", "--create"),
    ("js", "pub", "fast", "load", "--create", "--batch", "100"),
    ("js", "ordered"),
    ("js", "consume"),
])
def test_bench_runs(nats, words):
    count = "500" if "sync" in words else "1000"
    assert "msgs/sec" in nats("bench", *words, "--msgs", count, "--no-progress")


def test_bench_fetch_runs(nats):
    # A stream of its own: all consuming benchmarks share the name of their consumer.
    nats("bench", "js", "pub", "async", "fetched", "--stream", "fetched", "--create", "--msgs", "1000", "--no-progress")
    assert "msgs/sec" in nats("bench", "js", "fetch", "--stream", "fetched", "--msgs", "1000", "--no-progress")


@pytest.mark.parametrize("storage", ["file", "memory"])
@pytest.mark.parametrize("kind", ["fast", "atomic"])
def test_bench_publishes_batches_whole(nats, kind, storage):
    stream = f"{kind}-{storage}"
    words = [kind, stream, "--stream", stream, "--create", "--storage", storage, "--batch", "100"]
    more = ["--clients", "2", "--max-outstanding-acks", "3", "--dedup"] if kind == "fast" else []
    nats("bench", "js", "pub", *words, *more, "--msgs", "2000", "--no-progress")
    assert json.loads(nats("stream", "info", stream, "--json"))["state"]["messages"] == 2000


def test_schemas_of_events(nats):
    events = nats.start("events", "--all")
    try:
        wait.until(lambda: "Listening" in first_line(events), 10, "the events to be watched")
        nats("stream", "add", "EVENTFUL", "--subjects", "eventful", "--defaults")
        wait.until(lambda: "EVENTFUL" in first_line(events), 10, "the advisory of the new stream")
    finally:
        events.terminate()
        events.wait(10)
        nats("stream", "rm", "EVENTFUL", "-f")


def test_server_list_and_ping(nats_sys):
    assert "A" in nats_sys("server", "ls", user="sys")
    assert "rtt" in nats_sys("server", "ping", "1", user="sys")


def test_server_info_and_reports(nats_sys):
    info = nats_sys("server", "info", user="sys")
    assert "Version" in info
    nats_sys("stream", "add", "REPORTED", "--subjects", "reported", "--defaults", user="app")
    assert "APP" in nats_sys("server", "report", "jetstream", "--account", "APP", user="sys")
    assert "Connections" in nats_sys("server", "report", "connections", user="sys")
    assert "Accounts" in nats_sys("server", "report", "accounts", user="sys")


def test_server_requests(nats_sys):
    for what, field in [("variables", "server_name"), ("connections", "num_connections"), ("subscriptions", "num_subscriptions"),
                        ("jetstream", "streams"), ("accounts", "accounts"), ("jetstream-health", "status")]:
        reply = nats_sys.json("server", "request", what, user="sys")
        assert field in reply["data"], f"{what}: {reply}"


def test_server_checks_with_the_system_account(nats_sys):
    assert nats_sys("server", "check", "server", "--name", "A", user="sys").startswith("OK")
