"""A request as the JSON of an endpoint: which one, under which names, and its files as links.

The matrix's ``wire`` of an operation has: ``path``, the endpoint (by default the model's id); ``fields``, our name -> the endpoint's;
``forms``, field -> how its value is written (``{}s``); ``values``, field -> our value -> the endpoint's; and a table per input field
with a path and fields of its own, for endpoints that take that input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anymedia.capabilities import InputRule, ReferencesRule
from anymedia.context import Context, LoadedMedia, describe_references
from anymedia.credentials import Secret
from anymedia.requests import EditWithReferences, Request, Transform, each

__all__ = ["endpoint_of", "fields_of"]

#: Input fields of requests, the one whose endpoint decides first.
_INPUTS = ("last_frame", "first_frame", "source", "mask")


def _wire(request: Request, context: Context) -> Mapping[str, Any]:
    """Return the names for this request, with those of the endpoint for its inputs."""
    wire = context.operation.wire
    own: Mapping[str, Any] = next((wire[name] for name in _INPUTS if name in wire and getattr(request, name, None) is not None), {})
    return {**wire, **own, "fields": {**wire.get("fields", {}), **own.get("fields", {})}}


def endpoint_of(request: Request, context: Context) -> str:
    """Return the id of the endpoint, such as ``fal-ai/flux/schnell``."""
    return str(_wire(request, context).get("path", context.model))


def fields_of(request: Request, context: Context) -> tuple[dict[str, Any], dict[str, LoadedMedia | list[LoadedMedia]]]:
    """Return the options that were asked for, with the prompt, and the files, both under the endpoint's names."""
    prompt, references = request.prompt, list[LoadedMedia]()
    if isinstance(request, EditWithReferences):  # no endpoint has a field for their descriptions
        prompt, references = describe_references(request, context)
    wire = _wire(request, context)
    files = dict(_files(request, context))
    if references:
        files["references"] = references if _is_list(context.operation.inputs["references"]) else references[0]
    options = ({"prompt": prompt} if prompt else {}) | dict(_options(request, context, wire))
    names = wire["fields"]
    return {names.get(k, k): v for k, v in options.items()}, {names.get(k, k): v for k, v in files.items()}


def _options(request: Request, context: Context, wire: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    forms, values = wire.get("forms", {}), wire.get("values", {})
    for name in context.operation.options:
        value = getattr(request, name, None)
        if value is not None and context.takes(name):
            value = values[name][value] if name in values else value
            yield name, forms[name].format(f"{value:g}") if name in forms else value
    for name, value in request.extra_params.items():
        yield name, value.reveal() if isinstance(value, Secret) else value


def _files(request: Request, context: Context) -> Iterator[tuple[str, LoadedMedia | list[LoadedMedia]]]:
    """Yield the inputs but references; a list where the endpoint takes a list."""
    if not isinstance(request, Transform):
        for name in _INPUTS:
            if (item := getattr(request, name, None)) is not None:
                yield name, context.read(item)
        return
    for role, value in request.inputs.items():
        rule = context.operation.inputs[role]
        loaded = [context.read(item) for item in each(value)]
        yield role, loaded if _is_list(rule) else loaded[0]


def _is_list(rule: object) -> bool:
    """Whether the endpoint takes a list of files under this name, of one even."""
    return isinstance(rule, InputRule | ReferencesRule) and rule.count[1] > 1
