"""anymedia: one call, any media backend.

The modules from the inside out; a module imports only from those above it.

    errors.py  formatting.py        the error tree; numbers in messages
    strict_json.py                  JSON without surprises
    media.py  masks.py              sources of bytes; the canonical mask
    fields.py  requests.py          the six requests and the role of each field
    results.py                      outcomes and jobs (from hooks), results (to callers)
    capabilities/  policy.py        the capability matrix; what the caller allows
    planning/                       plan(): pure, before anything is spent
    credentials.py  redaction.py    keys, and keeping them out of every text
    network.py                      proxies and certificate authorities
    context.py  hookspecs.py        what a plugin receives and implements
    http/  delivery.py              plain HTTP for plugins without an SDK; was a request delivered?
    settings.py                     configuration files and environment variables
    plugins/                        installed plugins and the backend instances made of them
    probe/  files/  net/  convert/  format detection; files; network; decoding and encoding
    artifacts/                      content-addressed files of calls: inputs, answers, finished pieces
    state/                          journal, ledger and continuations
    answers/                        reading provider answers: media, error messages, comparison with the request
    execution/                      execution of a plan: submit, poll, finalize, resume
    plan_maker.py                   plans from settings and installed plugins, without a store or an event loop
    router.py  sync_router.py       Router, the entry point, and its twin without await
    generation_config.py            the flat form: one mapping of fields that becomes a request
    agents/  cli/                   interfaces for agents and for the command line
    testing/                        the conformance kit for backends

Public names are imported on first use, so that ``import anymedia`` is fast.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # importing it from typing would take a third of the import time
if TYPE_CHECKING:
    from .capabilities import CapabilityMatrix, load_matrix
    from .context import Context, LoadedMedia
    from .credentials import Secret
    from .generation_config import GenerationConfig
    from .hookspecs import ListedModel, SubmissionRecord, hookimpl
    from .media import Audio, Image, Video
    from .planning import Plan
    from .policy import Budget, Policy, Tolerance
    from .requests import (
        Continuation,
        ContinueVideo,
        EditWithReferences,
        GenerateAudio,
        GenerateImage,
        GenerateVideo,
        Inpaint,
        Mask,
        Reference,
        Request,
    )
    from .results import ContinuationData, Failed, Job, JobState, MediaFile, Outcome, Piece, Result, Running, Succeeded
    from .router import Progress, Router
    from .settings import Settings, load_settings
    from .state.sqlite import SqliteStore
    from .sync_router import SyncRouter

#: Public name -> its module.
_MODULES = {
    "Audio": "media",
    "Budget": "policy",
    "CapabilityMatrix": "capabilities",
    "Context": "context",
    "Continuation": "requests",
    "ContinuationData": "results",
    "ContinueVideo": "requests",
    "EditWithReferences": "requests",
    "Failed": "results",
    "GenerateAudio": "requests",
    "GenerateImage": "requests",
    "GenerateVideo": "requests",
    "GenerationConfig": "generation_config",
    "Image": "media",
    "Inpaint": "requests",
    "Job": "results",
    "JobState": "results",
    "ListedModel": "hookspecs",
    "LoadedMedia": "context",
    "Mask": "requests",
    "MediaFile": "results",
    "Outcome": "results",
    "Piece": "results",
    "Plan": "planning",
    "Policy": "policy",
    "Progress": "router",
    "Reference": "requests",
    "Request": "requests",
    "Result": "results",
    "Router": "router",
    "Running": "results",
    "Secret": "credentials",
    "Settings": "settings",
    "SqliteStore": "state.sqlite",
    "SubmissionRecord": "hookspecs",
    "Succeeded": "results",
    "SyncRouter": "sync_router",
    "Tolerance": "policy",
    "Video": "media",
    "hookimpl": "hookspecs",
    "load_matrix": "capabilities",
    "load_settings": "settings",
}

__all__ = [
    "Audio",
    "Budget",
    "CapabilityMatrix",
    "Context",
    "Continuation",
    "ContinuationData",
    "ContinueVideo",
    "EditWithReferences",
    "Failed",
    "GenerateAudio",
    "GenerateImage",
    "GenerateVideo",
    "GenerationConfig",
    "Image",
    "Inpaint",
    "Job",
    "JobState",
    "ListedModel",
    "LoadedMedia",
    "Mask",
    "MediaFile",
    "Outcome",
    "Piece",
    "Plan",
    "Policy",
    "Progress",
    "Reference",
    "Request",
    "Result",
    "Router",
    "Running",
    "Secret",
    "Settings",
    "SqliteStore",
    "SubmissionRecord",
    "Succeeded",
    "SyncRouter",
    "Tolerance",
    "Video",
    "hookimpl",
    "load_matrix",
    "load_settings",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use.

    Raises:
        AttributeError: for any other name.
    """
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
