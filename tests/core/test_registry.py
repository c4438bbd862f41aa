"""The registry: calls to single plugins, and breaches of the contract."""

import types
from typing import Any

import pytest

from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.context import Context
from anymedia.errors import (
    BackendUnavailable,
    DuplicateBackend,
    PluginContractError,
    PluginLoadError,
    UnknownBackend,
    UnsupportedOperation,
)
from anymedia.hookspecs import HOOKS, ListedModel, SubmissionRecord, hookimpl
from anymedia.plugins.registry import Registry, discover
from anymedia.requests import GenerateImage
from anymedia.results import Failed, Job, Outcome, Piece, Running, Succeeded

REQUEST = GenerateImage(prompt="x")
CONTEXT = Context(backend="one")
OUTCOME = Outcome(pieces=(Piece(data=b"x"),))
JOB = Job(id="j")
RECORD = SubmissionRecord(label="l", model="m", operation="generate_image", prompt="x", started_at=0.0)
EMPTY = CapabilityMatrix(models=())


def plugin(name: str = "plugin", *, matrix: Any = EMPTY, **answers: Any) -> types.ModuleType:
    """A module whose hooks return or raise a given value and count their calls."""
    module = types.ModuleType(name)
    module.calls = []  # type: ignore[attr-defined]

    def answer(hook: str, value: Any) -> Any:
        module.calls.append(hook)
        if isinstance(value, BaseException):
            raise value
        return value

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return answer("capabilities", matrix)  # type: ignore[no-any-return]

    module.capabilities = capabilities  # type: ignore[attr-defined]
    for hook, value in answers.items():
        setattr(module, hook, hookimpl(_hook(hook, lambda hook=hook, value=value: answer(hook, value))))
    return module


def _hook(name: str, answer: Any) -> Any:
    async def operation(request: Any, context: Any) -> Any:
        return answer()

    async def on_job(job: Any, context: Any) -> Any:
        return answer()

    async def on_record(record: Any, context: Any) -> Any:
        return answer()

    async def alone(context: Any) -> Any:
        return answer()

    made = {"check_job": on_job, "cancel_job": on_job, "find_submission": on_record, "list_models": alone}.get(name, operation)
    made.__name__ = name
    return made


def registry_of(**plugins: types.ModuleType) -> Registry:
    registry = Registry()
    for name, module in plugins.items():
        registry.register(name, module)
    return registry


@pytest.mark.anyio
async def test_call_reaches_named_plugin_only() -> None:
    one, two, three = (plugin(name, generate_image=OUTCOME) for name in ("one", "two", "three"))
    registry = registry_of(one=one, two=two, three=three)
    assert await registry.call("two", "generate_image", request=REQUEST, context=CONTEXT) is OUTCOME
    assert (one.calls, two.calls, three.calls) == ([], ["generate_image"], [])


@pytest.mark.anyio
async def test_call_passes_exact_arguments() -> None:
    module, seen = plugin(), []

    @hookimpl
    async def generate_image(request: Any, context: Any) -> Outcome:
        seen.extend([request, context])
        return OUTCOME

    module.generate_image = generate_image  # type: ignore[attr-defined]
    await registry_of(one=module).call("one", "generate_image", request=REQUEST, context=CONTEXT)
    assert seen[0] is REQUEST
    assert seen[1] is CONTEXT


@pytest.mark.anyio
async def test_call_of_absent_hook_is_unsupported() -> None:
    registry = registry_of(one=plugin("one"), two=plugin("two", inpaint=OUTCOME))
    with pytest.raises(UnsupportedOperation, match="'one' has no inpaint"):
        await registry.call("one", "inpaint", request=REQUEST, context=CONTEXT)
    assert not registry.has("one", "inpaint")
    assert registry.has("two", "inpaint")


@pytest.mark.anyio
async def test_call_raising_media_error_passes_it() -> None:
    error = BackendUnavailable("down")
    with pytest.raises(BackendUnavailable) as caught:
        await registry_of(one=plugin(generate_image=error)).call("one", "generate_image", request=REQUEST, context=CONTEXT)
    assert caught.value is error


ARGUMENTS: dict[str, dict[str, Any]] = {
    "check_job": {"job": JOB, "context": CONTEXT},
    "cancel_job": {"job": JOB, "context": CONTEXT},
    "find_submission": {"record": RECORD, "context": CONTEXT},
    "list_models": {"context": CONTEXT},
}
OPERATIONS = sorted(set(HOOKS) - set(ARGUMENTS) - {"capabilities"})


