"""The pytest plugin of the conformance kit. It never imports anymedia when it is loaded, so that coverage stays complete.

    --anymedia-live --anymedia-live-budget 0.50     also call the real services, for at most 0.50 USD

Rules that a backend declares as `known_gap` are run and expected to fail. A table of rules and backends closes the run,
followed by the models that could not be tested because a library is not installed.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Generator, Iterator
from typing import Any

import pytest

_PASSED, _FAILED = "ok", "FAILED"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of live runs."""
    group = parser.getgroup("anymedia", "conformance kit of anymedia")
    group.addoption("--anymedia-live", action="store_true", help="also call the real services, with your keys (costs money)")
    group.addoption("--anymedia-live-budget", type=float, default=None, metavar="USD", help="maximum cost of a live run")


def pytest_configure(config: pytest.Config) -> None:
    """Reject a live run without a budget."""
    budget = config.getoption("--anymedia-live-budget")
    if config.getoption("--anymedia-live") and (budget is None or not 0 < budget < float("inf")):
        raise pytest.UsageError("--anymedia-live needs --anymedia-live-budget USD, above 0")


@pytest.fixture
def anymedia_live_budget(request: pytest.FixtureRequest) -> float:
    """The maximum cost of a live run, in US dollars."""
    return float(request.config.getoption("--anymedia-live-budget"))


def _rule(item: pytest.Item) -> str | None:
    return getattr(getattr(item, "function", None), "__anymedia_rule__", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect live tests and tests without cases; mark the known gaps; record each test's rule for the table.

    Nothing is done for a run without tests of the kit.
    """
    if not any(map(_rule, items)):
        return
    config.pluginmanager.register(_Kit(), "anymedia-kit")
    kept, left_out = [], []
    untested: dict[Any, list[str]] = {}
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
        case, gaps = str(parameters.get("case", "")), getattr(cls, "known_gaps", {})
        reason = next((why for (gap, cases), why in gaps.items() if gap == rule and fnmatch.fnmatchcase(case, cases)), "")
        if reason:
            item.add_marker(pytest.mark.xfail(reason=f"known gap {rule}: {reason}", strict=False))
        item.user_properties.append(("anymedia", [cls.__name__, rule, reason]))
        if cls not in untested:
            untested[cls] = [f"  not tested by {cls.__name__}: {model}" for model in cls().untested()]
        item.user_properties.append(("anymedia_untested", untested[cls]))
        kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = _in_order(kept)


def _in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests, those of each kit sorted by rule id: the first failure is the most informative.

    Tests of the same failure are kept together, so that a worker of pytest-xdist plays it once.
    """
    kits = [(getattr(item, "cls", None) if _rule(item) else None) for item in items]
    first = {cls: place for place, cls in reversed(list(enumerate(kits)))}
    places = range(len(items))

    def place(i: int) -> tuple[int, str, str]:
        if kits[i] is None:
            return i, "", ""
        shared = getattr(items[i].function, "__anymedia_per__", "") == "submit_failure"  # type: ignore[attr-defined]
        case = str(items[i].callspec.params["case"]) if shared else ""  # type: ignore[attr-defined]
        return first[kits[i]], "C01" if case else str(_rule(items[i])), case

    order = sorted(places, key=place)
    return [items[i] for i in order]


class _Kit:
    """The hooks that a run with tests of the kit needs."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a rule that was skipped or expected to fail without a known gap."""
        report = yield
        recorded = dict(item.user_properties).get("anymedia")
        if report.failed and isinstance(recorded, list):
            from anymedia.testing import RULES

            rule = recorded[1]
            fix = (item.function.__doc__ or "").strip()  # type: ignore[attr-defined]
            report.sections.append((f"rule {rule}: {RULES[rule]}", f"{fix}\ndocs/conformance.md#{rule.lower()}"))
        if report.skipped and isinstance(recorded, list) and not recorded[2] and not recorded[1].startswith("L"):
            report.outcome = "failed"
            report.longrepr = f'{item.nodeid}: a rule can only be left out with @known_gap("{recorded[1]}", "why"), not with skip or xfail'
            vars(report).pop("wasxfail", None)
        return report


def _recorded(stats: dict[str, list[Any]], wanted: str) -> Iterator[tuple[str, Any]]:
    """Yield category and value of what the reports have recorded under a name."""
    for category, reports in stats.items():
        for report in reports:
            yield from ((category, value) for name, value in getattr(report, "user_properties", ()) if name == wanted)


def _marks(stats: dict[str, list[Any]]) -> dict[str, dict[str, list[str]]]:
    """Return class -> rule -> the outcome of each of its tests."""
    found: dict[str, dict[str, list[str]]] = {}
    outcomes = {"passed": _PASSED, "xpassed": _PASSED, "failed": _FAILED, "error": _FAILED, "xfailed": "gap", "skipped": "skipped"}
    for category, (cls, rule, _) in _recorded(stats, "anymedia"):
        if category in outcomes:
            found.setdefault(cls, {}).setdefault(rule, []).append(outcomes[category])
    return found


def _cell(marks: list[str]) -> str:
    """Return the worst outcome of a rule's tests and their number."""
    for word in (_FAILED, "gap", "skipped"):
        if word in marks:
            return f"{word} {marks.count(word)}/{len(marks)}"
    return f"ok {len(marks)}" if marks else "-"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the closing table: a line for each rule, a column for each test class."""
    found = _marks(terminalreporter.stats)
    if not found:
        return
    rules = sorted({rule for marks in found.values() for rule in marks})
    widths = {cls: max(len(cls), *(len(_cell(found[cls].get(rule, []))) for rule in rules)) for cls in found}
    terminalreporter.section("anymedia: rules and backends")
    terminalreporter.write_line("      " + "  ".join(cls.ljust(width) for cls, width in widths.items()))
    for rule in rules:
        terminalreporter.write_line(f"{rule}   " + "  ".join(_cell(found[cls].get(rule, [])).ljust(w) for cls, w in widths.items()))
    recorded = sorted({tuple(value) for _, value in _recorded(terminalreporter.stats, "anymedia")})
    gaps = [f"  known gap {rule} of {cls}: {reason}" for cls, rule, reason in recorded if reason]
    untested = sorted({line for _, lines in _recorded(terminalreporter.stats, "anymedia_untested") for line in lines})
    for line in (*gaps, *untested):
        terminalreporter.write_line(line)
