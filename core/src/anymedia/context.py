"""What a hook receives in addition to the request: settings and credentials, input bytes, the submit block.

The core creates one `Context` per hook call. A plugin never reads files, environment variables or the clock itself.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import attrs

from .capabilities import BillingRule, ModelSpec, OperationSpec
from .credentials import Secret
from .delivery import is_not_sent
from .errors import BackendError, InvalidRequest, MediaError, PluginContractError, SubmissionUnknown, UnknownContinuation
from .media import Media
from .network import Network
from .redaction import clean_text, summarize_exception
from .requests import EditWithReferences, Mask, Reference, StoredFile
from .results import Warning

__all__ = ["Context", "LoadedMedia", "answer_limit", "answers_up_to", "describe_references"]

_C = TypeVar("_C")
#: Bytes that the decoded answer to a call may have, where nothing else is said.
ANSWER_BYTES = 200_000_000
_LIMIT: ContextVar[int] = ContextVar("anymedia_answer_bytes", default=ANSWER_BYTES)
#: Exceptions of a bug in the plugin; a connection raises others.
_MISTAKES = (
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    NameError,
    AssertionError,
    ArithmeticError,
    ImportError,
    NotImplementedError,
)


def answer_limit() -> int:
    """Return how many decoded bytes the answer to the current request may have; the transports of all backends count them."""
    return _LIMIT.get()


@contextlib.contextmanager
def answers_up_to(count: int) -> Iterator[None]:
    """Set how many decoded bytes the answers to the requests in this block may have."""
    token = _LIMIT.set(count)
    try:
        yield
    finally:
        _LIMIT.reset(token)


@attrs.frozen(kw_only=True)
class LoadedMedia:
    """An input's bytes, in the form that the plan chose (format, mask polarity, orientation).

    Attributes:
        data: the bytes.
        mime: their type.
        filename: a generated name that is safe to send.
        width, height: pixels, where they apply.
        seconds: duration, where it applies.
        warnings: what was lost in the conversion.
    """

    data: bytes = attrs.field(repr=lambda d: f"<{len(d)} bytes>")
    mime: str
    filename: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    warnings: tuple[Warning | str, ...] = ()


_NO_MODEL = ModelSpec(id="", media="image")
_NO_OPERATION = OperationSpec(operation="")  # type: ignore[arg-type]  # of a hook that concerns none


def _spec(found: ModelSpec | None) -> ModelSpec:
    return found or _NO_MODEL


def _operation(found: OperationSpec | None) -> OperationSpec:
    return found or _NO_OPERATION


@attrs.define(kw_only=True, eq=False)
class Context:
    """The environment of one hook call.

    Attributes:
        backend: the instance's name.
        model: the chosen model id, as the provider knows it.
        service: the backend's service that the instance uses, or an empty string.
        spec: the chosen model's spec in the matrix; ``spec.wire`` contains the plugin's own facts about it. Empty where
            the matrix has no such model any more, and in hooks about no model.
        operation: the spec of the requested operation; ``operation.wire`` as above.
        settings: the instance's settings (``base_url`` and what else the plugin documents), and ``state_dir``, a
            directory for data that must outlive the process (not created yet).
        label: a unique text for this call, to be sent where the provider stores one, so that ``find_submission`` can find it.
        deadline: seconds left when the hook was called, or None.
        network: for the plugin's own connections: ``network.proxy_url(url)`` and ``network.ssl_context``.
        billing: errors that the provider documents as not charged; empty where requests go to another address than its own.
        hosts: the hosts that may receive the credentials (``host``, ``host:port``, ``*.domain``); None if undeclared.
        answer_bytes: how many decoded bytes the answer to the submit may have.
    """

    backend: str
    model: str = ""
    service: str = ""
    spec: ModelSpec = attrs.field(default=None, converter=_spec)
    operation: OperationSpec = attrs.field(default=None, converter=_operation)
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    label: str = ""
    idempotency_key: str = ""
    deadline: float | None = None
    hosts: tuple[str, ...] | None = None
    billing: tuple[BillingRule, ...] = ()
    network: Network = attrs.field(factory=Network)
    answer_bytes: int = ANSWER_BYTES
    _secrets: Mapping[str, Secret] = attrs.field(factory=dict, alias="secrets", repr=False)
    _loaded: Mapping[Media | Mask | StoredFile, LoadedMedia] = attrs.field(factory=dict, alias="loaded", repr=False)
    _clients: Callable[[str, Callable[[], Any]], Any] | None = attrs.field(default=None, alias="clients", repr=False)
    _fetch: Callable[[str, Mapping[str, str]], Awaitable[bytes]] | None = attrs.field(default=None, alias="fetch", repr=False)
    _stream: Callable[[str, int], AsyncGenerator[bytes]] | None = attrs.field(default=None, alias="stream", repr=False)
    _on_progress: Callable[[float | None, str], None] | None = attrs.field(default=None, alias="on_progress", repr=False)
    _run_blocking: Callable[[Callable[[], Any]], Awaitable[Any]] | None = attrs.field(default=None, alias="run_blocking", repr=False)
    _now: Callable[[], float] = attrs.field(default=time.time, alias="now", repr=False)
    submissions: int = attrs.field(default=0, init=False)

    def secret(self, name: str) -> Secret:
        """Return a credential by its name in the matrix; call ``.reveal()`` only to pass it to the SDK.

        Raises:
            PluginContractError: for a name the matrix does not list.
        """
        try:
            return self._secrets[name]
        except KeyError:
            known = ", ".join(self._secrets) or "none"
            raise PluginContractError(f"backend {self.backend!r} asked for the credential {name!r} (there are: {known})") from None

    def now(self) -> float:
        """Return seconds since the epoch on the core's clock, the reference of ``expires_at``."""
        return self._now()

    def has_secret(self, name: str) -> bool:
        """Whether a credential of that name was found."""
        return name in self._secrets

    def takes(self, field: str) -> bool:
        """Whether the chosen model accepts an option with the caller's value (so that it must be sent)."""
        option = self.operation.options.get(field)
        return option is not None and not option.fixed

    def client(self, factory: Callable[[], _C], *, name: str = "") -> _C:
        """Return the SDK client that ``factory`` creates, cached per instance, credentials, event loop and ``name``.

        Clients are closed (``aclose`` or ``close``) with the router.
        """
        if self._clients is None:
            return factory()
        made: _C = self._clients(name, factory)
        return made

    def read(self, media: Media | Mask | StoredFile) -> LoadedMedia:
        """Return the bytes of one of the request's inputs, or of one of its continuation's files.

        Raises:
            UnknownContinuation: a continuation's file is missing or has changed.
            PluginContractError: the media are not part of the request.
        """
        try:
            return self._loaded[media]
        except KeyError:
            if isinstance(media, StoredFile):
                text = f"the file {media.path!r} of the continuation is missing or has changed"
                raise UnknownContinuation(text, fix="pass the file as an input, or generate it again") from None
            raise PluginContractError(f"{media} is not an input of this request") from None

    async def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Fetch a small provider URL through the guarded fetcher; headers are sent only to the declared hosts."""
        if self._fetch is None:
            raise PluginContractError("this context cannot fetch")
        return await self._fetch(url, headers or {})

    def stream(self, url: str, start: int = 0) -> AsyncGenerator[bytes]:
        """Fetch a file of any size from a link of the provider, through the guarded fetcher and without credentials.

        Use it also to follow a redirect from the provider's address.

        Args:
            url: http or https, to a public host or to one that the settings allow.
            start: the byte to start at.

        Raises:
            ValueError: the server cannot start there.
            BackendUnavailable, BadBackendResponse: the request failed, or the address is not allowed.
        """
        if self._stream is None:
            raise PluginContractError("this context cannot fetch")
        return self._stream(url, start)

    async def run_blocking(self, work: Callable[..., _C], *args: Any, **options: Any) -> _C:
        """Call a function that blocks (a synchronous SDK, a pipeline in this process) in a thread, and return its result.

        At most ``max_concurrent`` of the instance's settings, or else of the capability file, run at the same time, so that a single
        GPU is not shared. The function may call `progress`. A cancellation does not interrupt it: the thread ends by itself, and is
        counted until then.
        """
        call = functools.partial(work, *args, **options)
        if self._run_blocking is not None:
            done: _C = await self._run_blocking(call)
            return done
        import asyncio

        return await asyncio.to_thread(call)

    def progress(self, fraction: float | None, note: str = "") -> None:
        """Report progress to the caller: 0 to 1, or None if unknown.

        It may be called from any thread: the caller's function is always called in the event loop, in the order of the reports.
        """
        if self._on_progress is not None:
            self._on_progress(fraction, clean_text(note))

    @contextlib.asynccontextmanager
    async def submission(self) -> AsyncIterator[str]:
        """Wrap the one billable submit; yields an idempotency key for providers that document one.

        Every BackendError that leaves the block has ``delivery`` set: to the plugin's value, or to ``not_sent`` where
        the deepest cause is DNS, a refused connection or the TLS handshake, or to ``unknown``. A RequestError raised
        in the block means that the provider rejected the request.

        Raises:
            SubmissionUnknown: in place of any other exception.
        """
        self.submissions += 1
        if self.submissions > 1:
            raise PluginContractError(f"backend {self.backend!r} submits twice in one call")
        try:
            with answers_up_to(self.answer_bytes):
                yield self.idempotency_key
        except BackendError as error:
            if error.delivery is None:
                error.delivery = "not_sent" if is_not_sent(error) else "unknown"
            raise
        except MediaError:
            raise
        except Exception as error:
            wrapped = SubmissionUnknown(self._why(error))
            wrapped.delivery = "not_sent" if is_not_sent(error) else "unknown"
            raise wrapped from error

    def _why(self, error: Exception) -> str:
        """Return the message for another exception: a network error, or a bug in the plugin."""
        if isinstance(error, _MISTAKES) and not isinstance(error, OSError):
            return f"backend {self.backend!r} raised {summarize_exception(error)}"
        return f"no answer came back ({type(error).__name__})"


def describe_references(request: EditWithReferences, context: Context) -> tuple[str, list[LoadedMedia]]:
    """Return the prompt with the roles of references in words, and the pictures in the order to send them: sources first.

    Raises:
        InvalidRequest: the prompt becomes longer than the model accepts.
    """
    ordered = sorted(request.references, key=lambda reference: reference.role != "source")
    prompt = "\n".join([request.prompt, *filter(None, (_role_in_words(r, number) for number, r in enumerate(ordered, 1)))])
    if (wrong := context.operation.prompt.problem(prompt)) is not None:
        text = f"with the roles of its references in words, '{context.model}' {wrong} in the prompt"
        raise InvalidRequest(text, fix="shorten the prompt")
    return prompt, [context.read(reference.image) for reference in ordered]


def _role_in_words(reference: Reference, number: int) -> str:
    if reference.role == "source" and not reference.description:
        return ""
    kind = f" ({reference.type})" if reference.type else ""
    what = {
        "source": f"Of picture {number}",
        "style": f"Take the style, and only the style, from picture {number}",
        "control": f"Follow the structure{kind} of picture {number}",
        "subject": f"Keep the subject{kind} of picture {number} as it is",
    }[reference.role]
    return f"{what}: {reference.description}." if reference.description else f"{what}."