async def returned(hook: str, value: Any) -> Any:
    registry = registry_of(one=plugin(**{hook: value}))
    return await registry.call("one", hook, **ARGUMENTS.get(hook, {"request": REQUEST, "context": CONTEXT}))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("hook", "value"),
    [
        *((hook, value) for hook in OPERATIONS for value in (JOB, OUTCOME)),
        ("check_job", Running()),
        ("check_job", Succeeded(outcome=OUTCOME)),
        ("check_job", Failed(error=BackendUnavailable("x"))),
        ("cancel_job", None),
        ("find_submission", None),
        ("find_submission", JOB),
        ("find_submission", OUTCOME),
        ("list_models", ()),
        ("list_models", (ListedModel(id="m"),)),
    ],
)
async def test_call_returning_allowed_type_passes_it(hook: str, value: Any) -> None:
    assert await returned(hook, value) is value


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("hook", "value"),
    [
        *((hook, value) for hook in OPERATIONS for value in (None, b"png", {"id": "j"}, Succeeded(outcome=OUTCOME))),
        ("check_job", OUTCOME),
        ("check_job", None),
        ("cancel_job", True),
        ("find_submission", "j"),
        ("list_models", [ListedModel(id="m")]),
        ("list_models", ("m",)),
    ],
)
async def test_call_returning_wrong_type_breaks_contract(hook: str, value: Any) -> None:
    with pytest.raises(PluginContractError, match=f"'one': {hook} returned") as caught:
        await returned(hook, value)
    assert caught.value.charged == ("unknown" if hook in OPERATIONS else "no")


def test_capabilities_twice_calls_hook_once() -> None:
    module = plugin()
    registry = registry_of(one=module)
    assert registry.capabilities("one") is registry.capabilities("one") is EMPTY
    assert module.calls == ["capabilities"]


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (ValueError("row 3 is bad"), r"capabilities\(\) raised ValueError: row 3 is bad"),
        (SystemExit(1), "SystemExit"),
        (None, r"capabilities\(\) returned NoneType"),
        ({"models": []}, r"capabilities\(\) returned dict"),
        (PluginContractError("capabilities.toml: id is missing"), "capabilities.toml: id is missing"),
    ],
)
def test_capabilities_raising_marks_plugin_broken(matrix: Any, words: str) -> None:
    registry = registry_of(one=plugin("one", matrix=matrix), two=plugin("two"))
    with pytest.raises(PluginContractError, match=words) as caught:
        registry.capabilities("one")
    assert registry.broken["one"].reason is caught.value
    assert set(registry.plugins) == {"two"}
    assert registry.capabilities("two") is EMPTY
    with pytest.raises(UnknownBackend, match="installed but broken"):
        registry.capabilities("one")


def test_matrix_with_operation_without_hook_breaks_contract() -> None:
    matrix = parse_matrix({"schema": 1, "models": [{"id": "m", "generate_image": {}, "inpaint": {}}]}, "x")
    registry = registry_of(one=plugin(matrix=matrix, generate_image=OUTCOME))
    with pytest.raises(PluginContractError, match="'m' claims inpaint"):
        registry.capabilities("one")


def test_register_same_name_twice_is_refused() -> None:
    registry = registry_of(one=plugin())
    with pytest.raises(DuplicateBackend):
        registry.register("one", plugin())
    with pytest.raises(DuplicateBackend, match="same module"):
        registry.register("two", registry.plugins["one"].module)


def test_register_refused_leaves_registry_unchanged() -> None:
    registry = Registry()
    module = plugin()
    module.generate_imgae = hookimpl(_hook("generate_image", None))  # type: ignore[attr-defined]
    with pytest.raises(PluginContractError, match="did you mean"):
        registry.register("one", module)
    del module.generate_imgae
    assert registry.register("one", module).hooks == {"capabilities"}


@pytest.mark.parametrize("thing", [object(), type("Plugin", (), {}), lambda: None, "module"])
def test_register_non_module_is_refused(thing: Any) -> None:
    with pytest.raises(PluginContractError, match="must be a module"):
        Registry().register("one", thing)


def test_register_blocked_name_is_refused() -> None:
    registry = Registry()
    registry.block("one", "it is disabled")
    with pytest.raises(PluginLoadError, match="it is disabled"):
        registry.register("one", plugin())


def test_unknown_backend_lists_installed_ones() -> None:
    registry = registry_of(openai=plugin("a"), google=plugin("b"))
    registry.mark_broken("grok", PluginLoadError("no grpc"))
    registry.block("local", "disabled")
    with pytest.raises(UnknownBackend) as caught:
        registry.get("opnai")
    assert caught.value.message == (
        "no backend named 'opnai' (installed: google, openai; broken: grok; blocked: local); did you mean 'openai'?"
    )
    assert "no grpc" in registry.unknown("grok").message
    assert "disabled" in registry.unknown("local").message
    assert "did you mean 'grok'" in registry.unknown("grokk").message


def test_registry_mappings_are_read_only() -> None:
    registry = registry_of(one=plugin())
    for mapping in (registry.plugins, registry.broken, registry.blocked):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]


def test_discover_without_plugins_is_empty() -> None:
    registry = discover(entry_points=())
    assert (dict(registry.plugins), dict(registry.broken), dict(registry.blocked)) == ({}, {}, {})
