"""anymedia: one call, any media backend.

A map of the package, from the inside out; imports run one way, downwards in this list.

    errors.py                       what can go wrong, split by who must act
    wording.py  operations.py       numbers in messages; words that all share
    directories.py  distributions.py   where the user's files are; what is installed
    media.py  masks.py              where bytes come from; the one canonical mask
    fields.py  requests.py          the six requests; each field's role
    adjustments.py  results.py      what was fitted; what a hook returns, what a caller gets
    capabilities/  policy.py        what models can do; what the caller allows
    planning/                       plan(): pure, before spending
    credentials.py  delivery.py     keys that never show themselves; was a request delivered?
    context.py  hookspecs.py        what a plugin is given; what it may implement
    http/                           plain HTTP for plugins without an SDK
    registry.py  settings.py        plugins, configuration,
    instances.py                    and the backend instances made of both
    state/                          what outlives a call: journal, ledger, continuations
    transfer/                       the edge to files and network
    clock.py  polling.py            time, and when to look at a job next
    running/  bridging.py           carrying out a plan, station by station
    plan_maker.py                   plans from what is installed and configured
    router.py                       the one that knows all the stations
    generation_config.py            the flat, agent-facing form
    agents/  cli/                   what agents and people meet
    testing/                        the conformance kit for backends

Names are loaded when they are first used, so that ``import anymedia`` costs next to nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as typing's own, whose import would be a third of this one's time
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
    from .state.memory import MemoryStore
    from .state.sqlite import SqliteStore

#: Public name -> the module it stands in.
_HOMES = {
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
    "MemoryStore": "state.memory",
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
    "MemoryStore",
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
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
