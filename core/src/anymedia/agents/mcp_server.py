"""The MCP server: tools, progress, cancellation, and a preview image in each answer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..distributions import version_of
from ..errors import (
    InvalidRequest,
    MediaError,
    NotApproved,
    Problem,
    RequestError,
    SettingsError,
    UnknownBackend,
    UnsupportedOperation,
    did_you_mean,
)
from ..media import path_of
from ..plugins.instances import BackendInstance
from .available import describe_backends, missing
from .responses import error_answer, internal
from .schema import input_schema, installed, mcp_tool, object_of, result_schema, tool_schema, typed

if TYPE_CHECKING:
    from ..router import Progress, Router
    from .tool import MediaTool

_READS = {"readOnlyHint": True, "openWorldHint": False}
_ANY = object_of(("success",), success="boolean")


def tools_of(instances: Mapping[str, BackendInstance]) -> list[dict[str, Any]]:
    """Return the tools, as the protocol lists them."""
    job_id = typed("string", description="from an answer, an error or a progress message, or 'last'")
    backend = typed("string", description="only this backend", enum=sorted(instances)) if instances else typed("string")
    limit = typed("integer", minimum=1, maximum=100, description="maximum number of jobs")
    job = {
        "action": typed(
            "string",
            enum=["status", "wait", "export"],
            description="its status, wait for its result, or copy what was received and could not be interpreted",
        ),
        "deadline": typed("number", minimum=0, maximum=86400, description="maximum number of seconds to wait"),
        "output_path": typed("string", description="for export: a directory, or a file named .bin"),
    }
    knows = "What each usable backend supports, in full, and what the others lack."
    stops = "Cancel a job; the provider may charge for work already done."
    plans = "Return the plan of generate_media for the same arguments: backend, adjustments, price. Spends nothing."
    follows = "Return the status of a job, or wait for its result."
    again = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True}
    ends = again | {"destructiveHint": True}
    return [
        tool_schema("mcp", instances=instances),
        mcp_tool("plan_media", "Plan media", plans, input_schema(instances), _ANY, _READS),
        mcp_tool("media_capabilities", "Media capabilities", knows, _takes((), backend=backend), _ANY, _READS),
        mcp_tool("media_job", "Media job", follows, _takes(("job_id",), job_id=job_id, **job), result_schema(), again),
        mcp_tool("media_jobs", "Media jobs", "List the newest jobs with their state.", _takes((), limit=limit), _ANY, _READS),
        mcp_tool("media_cancel", "Cancel a media job", stops, _takes(("job_id",), job_id=job_id), result_schema(), ends),
    ]


def _takes(needed: Sequence[str], **fields: dict[str, Any]) -> dict[str, Any]:
    return object_of(needed, **fields) | {"additionalProperties": False}


@functools.cache
def _arguments() -> Mapping[str, Mapping[str, Any]]:
    """Return the schema of the arguments of each tool that does not check them itself."""
    return {tool["name"]: tool["inputSchema"] for tool in tools_of({})[2:]}


def arguments_problem(name: str, given: Mapping[str, Any], known: Iterable[str]) -> RequestError | None:
    """Return the error for an unknown tool or argument names; generate_media checks its own."""
    if name not in known:
        text = f"there is no tool {name[:60]!r}{did_you_mean(name[:60], known)}"
        return UnsupportedOperation(text, fix=f"use one of: {', '.join(known)}")
    if (schema := _arguments().get(name)) is None:
        return None
    from ..strict_json import path_below

    takes = schema["properties"].keys()
    unknown = sorted(given.keys() - takes)
    problems = [Problem(path_below("$", str(key)), "there is no such argument", f"it takes {', '.join(sorted(takes))}") for key in unknown]
    problems += [Problem(f"$.{key}", "is missing") for key in schema["required"] if key not in given]
    return InvalidRequest(problems) if problems else None


MAX_EDGE = 768
#: Maximum size of one preview in bytes, and of a whole answer in characters; hosts refuse one from 1 MiB on.
MAX_BYTES, MAX_ANSWER = 200_000, 950_000
_MOST_PREVIEWS = 4
#: HTTP sessions that may be open at the same time, and seconds without a request after which one is closed.
_MOST_SESSIONS, _SESSION_SECONDS = 200, 1800.0
#: Files larger than this are not decoded for a preview.
_MOST = 100_000_000
#: Bytes that a client can read of a file.
_MOST_RESOURCE = 50_000_000


async def preview_of(path: Path, mime: str, roots: Sequence[Path], most: int = MAX_BYTES) -> tuple[bytes, str] | None:
    """Return a JPEG or (with transparency) WebP preview of at most ``most`` bytes of an image file, and its mime type, or None.

    ``roots``: directories that it must lie in. It is read like an input, because the name may be a link by now.
    """
    if not mime.startswith("image/"):
        return None
    try:
        return await asyncio.to_thread(_make, path, roots, min(most, MAX_BYTES))
    except Exception:  # noqa: BLE001 - without a preview the answer still has the file
        return None


def _read_media(path: str, roots: Sequence[Path]) -> tuple[bytes, str]:
    """Return the bytes and mime type of an image, video or sound inside ``roots``; anything else is refused."""
    from ..files.paths import open_input
    from ..probe.probe import sniff

    with open_input(path, roots) as file:
        facts = sniff(file)
        if facts.size > _MOST_RESOURCE:
            raise InvalidRequest(f"the file has {facts.size} bytes, and a message may carry {_MOST_RESOURCE}")
        file.seek(0)
        return file.read(), facts.mime


def _make(path: Path, roots: Sequence[Path], most: int) -> tuple[bytes, str] | None:
    import io

    from PIL import Image

    from ..convert.images import open_picture
    from ..files.paths import open_input

    with open_input(path, roots) as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        return None
    picture = open_picture(data)
    picture.thumbnail((MAX_EDGE, MAX_EDGE), Image.Resampling.LANCZOS)
    see_through = picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info
    flat = picture.convert("RGBA" if see_through else "RGB")
    for quality, edge in ((85, MAX_EDGE), (70, MAX_EDGE), (60, 512), (50, 320), (40, 160)):
        flat.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        flat.save(out, "WEBP" if see_through else "JPEG", quality=quality)
        if out.tell() < most:
            return out.getvalue(), "image/webp" if see_through else "image/jpeg"
    return None


#: The first version of the protocol in which a server asks by the result of a call.
_ASKS_BY_RESULT = "2026-07-28"
_APPROVAL = object_of(("approve",), approve=typed("boolean", title="Approve", description="whether this may be spent"))
#: A code unit that stands for no character by itself.
_LONE = re.compile("[\ud800-\udfff]")
GUIDANCE = "anymedia://guidance"
#: Part of the remaining progress that an event without a new fraction adds, because the value must grow and stay below 1.
_STEP = 0.0001
#: Seconds that active calls may still take when the server is stopped; their jobs keep running.
_SHUTDOWN_SECONDS = 3
#: Creates the router for the first call, given the progress callback.
MakeRouter = Callable[[Callable[["Progress"], None]], "Router"]


def state_of(instances: Mapping[str, BackendInstance]) -> str:
    """Return one line with the usable backends and what the others lack."""
    usable = ", ".join(name for name, instance in instances.items() if instance.usable) or "none"
    lacking = "; ".join(f"{name} lacks {', '.join(words)}" for name, words in missing(instances).items())
    return f"usable backends: {usable}" + (f"; not usable: {lacking}" if lacking else "")


class MediaServer:
    """An MCP server. The first call opens the router, so that starting needs neither a store nor the network.

    Args:
        root: the directory that every path must lie in.
        make_router: by default a `Router` of the settings.
        instances: the backends of the schema and the guidance; by default those that are installed and configured.
        realm: the jobs and continuations that clients see; by default derived from the root, so that it stays the same when the server
            is started again. Over HTTP each authenticated client has a realm of its own within it, else each session.
    """

    def __init__(
        self,
        root: Path,
        *,
        make_router: MakeRouter | None = None,
        instances: Mapping[str, BackendInstance] | None = None,
        realm: str | None = None,
    ) -> None:
        if not root.is_dir():
            raise SettingsError(f"the root {str(root)!r} is not a directory", fix="create it, or name another one with --root")
        self.root = root.resolve()
        self.instances = installed() if instances is None else instances
        self._make_router = make_router
        self._router: Router | None = None
        self._realm = realm
        self._types, server = _sdk()
        self.server = server(
            "anymedia",
            title="anymedia",
            version=version_of("anymedia"),
            instructions=f"Images, video and sound from any installed backend; {state_of(self.instances)}. Read {GUIDANCE} first.",
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
        )

    @contextlib.asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Close the router at the end of the block, if one was opened and is not closed yet."""
        try:
            yield
        finally:
            router, self._router = self._router, None
            if router is not None:
                await router.aclose()

    def _tool(self, ctx: Any) -> MediaTool:
        from ..router import Router
        from .tool import MediaTool, tell

        if self._router is None:
            self._router = Router(on_progress=tell) if self._make_router is None else self._make_router(tell)
        return MediaTool(self._router, roots=[self.root], base=self.root, realm=self.realm(ctx.request))

    def realm(self, request: Any = None) -> str:
        """Return the realm of the client of an HTTP request, which has a session or is authenticated; None if there is one client."""
        from .normalize import PathScope

        own = self._realm or PathScope(base=self.root, roots=(self.root,), inputs=(self.root,)).realm
        if request is None:
            return own
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context

        user, session = request.scope.get("user"), request.headers.get("mcp-session-id")
        if isinstance(user, AuthenticatedUser):
            client = repr(authorization_context(user))
        elif session:
            client = session
        else:
            raise RequestError("this client has no session", fix="connect with the initialize handshake, or authenticate")
        return f"{own}/{hashlib.sha256(client.encode()).hexdigest()[:24]}"

    # Tools

    async def _list_tools(self, _ctx: Any, _params: Any) -> Any:
        return self._types.ListToolsResult(tools=[self._types.Tool.model_validate(tool) for tool in tools_of(self.instances)])

    async def _call_tool(self, ctx: Any, params: Any) -> Any:
        arguments = dict(params.arguments or {})
        try:
            works = self._works()
            problem = arguments_problem(params.name, arguments, works)
            if problem is None and params.name == "generate_media":
                approved = await self._approved(ctx, params, arguments)
                if not isinstance(approved, frozenset):
                    return approved
                works = {"generate_media": functools.partial(self._generate, approved=approved)}
            answer = await works[params.name](ctx, arguments) if problem is None else error_answer(problem)
        except MediaError as error:
            answer = error_answer(error)
        except Exception as error:  # noqa: BLE001 - a host always gets an answer
            answer = error_answer(internal(error))
        return await self._result(answer)

    def _works(self) -> dict[str, Callable[[Any, dict[str, Any]], Awaitable[dict[str, Any]]]]:
        return {
            "generate_media": self._generate,
            "plan_media": lambda ctx, given: self._tool(ctx).plan(given),
            "media_capabilities": self._capabilities,
            "media_job": lambda ctx, given: self._tool(ctx).job(**given),
            "media_jobs": lambda ctx, given: self._tool(ctx).jobs(given.get("limit", 20)),
            "media_cancel": lambda ctx, given: self._tool(ctx).job(given["job_id"], "cancel"),
        }

    async def _approved(self, ctx: Any, params: Any, given: dict[str, Any]) -> Any:
        """Ask the person at the host about what needs approval; return what was approved, or the protocol's result that asks.

        Since 2026-07-28 a server asks by a result, and the host repeats the call with the answer; earlier it sends a request.

        Raises:
            NotApproved: the person did not approve, or the host cannot ask.
        """
        asked = await self._tool(ctx).to_approve(given)
        if not asked:
            return frozenset()
        listing = "\n".join(asked.values())
        if not ctx.session.check_client_capability(self._types.ClientCapabilities(elicitation=self._types.ElicitationCapability())):
            raise NotApproved(f"a person must approve this, and the host of this server cannot ask (no elicitation): {listing}")
        state = " ".join(asked)
        message = f"Spend money for this?\n{listing}"
        if ctx.session.protocol_version < _ASKS_BY_RESULT:
            answer = await ctx.session.elicit_form(message, _APPROVAL, ctx.request_id)
        elif params.request_state == state and params.input_responses:
            answer = self._types.ElicitResult.model_validate(params.input_responses.get("approval"), from_attributes=True)
        else:
            form = self._types.ElicitRequestFormParams(message=message, requested_schema=_APPROVAL)
            return self._types.InputRequiredResult(input_requests={"approval": self._types.ElicitRequest(params=form)}, request_state=state)
        if answer.action != "accept" or (answer.content or {}).get("approve") is not True:
            raise NotApproved(f"the person at the host did not approve it: {listing}")
        return frozenset(asked)

    async def _generate(self, ctx: Any, given: dict[str, Any], approved: frozenset[str] = frozenset()) -> dict[str, Any]:
        events: asyncio.Queue[Progress | None] = asyncio.Queue()
        reporter = asyncio.create_task(_report(ctx, events))
        try:
            return await self._tool(ctx).generate(given, on_progress=events.put_nowait, approved=approved)
        finally:
            events.put_nowait(None)
            await reporter

    async def _capabilities(self, _ctx: Any, given: dict[str, Any]) -> dict[str, Any]:
        found = describe_backends(self.instances)
        if (name := given.get("backend")) is not None:
            self._check_backend(name)
            found = {key: value for key, value in found.items() if key == name}
        return {"success": True, "backends": found, "root": str(self.root)}

    def _check_backend(self, name: Any) -> None:
        if not isinstance(name, str):
            raise InvalidRequest([Problem("$.backend", f"expected text, got {type(name).__name__}")])
        if name not in self.instances:
            text = f"no backend named {name[:60]!r}{did_you_mean(name[:60], self.instances)}"
            raise UnknownBackend(text, fix=f"use one of: {', '.join(self.instances) or 'none'}")

    async def _result(self, answer: dict[str, Any]) -> Any:
        """Return an answer as structured content, as text, and as links to its files with a preview of each image."""
        answer = _unicode(answer)
        text = json.dumps(answer)
        content: list[Any] = [self._types.TextContent(type="text", text=text)]
        links = []
        for file in _files_of(answer):
            path = Path(file["path"])
            link = self._types.ResourceLink(
                type="resource_link", name=path.name, uri=path.as_uri(), mime_type=file["mime"], size=file["bytes"]
            )
            links.append(link)
        left = MAX_ANSWER - 2 * len(text) - sum(len(link.model_dump_json()) for link in links)
        pictures = [file for file in _files_of(answer) if file["mime"].startswith("image/")][:_MOST_PREVIEWS]
        for number, file in enumerate(pictures):
            share = max(0, left) // (len(pictures) - number)
            if (small := await preview_of(Path(file["path"]), file["mime"], [self.root], share * 3 // 4 - 200)) is not None:
                data = base64.b64encode(small[0]).decode()
                left -= len(data)
                content.append(self._types.ImageContent(type="image", data=data, mime_type=small[1]))
        content += links
        return self._types.CallToolResult(content=content, structured_content=answer, is_error=not answer["success"])

    # Guidance

    def _guidance(self) -> str:
        from .prompt import guidance

        return guidance(instances=self.instances)

    async def _list_resources(self, _ctx: Any, _params: Any) -> Any:
        about = "How to use generate_media with the backends that are usable now"
        one = self._types.Resource(uri=GUIDANCE, name="guidance", description=about, mime_type="text/markdown")
        return self._types.ListResourcesResult(resources=[one])

    async def _read_resource(self, _ctx: Any, params: Any) -> Any:
        uri = str(params.uri)
        if uri == GUIDANCE:
            text = self._types.TextResourceContents(uri=GUIDANCE, mime_type="text/markdown", text=self._guidance())
            return self._types.ReadResourceResult(contents=[text])
        try:
            data, mime = await asyncio.to_thread(_read_media, path_of(uri), [self.root])
        except MediaError as error:
            from mcp.shared.exceptions import MCPError

            text = f"unknown resource; there are {GUIDANCE} and the file: links of results ({error.message})"
            raise MCPError(code=-32002, message=text) from None
        blob = self._types.BlobResourceContents(uri=uri, mime_type=mime, blob=base64.b64encode(data).decode())
        return self._types.ReadResourceResult(contents=[blob])

    async def _list_prompts(self, _ctx: Any, _params: Any) -> Any:
        return self._types.ListPromptsResult(prompts=[self._types.Prompt(name="guidance", description="How to generate media")])

    async def _get_prompt(self, _ctx: Any, params: Any) -> Any:
        if params.name != "guidance":
            from mcp.shared.exceptions import MCPError

            raise MCPError(code=-32602, message="unknown prompt; the only one is 'guidance'")
        text = self._types.TextContent(type="text", text=self._guidance())
        return self._types.GetPromptResult(messages=[self._types.PromptMessage(role="user", content=text)])


def _sdk() -> tuple[Any, Any]:
    """Return the SDK's types and its server class."""
    try:
        import mcp_types
        from mcp.server.lowlevel import Server
    except ImportError:
        raise SettingsError("the MCP server needs the extra 'mcp'", fix="pip install 'mcp>=2.3,<3'") from None
    return mcp_types, Server


def _unicode(value: Any) -> Any:
    """Return JSON with each lone surrogate replaced: no transport can encode one, and the caller would wait for ever."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(_LONE.sub("\ufffd", text))
    return value


async def _answerable(lines: AsyncIterator[str], out: Any) -> AsyncIterator[str]:
    """Yield the messages that the SDK can read, and answer the others, which it would leave unanswered."""
    types, _ = _sdk()
    async for line in lines:
        if not line.strip():
            continue
        sender, code, why = None, -32700, "the line is not JSON"
        try:
            request = json.loads(line)
            code, why = -32600, "it is not a JSON-RPC 2.0 message"
            if isinstance(request, dict) and "id" in request:
                if isinstance(request["id"], bool) or not isinstance(request["id"], str | int):
                    raise ValueError(why)  # the SDK takes it for a notification
                sender = request["id"]
            line = json.dumps(_unicode(request))
            types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except (ValueError, RecursionError):
            answer = {"jsonrpc": "2.0", "id": sender, "error": {"code": code, "message": why}}
            await out.write(json.dumps(answer) + "\n")
            await out.flush()
        else:
            yield line


def _files_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [file for one in (answer, *answer.get("results", ())) for file in one.get("files", ())]


async def _report(ctx: Any, events: asyncio.Queue[Progress | None]) -> None:
    """Send progress events as progress notifications, whose value must grow each time."""
    value = 0.0
    while (event := await events.get()) is not None:
        value = max(value + _STEP * (1.0 - value), min(event.fraction or 0.0, 0.999))
        message = f"{event.job_id}: {event.state}" + (f", {event.note}" if event.note else "") + f" ({event.backend}/{event.model})"
        with contextlib.suppress(Exception):  # a host that no longer listens does not stop the call
            await ctx.session.report_progress(value, 1.0, message)


async def serve_stdio(server: MediaServer, stdin: Any = None, stdout: Any = None) -> None:
    """Serve one host, until it closes its end, over a stream of lines and one of text; by default over standard input and output."""
    from mcp.server.stdio import stdio_server

    if stdin is not None and stdout is not None:
        stdin = _answerable(stdin, stdout)
    async with server.closing(), stdio_server(stdin, stdout) as (read, write):
        await server.server.run(read, write, server.server.create_initialization_options())


async def serve_http(server: MediaServer, *, port: int = 8765, ready: Callable[[str], None] | None = None) -> None:
    """Serve hosts over streamable HTTP on the loopback address; ``port`` 0 takes a free one, and ``ready`` is called with the URL."""
    import socket

    import uvicorn

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.closing(listening):
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()  # from here on a client can connect
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used: {error.strerror}", fix="name another with --port, or 0 for a free one"
            ) from None
        app = server.server.streamable_http_app(host="127.0.0.1", session_idle_timeout=_SESSION_SECONDS, max_sessions=_MOST_SESSIONS)
        app.add_middleware(_OnlyWithSession)
        app.router.lifespan_context = _closing_first(server, app.router.lifespan_context)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=_SHUTDOWN_SECONDS)
        if ready is not None:
            ready(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")
        async with server.closing():
            await uvicorn.Server(config).serve(sockets=[listening])


class _OnlyWithSession:
    """Refuses the protocol versions without sessions, which do not say which client a request comes from."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
        from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
        from starlette.responses import JSONResponse

        asked = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode("latin-1")
        if not asked or asked in HANDSHAKE_PROTOCOL_VERSIONS:
            await self._app(scope, receive, send)
            return
        data = {"supported": list(HANDSHAKE_PROTOCOL_VERSIONS), "requested": asked}
        error = {"code": UNSUPPORTED_PROTOCOL_VERSION, "message": "Unsupported protocol version", "data": data}
        await JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=400)(scope, receive, send)


def _closing_first(server: MediaServer, lifespan: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Close the router with the application: uvicorn raises a signal that ends the process again right after that."""

    @contextlib.asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state, server.closing():
            yield state

    return both
