"""`ask_above_usd`: a person approves what may cost more, and what has no known price, before anything is sent."""

from __future__ import annotations

import datetime
import os
import pty
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import KEY as FAKE_KEY
from core.routing import fake_router
from wire.openai_server import KEY, OpenAIServer

from anymedia import Budget, GenerateImage, GenerationConfig, Policy
from anymedia.capabilities import parse_matrix
from anymedia.errors import InvalidRequest, NotApproved, RequestError
from anymedia.planning import BackendView, plan
from anymedia.settings import load_settings

pytestmark = pytest.mark.anyio


async def _yes(_: Any) -> bool:
    return True


@pytest.mark.parametrize(
    ("limit", "on_quote", "options", "submits"),
    [
        (0.05, None, {"cost": 0.1}, 0),  # no one to ask
        (0.05, lambda _: True, {"cost": 0.1}, 1),
        (0.05, _yes, {"cost": 0.1}, 1),
        (0.05, lambda _: False, {"cost": 0.1}, 0),
        (0.5, None, {"cost": 0.1}, 1),  # below the limit
        (0.5, lambda _: False, {"cost": 0.1}, 1),  # and no one is asked
        (0.0, None, {"cost": 0.1}, 0),
        (0.05, lambda _: "no", {"cost": 0.1}, 0),  # only True approves
        (None, lambda _: False, {"cost": 0.1}, 0),  # without a limit, on_quote sees every plan
    ],
)
async def test_request_above_limit_needs_approval(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, on_quote: Callable[[Any], Any] | None, options: dict[str, Any], submits: int
) -> None:
    monkeypatch.setenv("FAKE_KEY", FAKE_KEY)
    with FakeService() as service:
        async with fake_router(service, policy=Policy(ask_above_usd=limit, on_quote=on_quote), options=options) as router:
            if submits:
                await router.generate_image(prompt="a fox")
            else:
                with pytest.raises(NotApproved) as caught:
                    await router.generate_image(prompt="a fox")
                assert caught.value.code == "not_approved"
                assert (on_quote is None) == ("ask_above_usd" in caught.value.fix and "--ask-above" in caught.value.fix)
            assert len(service.submits) == submits
            assert (await router.store.spend()).reserved_usd == 0


