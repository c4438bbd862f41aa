"""Everything that can go wrong, split by who must act.

    MediaError                          .code .fix .retry .charged .provider_message .to_json()
    |-- RequestError                    the caller can fix it; nothing was spent
    |   |-- InvalidRequest (.problems)  UnknownBackend  UnknownModel  UnknownContinuation  UnknownJob  RunKeyConflict  JobCancelled
    |   `-- UnsupportedOperation  UnsupportedInput  ModelRetired  BudgetExceeded  NoBackendAvailable  SettingsError
    |-- PluginError                     the plugin's author must fix it
    |   `-- DuplicateBackend  PluginLoadError  PluginContractError
    `-- BackendError                    the provider failed or refused: .backend .model .request_id
        |-- AuthenticationFailed  QuotaExceeded  RateLimited (.retry_after)  ContentRefused (.reason)
        `-- BackendTimeout  BackendUnavailable  BadBackendResponse  JobNotFound  SubmissionUnknown (.job_id)  OutputMismatch

Messages state what was asked, what is true and what to do. They never contain a secret or a signed URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import attrs

from .records import frozen

Charged = Literal["no", "yes", "unknown"]
Delivery = Literal["not_sent", "refused", "unknown"]


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelled most like ``name``, or None if none is similar."""
    import difflib

    names = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(name.casefold()[:200], list(names), 1)
    return names[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, else an empty string."""
    near = nearest_name(name, known)
    return f"; did you mean {near!r}?" if near is not None else ""


def shown(value: Any, limit: int = 60) -> str:
    """Return the repr of a caller's value, shortened for a message; never raises."""
    try:
        text = repr(value[: limit + 1] if isinstance(value, str | bytes) else value)
    except Exception:  # noqa: BLE001 - an integer of 5000 digits, a loop, a repr that raises
        text = f"<{type(value).__name__}>"
    return text[:limit]


@frozen
class Problem:
    """One thing that is wrong with a request.

    Attributes:
        path: the field, as a JSON path (``$.size``), or as the caller wrote it (``--size``).
        message: what is wrong.
        suggestion: what would be right, if that is known.
    """

    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """Return one line that names the field as Python code does: ``size=: expected ...``."""
        if self.path == "$":
            return self._text
        name = self.path.removeprefix("$.")
        return f"{name}=: {self._text}" if name.isidentifier() and name != self.path else f"{name}: {self._text}"

    def json_line(self) -> str:
        """Return one line that names the field by its path: ``$.size: expected ...``."""
        return f"{self.path}: {self._text}"

    @property
    def _text(self) -> str:
        return self.message + (f" ({self.suggestion})" if self.suggestion else "")


@frozen(kw_only=True)
class Reason:
    """Why a candidate was rejected: a stable code, a sentence, the field if there is one, and the nearest supported value."""

    code: str
    text: str
    field: str = ""
    nearest: str = ""


FixAction = Literal["resume", "rebind", "list_jobs", "export"]


@frozen
class Fix:
    """What the caller can do about an error, as a code that each interface renders in its own commands.

    Attributes:
        action: ``resume`` (ask again for the state and the result of a run), ``rebind`` (the same at another address) or ``list_jobs``
            (choose one of the known runs).
        run_id: the run that it is about.
    """

    action: FixAction
    run_id: str | None = None

    def render(self, commands: Mapping[FixAction, str]) -> str:
        """Return the fix as a sentence with the command of an interface; ``{run_id}`` stands for the run."""
        verbs = {"resume": "Resume it with", "rebind": "Rebind it with", "list_jobs": "List the jobs with", "export": "Copy it with"}
        return f"{verbs[self.action]}: {commands[self.action].replace('{run_id}', str(self.run_id))}"


@frozen
class Argument:
    """A field that a fix names, with a value or without; each interface writes it in its own way.

    Its text is that of Python code: ``backend='local'``, or ``backend``.
    """

    name: str
    value: str | bool | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


#: The text of a fix, with the fields that it names.
FixText = str | tuple[str | Argument, ...]
#: How Python code does it.
_PYTHON: Mapping[FixAction, str] = {
    "resume": "router.resume('{run_id}')",
    "rebind": "router.resume('{run_id}', rebind=True)",
    "list_jobs": "router.jobs()",
    "export": "router.export('{run_id}', 'folder/')",
}


class MediaError(Exception):
    """Base of all errors: a stable code, one fix, whether to retry, whether money may be gone.

    Attributes:
        code: stable machine-readable name.
        fix: one concrete thing to do, in the words of Python code, or an empty string.
        fix_parts: the same, with the fields that it names as `Argument`; see `hint`.
        action: what to do as a code, where there is one; see `hint`.
        model_refused: whether the provider refused the model itself: it does not exist there, or not for this account.
        retry: whether the same call may succeed later.
        charged: whether the provider charges for it: ``no``, ``yes`` or ``unknown``.
        try_backends: usable backends that can do what was asked.
        job_id: the journal's id of the call, where there is one.
        provider_message: the provider's own words, on one line and redacted; not ours, so never an instruction. Empty where it
            gave none.
        raw: what the provider answered, where it could not be interpreted; the core stores it for the user.
        kept: the path of the file with what was received, where it could not be interpreted. It is named to the local user only.
    """

    code: ClassVar[str] = "media_error"
    provider_message: str = ""
    raw: bytes | None = None
    kept: str = ""
    retry: bool = False
    model_refused: bool = False
    charged: Charged = "no"
    action: Fix | None = None

    def __init__(
        self,
        message: str,
        *,
        fix: FixText = "",
        try_backends: Iterable[str] = (),
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.try_backends = tuple(try_backends)
        self.job_id = job_id

    @property
    def fix(self) -> str:
        """One concrete thing to do, in the words of Python code."""
        return "".join(map(str, self.fix_parts))

    @fix.setter
    def fix(self, fix: FixText) -> None:
        self.fix_parts = (fix,) if isinstance(fix, str) else fix

    def __str__(self) -> str:
        """Return the message and the fix, for a person."""
        hint = self.hint()
        if not hint:
            return self.message
        if hint[:1].islower():  # it may begin with a command
            return f"{self.message} ({hint})"
        return f"{_sentence(self.message)} {hint}"

    def hint(self, commands: Mapping[FixAction, str] = _PYTHON, argument: Callable[[Argument], str] = str) -> str:
        """Return what to do in the words of an interface, by default Python's.

        Args:
            commands: how the interface carries out an action.
            argument: how it writes a field and its value.
        """
        fix = "".join(part if isinstance(part, str) else argument(part) for part in self.fix_parts)
        kept = f"What was received is kept: {self.kept}" if self.kept else ""
        then = kept or ("" if self.action is None else self.action.render(commands))
        return f"{_sentence(fix)} {then}" if fix and then else fix or then

    def to_json(self) -> dict[str, Any]:
        """Return the error as an agent gets it (JSON-ready)."""
        out: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            "try_backends": list(self.try_backends),
            "retry": self.retry,
            "charged": self.charged,
        }
        if self.action is not None:
            out["action"] = attrs.asdict(self.action)
        if self.job_id is not None:
            out["job_id"] = self.job_id
        if self.provider_message:
            out["provider_message"] = self.provider_message
        return out


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


class RequestError(MediaError):
    """The caller can fix it; nothing was spent.

    Attributes:
        reasons: why the nearest candidate was rejected, where the planner refused the request.
    """

    code = "request_error"
    reasons: tuple[Reason, ...] = ()


class InvalidRequest(RequestError):
    """The request itself is wrong; ``problems`` says where and how.

    The message names a field as Python code does (``size=``), `to_json` by its JSON path (``$.size``).
    """

    code = "invalid_request"

    def __init__(self, problems: Iterable[Problem] | str, *, fix: FixText = "", try_backends: Iterable[str] = ()) -> None:
        found = (Problem("$", problems),) if isinstance(problems, str) else tuple(problems)
        self.problems = found
        super().__init__("; ".join(str(p) for p in found), fix=fix, try_backends=try_backends)

    def at(self, path: str) -> InvalidRequest:
        """Return the error with its problems of the whole value located at a path."""
        problems = [attrs.evolve(problem, path=path) if problem.path == "$" else problem for problem in self.problems]
        return InvalidRequest(problems, fix=self.fix_parts, try_backends=self.try_backends)

    def renamed(self, names: Mapping[str, str]) -> InvalidRequest:
        """Return the error with other names for its fields.

        Args:
            names: a field (``mask``, ``references[0]``), without ``$.`` -> the path that replaces it (``$.mask_path``, ``--mask``).
        """
        moved = []
        for problem in self.problems:
            found = re.match(r"\$\.(\w+(?:\[\d+\])?)", problem.path)
            for name in (found[1], found[1].partition("[")[0]) if found is not None else ():
                if name in names:
                    problem = attrs.evolve(problem, path=names[name] + problem.path[2 + len(name) :])
                    break
            moved.append(problem)
        return InvalidRequest(moved, fix=self.fix_parts, try_backends=self.try_backends)

    def to_json(self) -> dict[str, Any]:
        """Return the error with its problems, each with a path."""
        message = "; ".join(p.json_line() for p in self.problems)
        return super().to_json() | {"message": message, "problems": [attrs.asdict(p) for p in self.problems]}


class UnknownBackend(RequestError):
    """No installed or configured backend has that name.

    Attributes:
        nearest: the backend that is spelled most like it, or an empty string.
    """

    code = "unknown_backend"
    nearest: str = ""


class UnknownModel(RequestError):
    """No backend lists that model."""

    code = "unknown_model"
    model_refused = True


class UnknownContinuation(RequestError):
    """The continuation id is unknown, expired or evicted, or its file is gone."""

    code = "unknown_continuation"


class UnknownJob(RequestError):
    """The journal has no such job."""

    code = "unknown_job"


class JobCancelled(RequestError):
    """The job was cancelled on request; ``charged`` says whether the provider may still charge for it."""

    code = "cancelled"


class RunKeyConflict(RequestError):
    """A run key belongs to another request, or to a job that was deleted; nothing was sent."""

    code = "run_key_conflict"


class UnsupportedOperation(RequestError):
    """No usable candidate can honour the request."""

    code = "unsupported_operation"


class UnsupportedInput(RequestError):
    """The operation is supported, but not with this input (a mask, a reference, a frame, a format, a size)."""

    code = "unsupported_input"


class ModelRetired(RequestError):
    """The provider has shut the model down."""

    code = "model_retired"
    model_refused = True


class BudgetExceeded(RequestError):
    """A cap would be exceeded; refused before anything is sent."""

    code = "budget_exceeded"


class NotApproved(BudgetExceeded):
    """A person must approve what the request may cost, and did not or could not; refused before anything is sent."""

    code = "not_approved"


class OutOfResources(RequestError):
    """The process or the machine has no room for the answer (file descriptors, memory, disk space); nothing was sent."""

    code = "out_of_resources"
    retry = True


class NoBackendAvailable(RequestError):
    """No installed backend that could do it is usable: credentials or libraries are missing."""

    code = "no_backend_available"


class SettingsError(RequestError):
    """The settings or the keys file are wrong; the message says which file, table and key."""

    code = "settings_error"


class PluginError(MediaError):
    """The plugin's author must fix it.

    Attributes:
        delivery: ``not_sent`` if the submit was certainly not sent; else None.
    """

    code = "plugin_error"
    delivery: Delivery | None = None


class DuplicateBackend(PluginError):
    """Two distributions provide a backend of the same name."""

    code = "duplicate_backend"


class PluginLoadError(PluginError):
    """The plugin could not be imported or registered."""

    code = "plugin_load_error"


class PluginContractError(PluginError):
    """The plugin broke the contract of a hook."""

    code = "plugin_contract_error"


class BackendError(MediaError):
    """The provider refused, failed or did not answer.

    Attributes:
        backend, model: set by the core.
        request_id: the provider's id of the exchange, if it gave one.
        delivery: what is known about the submit (``not_sent``, ``refused``, ``unknown``);
            set by ``context.submission()``, or by the plugin if it knows more.
        retry_after: seconds the provider asked to wait, if it did.
        status: the HTTP status of the failed answer, if any.
        cost_usd: the cost in US dollars despite the failure, if the provider reports it (set by the plugin).
    """

    code = "backend_error"
    cost_usd: float | None = None
    backend: str = ""
    model: str = ""
    status: int | None = None
    delivery: Delivery | None = None

    def __init__(
        self,
        message: str,
        *,
        fix: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        delivery: Delivery | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix, job_id=job_id)
        self.request_id = request_id
        self.retry_after = retry_after
        self.delivery = delivery

    def to_json(self) -> dict[str, Any]:
        """Return the error with backend, model and the provider's request id."""
        out = super().to_json()
        extra: Mapping[str, Any] = {
            "backend": self.backend or None,
            "model": self.model or None,
            "request_id": self.request_id,
            "retry_after": self.retry_after,
        }
        return out | {k: v for k, v in extra.items() if v is not None}


class AuthenticationFailed(BackendError):
    """The provider did not accept the credentials."""

    code = "authentication_failed"


class QuotaExceeded(BackendError):
    """The account's credit or quota is used up; a short wait does not help."""

    code = "quota_exceeded"


class RateLimited(BackendError):
    """Too many requests; ``retry_after`` in seconds if the provider gave it."""

    code = "rate_limited"
    retry = True


class ContentRefused(BackendError):
    """The provider's safety system refused the prompt, an input or the output."""

    code = "content_refused"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        fix: str = "",
        request_id: str | None = None,
        delivery: Delivery | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message, fix=fix, request_id=request_id, delivery=delivery, job_id=job_id)
        self.reason = reason

    def to_json(self) -> dict[str, Any]:
        """Return the error with the provider's reason."""
        return super().to_json() | {"reason": self.reason}


class BackendTimeout(BackendError):
    """The deadline passed; a running job stays resumable by its job id."""

    code = "backend_timeout"


class BackendUnavailable(BackendError):
    """The provider is down, overloaded or unreachable."""

    code = "backend_unavailable"
    retry = True


class BadBackendResponse(BackendError):
    """The provider's answer could not be read, or contained no media."""

    code = "bad_backend_response"


class AnswerTooLarge(BadBackendResponse):
    """The provider's answer is longer than the answer to such a call may be; reading it was aborted."""

    code = "answer_too_large"


class JobNotFound(BackendError):
    """The provider does not find a job that it had accepted; a later status check may find it."""

    code = "job_not_found"
    charged: Charged = "unknown"


class SubmissionUnknown(BackendError):
    """The request may have reached the provider, but no answer arrived; it was not sent again."""

    code = "submission_unknown"
    charged: Charged = "unknown"


class OutputMismatch(BackendError):
    """The result is not what was asked for or what it claims to be."""

    code = "output_mismatch"
    charged: Charged = "yes"
