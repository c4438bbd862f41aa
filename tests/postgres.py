"""A PostgreSQL server for the tests: Debian's binaries, a directory of its own, a unix socket, no durability unless asked for."""

from __future__ import annotations

import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest

#: Where Debian's packages have the server's programs, the newest version first.
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
_names = itertools.count(1)


class Server:
    """A server that runs as the user ``postgres`` if the tests run as root, and that dies with the thread that started it."""

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of a socket has to be short
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "anymedia", "-E", "UTF8", "--locale=C", "--no-sync").communicate()
        self.start()

    def _run(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        command = ["setpriv", "--pdeathsig=INT", *self._as_user, str(BINARIES[0].with_name(program)), *words]
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder)}
        settings |= {} if self.durable else {"fsync": "off", "full_page_writes": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = self._run("postgres", "-D", "data", *words)
        import psycopg

        give_up = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), autocommit=True).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None:  # processes of one that was killed still have its memory
                    assert time.monotonic() < give_up, (self.folder / "postgres.log").read_text()
                    self._process = self._run("postgres", "-D", "data", *words)
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def url(self, schema: str = "public") -> str:
        return f"postgresql://anymedia@/postgres?host={quote(str(self.folder), safe='')}&options=-csearch_path%3D{schema}"

    def new(self) -> str:
        """Return the address of a schema that is empty."""
        import psycopg

        name = f"test_{os.getpid()}_{next(_names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(name)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@functools.cache
def server() -> Server:
    """Return the server of this process's tests, started with its first use."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed")  # .ci/run installs it
    return Server()


def stop() -> None:
    """End the server, if it was started."""
    if server.cache_info().currsize:
        server().close()
        server.cache_clear()
