"""The stock `nats` program against one server, and another one with a system account."""

import pytest

from harness.cli import Cli
from harness.server import Server

ACCOUNTS = """
accounts {
  APP { jetstream: enabled, users: [ { user: app, password: app } ] }
  $SYS { users: [ { user: sys, password: sys } ] }
}
no_auth_user: app
"""


@pytest.fixture(scope="session")
def nats(tmp_path_factory):
    with Server() as server:
        yield Cli(server.url, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def nats_sys(tmp_path_factory):
    with Server(config=ACCOUNTS) as server:
        yield Cli(server.url, tmp_path_factory.mktemp("home"))


@pytest.fixture
def stream(nats, request):
    """A stream with three messages on s.NAME.1 to s.NAME.3, removed afterwards."""
    name = f"S{abs(hash(request.node.name)) % 10**8}"
    nats("stream", "add", name, "--subjects", f"{name}.>", "--defaults")
    for number in range(1, 4):
        nats("pub", f"{name}.{number}", f"message {number}", "--jetstream")
    yield name
    nats("stream", "rm", name, "-f")
