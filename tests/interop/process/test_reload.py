"""SIGHUP: what changes, what does not, and who notices."""

import json
import os
import urllib.error
import urllib.request

import pytest

from harness import wait
from harness.wire import Client, Closed, Timeout

STORE = "jetstream { store_dir: '@dir/data', sync_interval: always }\n"


def login(server, name, password="x"):
    return Client(server.port, user=name, **{"pass": password})


def page(server, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}") as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def frames(client, seconds=0.5):
    """What comes without being asked for, INFO aside; "closed" at the end of the connection."""
    seen = []
    try:
        while True:
            frame = client.next(seconds)
            if frame.verb != "INFO":
                seen.append((frame.verb, frame.args))
    except Timeout:
        return seen
    except Closed:
        return [*seen, "closed"]


def error_of(client, subject, body=None):
    return client.api(subject, body).get("error", {}).get("err_code")


def test_a_mistake_changes_nothing(serve):
    server = serve("max_payload: 1000\n")
    assert "Failed to reload server configuration: " in server.reload("max_payload: 500\nnonsense: 1\n")
    assert "not supported for MaxSubTokens" in server.reload("max_payload: 500\nmax_subscription_tokens: 5\n")
    with Client(server.port) as client:
        assert client.info["max_payload"] == 1000


def test_limits_and_what_monitoring_shows_change(serve):
    http = "http: 127.0.0.1:@http\n"
    server = serve(http)
    log = server.reload(
        http
        + "max_payload: 100\nmax_control_line: 512\nmax_connections: 10\nping_interval: '7s'\nping_max: 5\n"
        + "write_deadline: '3s'\nserver_tags: [a]\nserver_metadata: {k: v}\nauthorization { timeout: 5 }\n"
    )
    assert "Reloaded: max_payload = 100" in log and "Reloaded: ping_interval = 7s" in log
    shown = page(server, "/varz")[1]
    fields = ("max_payload", "max_control_line", "max_connections", "ping_interval", "ping_max", "write_deadline")
    assert [shown[field] for field in fields] == [100, 512, 10, 7_000_000_000, 5, 3_000_000_000]
    assert (shown["tags"], shown["metadata"], shown["auth_timeout"]) == (["a"], {"k": "v"}, 5)
    assert shown["config_digest"] in log
    with Client(server.port) as client:
        client.send(b"PUB a 101\r\n")
        assert frames(client) == [("-ERR", "'Maximum Payload Violation'"), "closed"]


def test_fewer_connections_mean_that_some_end(serve):
    server = serve()
    clients = [Client(server.port) for _ in range(3)]
    server.reload("max_connections: 2\n")
    # One of them, whichever; nats-server does not tell it why.
    assert sum("closed" in frames(client) for client in clients) == 1


def test_files_follow_the_configuration(serve):
    server = serve("pid_file: '@dir/first.pid'\n")
    first, second = server.directory / "first.pid", server.directory / "second.pid"
    assert first.read_text() == str(server.process.pid)
    (server.directory / "ports").mkdir()
    server.reload("pid_file: '@dir/second.pid'\nports_file_dir: '@dir/ports'\n")
    wait.until(second.exists, 10, "the new pid file")
    assert second.read_text() == str(server.process.pid)
    wait.until(lambda: os.listdir(server.directory / "ports"), 10, "the ports file")
    server.reload("pid_file: '@dir/second.pid'\n")
    wait.until(lambda: not os.listdir(server.directory / "ports"), 10, "the end of the ports file")
    assert "open /missing/pid: no such file or directory" in server.reload("pid_file: '/missing/pid'\n")
    Client(server.port).close()


def test_users_that_go_move_or_change_have_to_log_in_again(serve):
    def accounts(a, b):
        return "accounts { A { users [%s] }, B { users [%s] } }\n" % (a, b)

    user = "{user: %s, password: %s}"
    everyone = ", ".join(user % (name, "x") for name in ("stays", "goes", "moves", "changes"))
    server = serve(accounts(everyone, user % ("other", "x")))
    stays, goes, moves, changes = (login(server, name) for name in ("stays", "goes", "moves", "changes"))
    for client in (stays, goes, moves, changes):
        frames(client, 0.1)
    after = accounts(user % ("stays", "x") + ", " + user % ("changes", "y"), user % ("moves", "x"))
    server.reload(after)
    # Without an error, so that client libraries try again.
    assert [frames(goes), frames(moves)] == [["closed"], ["closed"]]
    assert frames(changes) == [("-ERR", "'Authorization Violation'"), "closed"]
    assert frames(stays) == []
    login(server, "moves").close()
    with pytest.raises(Closed):
        login(server, "goes")


def test_permissions_that_narrow_end_subscriptions(serve):
    user = "authorization { users [{user: a, password: x%s}] }\n"
    server = serve(user % "")
    client = login(server, "a")
    client.send(b"SUB x 1\r\nSUB y.> 2\r\n")
    client.sync()
    frames(client, 0.1)
    server.reload(user % ', permissions: {subscribe: {deny: ["x", "y.a"]}, publish: {deny: z}}')
    assert frames(client) == [("-ERR", "'Permissions Violation for Subscription to \"x\" (sid \"1\")'")]
    client.send(b"PUB z 0\r\n\r\nPUB y.a 0\r\n\r\nPUB y.b 0\r\n\r\n")
    assert frames(client) == [("-ERR", "'Permissions Violation for Publish to \"z\"'"), ("MSG", "y.b 2 0")]


