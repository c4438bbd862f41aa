"""The keys of views: each request carries the key of its own view, over every SDK, whatever the environment has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from worlds import KEYS, SUBMITS, VARIABLES, World, world

from anymedia.errors import AuthenticationFailed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", SUBMITS)
async def test_each_request_carries_the_key_of_its_own_view(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "owner-key-0123456789abcdef")
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        async with here.router() as router:
            tenant = router.scoped(realm="tenant", keys={name: KEYS[name]})
            other = router.scoped(realm="other", keys=lambda instance: f"other-key-of-{instance}-0123456789")
            views = [tenant, other, router] * 3
            made = await asyncio.gather(
                *[view.generate_image(prompt="x", backend=name, output=f"{tmp_path}/{n}/") for n, view in enumerate(views)],
                return_exceptions=True,
            )
            for result, view in zip(made, views, strict=True):
                if view is tenant:  # the service accepts this key alone
                    assert not isinstance(result, BaseException), result
                else:
                    assert isinstance(result, AuthenticationFailed)
            states = {view: {record.state for record in await view.jobs()} for view in (tenant, other)}
            assert states == {tenant: {"done"}, other: {"refused"}}
