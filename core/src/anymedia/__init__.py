"""anymedia: one call, any media backend.

The modules from the inside out; a module imports only from those above it.

    records.py                      frozen classes that are quick to define
    errors.py  formatting.py        the error tree; numbers in messages
    strict_json.py  table.py        JSON without surprises; strict reading of TOML and JSON tables
    media.py  masks.py              sources of bytes; the canonical mask
    media_view.py                   the contents of a file: bytes, Pillow, numpy, notebooks
    fields.py  requests.py          the seven requests and the role of each field
    notes.py  results.py            adjustments and warnings; outcomes and jobs (from hooks), results (to callers)
    capabilities/  policy.py        the capability matrix; what the caller allows
    planning/                       plan(): pure, before anything is spent
    credentials.py  redaction.py    keys, and keeping them out of every text
    system_keyring.py               keys in the system's keyring
    telemetry.py                    spans and metrics in a program that uses OpenTelemetry
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
    realms.py                       views of a router for one realm each, with keys and budgets of their own
    operations.py                   the operations as methods with the fields of the requests (generated)
    router.py  sync_router.py       Router, the entry point, and its twin without await
    worker.py                       carries out queued calls of routers on other machines
    shortcuts.py  aio.py            the one-line functions: anymedia.image(...), await anymedia.aio.image(...)
    generation_config.py            the flat form: one mapping of fields that becomes a request; spellings.py: other ways to write values
    agents/  cli/                   interfaces for agents and for the command line
    testing/                        the conformance kit for backends

Public names are imported on first use, so that ``import anymedia`` is fast.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # importing it from typing would take a third of the import time
if TYPE_CHECKING:
    from . import aio
    from .capabilities import CapabilityMatrix, load_matrix
    from .context import Context, LoadedMedia, describe_references
    from .credentials import Secret
    from .errors import (
        BackendError,
        BackendTimeout,
        BudgetExceeded,
        ContentRefused,
        InvalidRequest,
        MediaError,
        NoBackendAvailable,
        RequestError,
        SubmissionUnknown,
        UnsupportedOperation,
    )
    from .execution.asked import OutputTo
    from .generation_config import GenerationConfig
    from .hookspecs import ListedModel, SubmissionRecord, hookimpl
    from .media import Audio, Image, MediaInput, Video
    from .planning import Plan
    from .plugins.instances import ModelInfo
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
        Transform,
    )
    from .results import (
        Adjustment,
        ContinuationData,
        Cost,
        Failed,
        Job,
        JobState,
        MediaFile,
        Outcome,
        Piece,
        Result,
        Running,
        Succeeded,
        Warning,
    )
    from .router import Progress, Router
    from .settings import Settings, load_settings
    from .shortcuts import edit, image, music, speech, video
    from .state.sqlite import SqliteStore
    from .state.store import CallRecord
    from .sync_router import SyncRouter

#: Public name -> its module.
_MODULES = {
    "aio": "aio",
    "Adjustment": "results",
    "Audio": "media",
    "BackendError": "errors",
    "BackendTimeout": "errors",
    "Budget": "policy",
    "BudgetExceeded": "errors",
    "CallRecord": "state.store",
    "CapabilityMatrix": "capabilities",
    "ContentRefused": "errors",
    "Context": "context",
    "Continuation": "requests",
    "ContinuationData": "results",
    "ContinueVideo": "requests",
    "Cost": "results",
    "EditWithReferences": "requests",
    "Failed": "results",
    "GenerateAudio": "requests",
    "GenerateImage": "requests",
    "GenerateVideo": "requests",
    "GenerationConfig": "generation_config",
    "Image": "media",
    "Inpaint": "requests",
    "InvalidRequest": "errors",
    "Job": "results",
    "JobState": "results",
    "ListedModel": "hookspecs",
    "LoadedMedia": "context",
    "Mask": "requests",
    "MediaError": "errors",
    "MediaFile": "results",
    "MediaInput": "media",
    "ModelInfo": "plugins.instances",
    "NoBackendAvailable": "errors",
    "Outcome": "results",
    "OutputTo": "execution.asked",
    "Piece": "results",
    "Plan": "planning",
    "Policy": "policy",
    "Progress": "router",
    "Reference": "requests",
    "Request": "requests",
    "RequestError": "errors",
    "Result": "results",
    "Router": "router",
    "Running": "results",
    "Secret": "credentials",
    "Settings": "settings",
    "SqliteStore": "state.sqlite",
    "SubmissionRecord": "hookspecs",
    "SubmissionUnknown": "errors",
    "Succeeded": "results",
    "SyncRouter": "sync_router",
    "Tolerance": "policy",
    "Transform": "requests",
    "UnsupportedOperation": "errors",
    "Video": "media",
    "Warning": "results",
    "describe_references": "context",
    "edit": "shortcuts",
    "hookimpl": "hookspecs",
    "image": "shortcuts",
    "load_matrix": "capabilities",
    "load_settings": "settings",
    "music": "shortcuts",
    "speech": "shortcuts",
    "video": "shortcuts",
}

__all__ = [
    "Adjustment",
    "Audio",
    "BackendError",
    "BackendTimeout",
    "Budget",
    "BudgetExceeded",
    "CallRecord",
    "CapabilityMatrix",
    "ContentRefused",
    "Context",
    "Continuation",
    "ContinuationData",
    "ContinueVideo",
    "Cost",
    "EditWithReferences",
    "Failed",
    "GenerateAudio",
    "GenerateImage",
    "GenerateVideo",
    "GenerationConfig",
    "Image",
    "Inpaint",
    "InvalidRequest",
    "Job",
    "JobState",
    "ListedModel",
    "LoadedMedia",
    "Mask",
    "MediaError",
    "MediaFile",
    "MediaInput",
    "ModelInfo",
    "NoBackendAvailable",
    "Outcome",
    "OutputTo",
    "Piece",
    "Plan",
    "Policy",
    "Progress",
    "Reference",
    "Request",
    "RequestError",
    "Result",
    "Router",
    "Running",
    "Secret",
    "Settings",
    "SqliteStore",
    "SubmissionRecord",
    "SubmissionUnknown",
    "Succeeded",
    "SyncRouter",
    "Tolerance",
    "Transform",
    "UnsupportedOperation",
    "Video",
    "Warning",
    "aio",
    "describe_references",
    "edit",
    "hookimpl",
    "image",
    "load_matrix",
    "load_settings",
    "music",
    "speech",
    "video",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use.

    Raises:
        AttributeError: for any other name.
    """
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    loaded = importlib.import_module(f".{module}", __name__)
    value: object = loaded if module == name else getattr(loaded, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