def test_lower_limits_of_an_account_hold_for_who_is_connected(serve):
    def limited(limits):
        return "accounts { A { users [{user: a, password: x}]\n limits { %s } } }\n" % limits

    server = serve(limited(""))
    clients = [login(server, "a") for _ in range(3)]
    for client in clients:
        frames(client, 0.1)
    server.reload(limited("max_connections: 1"))
    ends = [seen for client in clients if (seen := frames(client))]
    assert ends == [[("-ERR", "'maximum account active connections exceeded'"), "closed"]] * 2
    for client in clients:
        client.close()
    server.reload(limited(""))
    client = login(server, "a")
    client.send(b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n")
    client.sync()
    frames(client, 0.1)
    server.reload(limited("max_subscriptions: 2"))
    assert frames(client) == [("-ERR", "'maximum subscriptions exceeded'"), "closed"]


def in_accounts(jetstream):
    return (
        "http: 127.0.0.1:@http\n" + STORE + "accounts { A { users [{user: a, password: x}]\n %s }\n"
        "B { users [{user: b, password: x}]\n jetstream: enabled } }\n" % jetstream
    )


def test_an_account_loses_jetstream_and_gets_it_back(serve):
    server = serve(in_accounts("jetstream { max_streams: 1 }"))
    client = login(server, "a")
    assert error_of(client, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]}) is None
    consumer = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit"}}
    assert error_of(client, "CONSUMER.CREATE.S.C", consumer) is None
    assert client.request("s", "one").json()["seq"] == 1
    more = {"name": "T", "subjects": ["t"]}
    assert error_of(client, "STREAM.CREATE.T", more) == 10027

    server.reload(in_accounts("jetstream { max_streams: 2 }"))
    assert client.api("INFO")["limits"]["max_streams"] == 2
    assert error_of(client, "STREAM.CREATE.T", more) is None

    for off in ("jetstream: disabled", ""):
        server.reload(in_accounts(off))
        for subject in ("INFO", "STREAM.NAMES", "STREAM.INFO.S", "CONSUMER.INFO.S.C"):
            assert error_of(client, subject) == 10039, subject
        assert client.request("s", "nobody").status == 503
        assert page(server, "/healthz")[0] == 503, "streams are there and nobody can reach them"

    server.reload(in_accounts("jetstream: enabled"))
    assert page(server, "/healthz")[0] == 200
    assert client.api("STREAM.NAMES")["streams"] == ["S", "T"]
    assert client.request("s", "two").json()["seq"] == 2
    assert client.request("$JS.API.CONSUMER.MSG.NEXT.S.C", '{"no_wait":true}').payload == b"one"


def test_an_account_that_was_gone_comes_back_with_its_streams(serve):
    server = serve(in_accounts("jetstream: enabled"))
    client = login(server, "a")
    assert error_of(client, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]}) is None
    client.request("s", "one")
    only_b = in_accounts("").split("accounts {")[0] + "accounts { B { users [{user: b, password: x}]\n jetstream: enabled } }\n"
    server.reload(only_b)
    assert frames(client) == ["closed"]
    assert "A" not in page(server, "/accountz")[1]["accounts"]
    assert "account 'A' could not be resolved" in page(server, "/healthz")[1]["error"]
    server.stop()
    server.config = only_b
    server.start()
    server.reload(in_accounts("jetstream: enabled"))
    client = login(server, "a")
    assert client.request("s", "two").json()["seq"] == 2


def test_jetstream_is_switched_off_and_on(serve):
    server = serve(STORE)
    with Client(server.port) as client:
        assert client.info["jetstream"]
        assert error_of(client, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]}) is None
        client.request("s", "one")
        server.reload(STORE.replace("{", "{ enabled: false,"))
        assert client.request("s", "nobody").status == 503
    with Client(server.port) as client:
        assert "jetstream" not in client.info
    server.reload(STORE)
    with Client(server.port) as client:
        assert client.info["jetstream"]
        assert client.api("STREAM.INFO.S")["state"]["messages"] == 1
        assert client.request("s", "two").json()["seq"] == 2


def test_the_store_grows_and_does_not_shrink(serve):
    sized = "jetstream { store_dir: '@dir/data', max_file: %d, max_mem: 1000 }\n"
    server = serve(sized % 1000)
    config = {"name": "S", "subjects": ["s"], "max_bytes": 2000}
    with Client(server.port) as client:
        assert error_of(client, "STREAM.CREATE.S", config) == 10047
        assert "decreasing jetstream max memory and store" in server.reload(sized % 500)
        server.reload(sized % 3000)
        assert error_of(client, "STREAM.CREATE.S", config) is None
        assert "jetstream storage directory" in server.reload((sized % 3000).replace("@dir/data", "@dir/other"))
        limits = "limits { max_request_batch: 3 }"
        server.reload((sized % 3000).replace("max_mem: 1000", "max_mem: 1000, " + limits))
        consumer = {"stream_name": "S", "config": {"durable_name": "C", "ack_policy": "explicit", "max_batch": 4}}
        assert error_of(client, "CONSUMER.CREATE.S.C", consumer) == 10125


def test_a_reload_without_a_file_is_refused(serve):
    assert "can only reload config when a file is provided using -c or --config" in serve(None).reloaded()


def test_what_is_not_supported_is_not_ignored_in_silence(serve):
    server = serve()
    if server.kind != "headwater":
        pytest.skip("nats-server supports it")
    assert "websocket" in server.reload("websocket { port: -1, no_tls: true }\n")
    # This one decides who may log in: without it the door would stand open.
    guarded = "authorization { users [{user: a, password: x}]\n auth_callout { issuer: x, auth_users: [a] } }\n"
    assert "Failed to reload server configuration" in server.reload(guarded)
