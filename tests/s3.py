"""A server that speaks the protocol of S3 (moto's), in an environment of its own because of its many dependencies; see .ci/run."""

from __future__ import annotations

import functools
import itertools
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[1] / ".venv/s3/bin/moto_server"
_names = itertools.count(1)


class Server:
    """A server that dies with the thread that started it."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        command = ["setpriv", "--pdeathsig=KILL", str(SERVER), "-H", "127.0.0.1", "-p", "0"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        while (found := re.search(rb"Running on (http://127\.0\.0\.1:\d+)", self._said())) is None:
            assert self._process.poll() is None, self._said().decode()
            time.sleep(0.05)
        self.address = found[1].decode()

    def _said(self) -> bytes:
        return os.pread(self._log.fileno(), 1_000_000, 0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the clients of the server find in their environment."""
        keys = {"AWS_ACCESS_KEY_ID": "test-access", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}
        return {**keys, "AWS_ENDPOINT": self.address, "AWS_ALLOW_HTTP": "true"}

    def new(self) -> str:
        """Return the address of an empty bucket."""
        name = f"bucket-{os.getpid()}-{next(_names)}"
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/{name}", method="PUT")).close()
        return f"s3://{name}/some/prefix"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@functools.cache
def server() -> Server:
    """Return the server of this process's tests, started with its first use."""
    if not SERVER.exists():
        pytest.skip("moto is not installed")  # .ci/run installs it
    return Server()


def stop() -> None:
    """End the server, if it was started."""
    if server.cache_info().currsize:
        server().close()
        server.cache_clear()
