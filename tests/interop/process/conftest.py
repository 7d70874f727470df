"""A server that takes its configuration from a file alone: nats-server refuses every reload when a flag gave its name."""

import os
import re
import signal
import subprocess

import pytest

from harness import wait
from harness.server import Server, binary


class Process(Server):
    """A server whose configuration file can be changed under its feet; without a configuration it has no file."""

    def __init__(self, config, *, arguments=()):
        super().__init__(jetstream=False, config=config)
        self.arguments = list(arguments)

    def command(self):
        if self.config is None:
            return [binary(self.kind), "-a", "127.0.0.1", "-p", str(self.port), *self.arguments]
        self.write(self.config)
        return [binary(self.kind), "-c", str(self.path), *self.arguments]

    @property
    def path(self):
        return self.directory / "server.conf"

    def write(self, config):
        """@http is a free port for the monitor, @dir the folder of this server."""
        config = config.replace("@http", str(self.http_port)).replace("@dir", str(self.directory))
        self.path.write_text(f"server_name: A\nlisten: 127.0.0.1:{self.port}\n{config}")

    def reload(self, config):
        """Gives what the log says about it."""
        self.write(config)
        return self.reloaded()

    def reloaded(self):
        before = len(self.log())
        self.process.send_signal(signal.SIGHUP)
        done = re.compile("Reloaded server configuration|Failed to reload server configuration")
        wait.until(lambda: done.search(self.log()[before:]), 10, "the end of the reload")
        return self.log()[before:]


class Held(Process):
    """One whose start waits, until something was done meanwhile, for somebody who reads its pid from `@dir/pid`."""

    def __init__(self, config, *, meanwhile):
        super().__init__(config)
        self.meanwhile = meanwhile

    def command(self):
        os.mkfifo(self.directory / "pid")
        return super().command()

    def _answers(self):
        if self.meanwhile and "Version:" in self.log():
            self.meanwhile(self)
            self.meanwhile = None
            (self.directory / "pid").read_text()
        return super()._answers()


@pytest.fixture
def serve():
    """Starts servers with a configuration; they end with the test."""
    servers = []

    def start(config="", **options):
        server = (Held if "meanwhile" in options else Process)(config, **options)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def run(tmp_path):
    """Runs the program to its end: exit code, standard output, standard error."""

    def program(*arguments, seconds=20):
        kind = Server().kind
        done = subprocess.run([binary(kind), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout, done.stderr

    return program
