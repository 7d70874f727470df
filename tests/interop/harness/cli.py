"""The stock `nats` program as a function."""

import json
import os
import shutil
import subprocess


class Cli:
    """Runs `nats ARGUMENTS` and returns what it printed; a non-zero exit fails the test."""

    def __init__(self, url, home):
        self.program = os.environ.get("NATS_CLI") or shutil.which("nats")
        assert self.program, "no nats program: set NATS_CLI"
        self.url = url
        self.environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}

    def __call__(self, *arguments, fails=False, text=None, user=None):
        login = ["--user", user, "--password", user] if user else []
        command = [self.program, "--no-context", "-s", self.url, *login, *map(str, arguments)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, env=self.environment)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, f"{' '.join(command)} exited with {done.returncode}:\n{output}"
        return output

    def json(self, *arguments, **options):
        """First JSON value of the output: some commands print lines of their own after it."""
        output = self(*arguments, **options)
        start = min(position for mark in "{[" if (position := output.find(mark)) >= 0)
        return json.JSONDecoder().raw_decode(output[start:])[0]

    def in_terminal(self, *arguments):
        """The same on a pseudo-terminal, for commands that page."""
        main, other = os.openpty()
        process = subprocess.Popen(
            [self.program, "--no-context", "-s", self.url, *map(str, arguments)],
            stdin=other, stdout=other, stderr=other, env={**self.environment, "TERM": "dumb"}, close_fds=True,
        )
        os.close(other)
        output = b""
        try:
            while chunk := os.read(main, 65536):
                output += chunk
        except OSError:
            pass  # How a pseudo-terminal says that its other end is closed.
        os.close(main)
        assert process.wait(30) == 0, output
        return output.decode()

    def start(self, *arguments):
        """A command that runs until the test ends it."""
        return subprocess.Popen(
            [self.program, "--no-context", "-s", self.url, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment,
        )
