"""The commands in README.md and docs/TOUR.md, run as a newcomer would type them, each page on a fresh server."""

import re
import shlex
import shutil

import pytest

from harness.cli import Cli
from harness.server import REPOSITORY, Server

COMMAND = re.compile(r"^\$ nats (.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/TOUR.md"])
def test_every_command_of_the_page_works(page, tmp_path, monkeypatch):
    commands = COMMAND.findall((REPOSITORY / page).read_text())
    assert len(commands) >= 10
    shutil.copy(REPOSITORY / "Cargo.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        nats = Cli(server.url, tmp_path)
        for command in commands:
            nats(*shlex.split(command))
