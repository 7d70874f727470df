"""What an operator finds in the log about clients."""

from harness import wait
from harness.wire import Client, Closed

USER = "authorization { users [{user: a, password: x}] }\n"


def test_a_login_that_fails_is_told_with_its_user_and_without_its_password(serve):
    server = serve(USER)
    for name, password in (("a", "s3cret"), ("b", "s3cret")):
        try:
            Client(server.port, user=name, **{"pass": password})
        except Closed:
            pass
    wait.until(lambda: 'authentication error - User "b"' in server.log(), 10, "the failed login")
    assert 'authentication error - User "a"' in server.log() and "s3cret" not in server.log()


def test_what_a_client_sends_can_be_traced(serve):
    server = serve(USER + "debug: true\ntrace: true\n")
    client = Client(server.port, user="a", name="traced", **{"pass": "x"})
    client.send(b"SUB foo 1\r\nPUB bar reply 3\r\nabc\r\nUNSUB 1\r\n")
    client.sync()
    client.close()
    end = '"v1:raw:traced" - "$G/user:a" - Client connection closed'
    wait.until(lambda: end in server.log(), 10, "the end of the connection")
    log = server.log()
    assert "Client connection created" in log and '"pass":"[REDACTED]"' in log.replace(": ", ":")
    who = '- "v1:raw:traced" - "$G/user:a" - <<- '
    assert '- "v1:raw:traced" - "$G/user:a" - ->> [PONG]' in log
    for said in ("[SUB foo 1]", "[PUB bar reply 3]", 'MSG_PAYLOAD: ["abc"]', "[UNSUB 1"):
        assert who + said in log, said


def test_a_start_after_deletions_has_nothing_to_complain_of(serve):
    """Each stream that had been deleted used to be told as an error, at every start, until its records were reclaimed."""
    server = serve("jetstream { store_dir: '@dir/data' }\n")
    with Client(server.port) as client:
        for _ in range(2):
            assert "error" not in client.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
            client.request("s", "x")
            assert client.api("STREAM.DELETE.S")["success"]
    for end in (server.stop, server.kill):
        end()
        before = len(server.log())
        server.start()
        assert "[ERR]" not in server.log()[before:]


def test_what_a_client_may_not_do_is_told(serve):
    user = "{user: a, password: x, permissions: {publish: {deny: z}, subscribe: {deny: z}}}"
    server = serve(
        "max_connections: 2\nmax_subscriptions: 1\n"
        "accounts { A { users [%s]\n limits { max_connections: 1 } }\n B { users [{user: b, password: x}] } }\n" % user
    )
    client = Client(server.port, user="a", **{"pass": "x"})
    client.send(b"PUB z 0\r\n\r\nSUB z 1\r\nSUB z q 2\r\nSUB a 3\r\nSUB b 4\r\n")
    client.sync()
    for name in ("a", "b", "b"):
        try:
            Client(server.port, user=name, **{"pass": "x"}).socket.detach()
        except Closed:
            pass
    who = '"v1:raw:raw" - "A/user:a" - '
    for said in (
        who + 'Publish Violation - Subject "z"',
        who + 'Subscription Violation - Subject "z", SID 1',
        who + 'Subscription Violation - Subject "z", Queue: "q", SID 2',
        who + "maximum subscriptions exceeded",
        " - maximum account active connections exceeded",
        " - maximum connections exceeded",
    ):
        wait.until(lambda: said in server.log(), 10, said)