def test_price_that_is_not_known_needs_approval() -> None:
    class Plan:
        class quote:  # noqa: N801
            usd: Any = None

    plan: Any = Plan()
    assert Policy(ask_above_usd=5.0).needs_approval(plan)
    assert not Policy().needs_approval(plan)
    Plan.quote.usd = (0.0, 0.0)
    assert not Policy(ask_above_usd=0.0).needs_approval(plan)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Policy(ask_above_usd="0.5"), "ask_above_usd: expected a number from 0 up, got '0.5'"),  # type: ignore[arg-type]
        (lambda: Policy(ask_above_usd=-1.0), "ask_above_usd: expected a number from 0 up"),
        (lambda: Policy(ask_above_usd=float("nan")), "ask_above_usd: expected a number from 0 up"),
        (lambda: Policy(on_quote="yes"), "on_quote: expected a function of a plan"),  # type: ignore[arg-type]
        (lambda: Policy(fallback="equivelent"), "fallback: expected one of off, equivalent, got 'equivelent'; did you mean 'equivalent'"),  # type: ignore[arg-type]
        (lambda: Policy(prefer=(1,)), "prefer: expected a list of names"),  # type: ignore[arg-type]
        (lambda: Policy(retries=99), "retries: expected 0 to 10, got 99"),
        (lambda: Policy(strict="no"), "strict: expected true or false"),  # type: ignore[arg-type]
        (lambda: Policy(budget=1.0), "budget: expected a Budget"),  # type: ignore[arg-type]
        (lambda: Policy(tolerance=1.0), "tolerance: expected a Tolerance"),  # type: ignore[arg-type]
        (lambda: Budget(per_day=10**400), "per_day: expected a number from 0 up"),
        (lambda: Budget(per_day=True), "per_day: expected a number from 0 up"),
        (lambda: Budget(per_backend={"openai": "1"}), "per_backend: expected a number from 0 up for each name"),  # type: ignore[dict-item]
    ],
)
def test_policy_with_a_wrong_value_is_refused_when_it_is_made(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        make()
    assert caught.value.message.startswith(words)


def test_policy_accepts_one_name_or_a_list_in_prefer() -> None:
    assert Policy(prefer="openai").prefer == Policy(prefer=["openai"]).prefer == ("openai",)


_MANY = attrs.evolve(Budget(), per_call=0.1, per_request=0.15)


@pytest.mark.parametrize(
    ("cost", "n", "policy", "code", "words"),
    [
        ("0.1", 1, Policy(), None, ""),
        ("0.1", 1, Policy(budget=Budget(per_request=0.1)), None, ""),
        ("0.1", 1, Policy().capped(0.05), "over_cap", "may cost 0.1 USD; the cap per_request is 0.05 USD"),
        ("0.1", 1, Policy(budget=Budget(per_call=0.05)), "over_cap", "the cap per_call is 0.05 USD"),
        ("0.1", 2, Policy(budget=_MANY), "over_cap", "may cost 0.2 USD; the cap per_request is 0.15 USD"),
        ("0.1", 1, Policy(budget=Budget(per_day=0.05)), "over_cap", "the cap per_day is 0.05 USD"),
        ("0.1", 1, Policy(budget=Budget(per_session=0.05)), "over_cap", "the cap per_session is 0.05 USD"),
        ("0.1", 1, Policy(budget=Budget(per_backend={"own": 0.05})), "over_cap", "the cap per_backend.own is 0.05 USD"),
        ("0.1", 1, Policy(budget=Budget(per_backend={"other": 0.05})), None, ""),
        ("0.1", 1, Policy(ask_above_usd=0.05), "needs_approval", "it may cost more than 0.05 USD"),
        ("0.1", 1, Policy(ask_above_usd=0.05, budget=Budget(per_day=0.01)), "over_cap", "refused"),
        ("0.1", 1, Policy(ask_above_usd=0.1), None, ""),
        ("", 1, Policy(ask_above_usd=5.0), "needs_approval", "its price is unknown"),
        ("", 1, Policy(budget=Budget(per_day=5.0)), "over_cap", "its price is unknown"),
        ("", 1, Policy(budget=Budget(per_day=5.0, allow_unknown=True)), None, ""),
    ],
)
def test_plan_says_what_a_run_would_meet(cost: str, n: int, policy: Policy, code: str | None, words: str) -> None:
    model = {"id": "m", "media": "image", "generate_image": {"n": {"min": 1, "max": 1}}}
    prices = {"prices": [{"per": "call", "usd": float(cost)}]} if cost else {}
    view = BackendView(name="own", matrix=parse_matrix({"schema": 1, "models": [{**model, **prices}]}, "own.toml"))
    found = plan(GenerateImage(prompt="a fox", n=n), [view], policy, datetime.date(2026, 11, 30))
    assert (found.obstacle and found.obstacle.code) == code
    assert words in str(found)
    assert found.to_json()["obstacle"] == (None if found.obstacle is None else found.obstacle.to_json())
    assert found.obstacle not in found.warnings


@pytest.mark.parametrize("field", ["ask_above_usd", "ask_above", "on_quote"])
def test_arguments_of_an_agent_cannot_raise_the_limit(field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        GenerationConfig.from_json({"prompt": "a fox", field: 1000})


def test_limit_is_read_from_settings(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[policy]\nask_above_usd = 0.25\n")
    assert load_settings(environ={}, files=[tmp_path / "config.toml"]).policy.ask_above_usd == 0.25


# The command line, on a terminal of its own


def on_terminal(words: list[str], answer: str, env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """Run the command line on a pseudo-terminal, type an answer to its question, and return exit code and output."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execve(sys.executable, [sys.executable, "-m", "anymedia", *words], env)
    shown, typed = "", False
    while select.select([terminal], [], [], 120)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the child closed its end
            break
        if not part:
            break
        shown += part.decode(errors="replace")
        if not typed and "[y/N]" in shown:
            typed = True
            os.write(terminal, answer.encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown


@pytest.mark.exhaustive
@pytest.mark.parametrize(("answer", "paid"), [("y\n", True), ("n\n", False), ("\n", False), ("\x04", False)])
def test_command_line_asks_on_the_terminal(answer: str, paid: bool, tmp_path: Path) -> None:
    with OpenAIServer() as fake:
        env = _environment(tmp_path, fake)
        code, shown = on_terminal(["image", "a fox", "-b", "openai", "-o", "fox.png", "--ask-above", "0.0001"], answer, env, tmp_path)
        assert "may cost" in shown
        assert "Run it?" in shown
        assert (fake.count("POST"), (tmp_path / "fox.png").exists()) == (int(paid), paid)
        assert (code == 0) is paid
        assert paid or "not approved" in shown


@pytest.mark.exhaustive
def test_command_line_without_terminal_refuses_and_names_the_option(tmp_path: Path) -> None:
    import subprocess

    with OpenAIServer() as fake:
        (tmp_path / "config.toml").write_text("[policy]\nask_above_usd = 0.0001\n")
        env = _environment(tmp_path, fake) | {"ANYMEDIA_CONFIG": str(tmp_path / "config.toml")}
        words = [sys.executable, "-m", "anymedia", "image", "a fox", "-b", "openai", "-o", "fox.png"]
        done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode != 0
        assert "--ask-above" in done.stderr
        assert fake.count("POST") == 0
        done = subprocess.run([*words, "--ask-above", "5"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert fake.count("POST") == 1


def _environment(folder: Path, fake: OpenAIServer) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    own = {"HOME": str(folder), "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": fake.base_url, "ANYMEDIA_STATE": str(folder / "state")}
    return kept | own | {"ANYMEDIA_CONFIG": os.devnull, "TERM": "dumb"}
