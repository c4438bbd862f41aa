"""The pytest plugin of the conformance kit. It imports anymedia only inside fixtures, so that coverage is right.

    --anymedia-live --anymedia-live-budget 0.50     also call the real services, for half a dollar at most

Rules that a backend declares as `known_gap` are run, and expected to fail. A table of rules and backends closes the run,
with the rows that could not be tried for want of what they require.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import pytest

_PASSED, _FAILED = "ok", "FAILED"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of live runs."""
    group = parser.getgroup("anymedia", "conformance kit of anymedia")
    group.addoption("--anymedia-live", action="store_true", help="also call the real services, with your keys (costs money)")
    group.addoption("--anymedia-live-budget", type=float, default=None, metavar="USD", help="the most a live run may cost")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a live run without a budget."""
    budget = config.getoption("--anymedia-live-budget")
    if config.getoption("--anymedia-live") and (budget is None or not 0 < budget < float("inf")):
        raise pytest.UsageError("--anymedia-live needs --anymedia-live-budget USD, above 0")


@pytest.fixture
def anymedia_live_budget(request: pytest.FixtureRequest) -> float:
    """The most a live run may cost, in US dollars."""
    return float(request.config.getoption("--anymedia-live-budget"))


def _rule(item: pytest.Item) -> str | None:
    return getattr(getattr(item, "function", None), "__anymedia_rule__", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what has nothing to try and what is live; mark the known gaps; note each test's rule for the table."""
    kept, left_out = [], []
    untried: dict[Any, list[str]] = {}
    for item in items:
        rule = _rule(item)
        if rule is None:
            kept.append(item)
            continue
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        nothing = "case" in parameters and parameters["case"] is None
        if nothing or (rule.startswith("L") and not config.getoption("--anymedia-live")):
            left_out.append(item)
            continue
        cls: Any = getattr(item, "cls", None)
        reason = getattr(cls, "known_gaps", {}).get(rule, "")
        if reason:
            item.add_marker(pytest.mark.xfail(reason=f"known gap {rule}: {reason}", strict=False))
        item.user_properties.append(("anymedia", [cls.__name__, rule, reason]))
        if cls not in untried:
            untried[cls] = [f"  not tried by {cls.__name__}: {words}" for words in cls().untried()]
        item.user_properties.append(("anymedia_untried", untried[cls]))
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = _in_order(kept)


def _in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with those of each kit by their rules' ids: what tells most about a broken backend comes first.

    The rules that look at one and the same failure stand together: a worker of pytest-xdist then plays it once.
    """
    kits = [(getattr(item, "cls", None) if _rule(item) else None) for item in items]
    first = {cls: place for place, cls in reversed(list(enumerate(kits)))}
    places = range(len(items))

    def place(i: int) -> tuple[int, str, str]:
        if kits[i] is None:
            return i, "", ""
        case = str(items[i].callspec.params["case"]) if "_each_failure" in items[i].name else ""  # type: ignore[attr-defined]
        return first[kits[i]], "C01" if case else str(_rule(items[i])), case

    order = sorted(places, key=place)
    return [items[i] for i in order]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a rule that was skipped, or expected to fail, without a known gap into a failure."""
    report = yield
    told = dict(item.user_properties).get("anymedia")
    if report.skipped and isinstance(told, list) and not told[2] and not told[1].startswith("L"):
        report.outcome = "failed"
        report.longrepr = f'{item.nodeid}: a rule is left out by @known_gap("{told[1]}", "why") alone, not by skip or xfail'
        vars(report).pop("wasxfail", None)
    return report


def _marks(stats: dict[str, list[Any]]) -> dict[str, dict[str, list[str]]]:
    """Return class -> rule -> how each of its tests ended."""
    found: dict[str, dict[str, list[str]]] = {}
    words = {"passed": _PASSED, "xpassed": _PASSED, "failed": _FAILED, "error": _FAILED, "xfailed": "gap", "skipped": "skipped"}
    for category, word in words.items():
        for report in stats.get(category, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == "anymedia":
                    found.setdefault(value[0], {}).setdefault(value[1], []).append(word)
    return found


def _cell(marks: list[str]) -> str:
    """Return what a rule's tests come to: the worst of them, and how many there are."""
    for word in (_FAILED, "gap", "skipped"):
        if word in marks:
            return f"{word} {marks.count(word)}/{len(marks)}"
    return f"ok {len(marks)}" if marks else "-"


def _gaps(stats: dict[str, list[Any]]) -> Iterable[str]:
    told = {tuple(v) for reports in stats.values() for r in reports for n, v in getattr(r, "user_properties", ()) if n == "anymedia"}
    return [f"  known gap {rule} of {cls}: {reason}" for cls, rule, reason in sorted(told) if reason]


def _untried(stats: dict[str, list[Any]]) -> Iterable[str]:
    told = (v for reports in stats.values() for r in reports for n, v in getattr(r, "user_properties", ()) if n == "anymedia_untried")
    return sorted({line for lines in told for line in lines})


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the closing table: a line for each rule, a column for each backend's class."""
    found = _marks(terminalreporter.stats)
    if not found:
        return
    rules = sorted({rule for marks in found.values() for rule in marks})
    widths = {cls: max(len(cls), *(len(_cell(found[cls].get(rule, []))) for rule in rules)) for cls in found}
    terminalreporter.section("anymedia: rules and backends")
    terminalreporter.write_line("      " + "  ".join(cls.ljust(width) for cls, width in widths.items()))
    for rule in rules:
        terminalreporter.write_line(f"{rule}   " + "  ".join(_cell(found[cls].get(rule, [])).ljust(w) for cls, w in widths.items()))
    for line in (*_gaps(terminalreporter.stats), *_untried(terminalreporter.stats)):
        terminalreporter.write_line(line)
