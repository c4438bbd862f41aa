"""The user's directories are those that platformdirs gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import platformdirs
import pytest

from anymedia.directories import cache_dir, installation_id, user_dir


@pytest.mark.parametrize("given", [None, "", " ", "/elsewhere", "/else where/", "relative"])
@pytest.mark.parametrize("kind", ["config", "state", "cache"])
def test_directory_of_a_kind_is_where_platformdirs_says(
    monkeypatch: pytest.MonkeyPatch, kind: Literal["config", "state", "cache"], given: str | None
) -> None:
    if given is None:
        monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
    else:
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", given)
    assert user_dir(kind) == getattr(platformdirs, f"user_{kind}_path")("anymedia", appauthor=False)


def test_cache_directory_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMEDIA_CACHE", "/a/cache")
    assert cache_dir() == Path("/a/cache")


def test_installation_has_one_name_for_all_who_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: installation_id(tmp_path / "state"), range(32)))
    assert len(names) == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["installation"]

    def refuse(*_: object) -> None:
        raise PermissionError("no hard links")

    monkeypatch.setattr("os.link", refuse)
    other = installation_id(tmp_path / "other")
    assert other not in names
    assert installation_id(tmp_path / "other") == other
