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
    generation_config.py            the flat form: one mapping of fields that becomes a request
    agents/  cli/                   interfaces for agents and for the command line
    testing/                        the conformance kit for backends

Public names are imported on first use, so that ``import anymedia`` is fast.
"""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # importing it from typing would take a third of the import time
if TYPE_CHECKING:
    from . import aio as aio
    from .capabilities import CapabilityMatrix as CapabilityMatrix
    from .capabilities import load_matrix as load_matrix
    from .context import Context as Context
    from .context import LoadedMedia as LoadedMedia
    from .context import describe_references as describe_references
    from .credentials import Secret as Secret
    from .errors import BackendError as BackendError
    from .errors import BackendTimeout as BackendTimeout
    from .errors import BudgetExceeded as BudgetExceeded
    from .errors import ContentRefused as ContentRefused
    from .errors import InvalidRequest as InvalidRequest
    from .errors import MediaError as MediaError
    from .errors import NoBackendAvailable as NoBackendAvailable
    from .errors import RequestError as RequestError
    from .errors import SubmissionUnknown as SubmissionUnknown
    from .errors import UnsupportedOperation as UnsupportedOperation
    from .execution.asked import OutputTo as OutputTo
    from .generation_config import GenerationConfig as GenerationConfig
    from .hookspecs import ListedModel as ListedModel
    from .hookspecs import SubmissionRecord as SubmissionRecord
    from .hookspecs import hookimpl as hookimpl
    from .media import Audio as Audio
    from .media import Image as Image
    from .media import MediaInput as MediaInput
    from .media import Video as Video
    from .planning import Plan as Plan
    from .plugins.instances import ModelInfo as ModelInfo
    from .policy import Budget as Budget
    from .policy import Policy as Policy
    from .policy import Tolerance as Tolerance
    from .requests import Continuation as Continuation
    from .requests import ContinueVideo as ContinueVideo
    from .requests import EditWithReferences as EditWithReferences
    from .requests import GenerateAudio as GenerateAudio
    from .requests import GenerateImage as GenerateImage
    from .requests import GenerateVideo as GenerateVideo
    from .requests import Inpaint as Inpaint
    from .requests import Mask as Mask
    from .requests import Reference as Reference
    from .requests import Request as Request
    from .requests import Transform as Transform
    from .results import Adjustment as Adjustment
    from .results import ContinuationData as ContinuationData
    from .results import Cost as Cost
    from .results import Failed as Failed
    from .results import Job as Job
    from .results import JobState as JobState
    from .results import MediaFile as MediaFile
    from .results import Outcome as Outcome
    from .results import Piece as Piece
    from .results import Result as Result
    from .results import Running as Running
    from .results import Succeeded as Succeeded
    from .results import Warning as Warning
    from .router import Progress as Progress
    from .router import Router as Router
    from .settings import Settings as Settings
    from .settings import load_settings as load_settings
    from .shortcuts import edit as edit
    from .shortcuts import image as image
    from .shortcuts import music as music
    from .shortcuts import speech as speech
    from .shortcuts import video as video
    from .state.sqlite import SqliteStore as SqliteStore
    from .state.store import CallRecord as CallRecord
    from .sync_router import SyncRouter as SyncRouter

#: Module -> its public names.
_NAMES = {
    "aio": "aio",
    "capabilities": "CapabilityMatrix load_matrix",
    "context": "Context LoadedMedia describe_references",
    "credentials": "Secret",
    "errors": "BackendError BackendTimeout BudgetExceeded ContentRefused InvalidRequest MediaError NoBackendAvailable RequestError "
    "SubmissionUnknown UnsupportedOperation",
    "execution.asked": "OutputTo",
    "generation_config": "GenerationConfig",
    "hookspecs": "ListedModel SubmissionRecord hookimpl",
    "media": "Audio Image MediaInput Video",
    "planning": "Plan",
    "plugins.instances": "ModelInfo",
    "policy": "Budget Policy Tolerance",
    "requests": "Continuation ContinueVideo EditWithReferences GenerateAudio GenerateImage GenerateVideo Inpaint Mask Reference Request "
    "Transform",
    "results": "Adjustment ContinuationData Cost Failed Job JobState MediaFile Outcome Piece Result Running Succeeded Warning",
    "router": "Progress Router",
    "settings": "Settings load_settings",
    "shortcuts": "edit image music speech video",
    "state.sqlite": "SqliteStore",
    "state.store": "CallRecord",
    "sync_router": "SyncRouter",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_MODULES)


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
