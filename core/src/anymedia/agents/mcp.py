"""The MCP server: generate_media and its kin for any host, over stdio or streamable HTTP on this machine.

Everything it says comes from the live matrices. Paths are held to the root directory given at the start, money to the
caps of the settings. Standard output belongs to the protocol.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest, MediaError, Problem, SettingsError, UnknownBackend, did_you_mean
from ..plugins.instances import BackendInstance
from .answers import error_answer, internal
from .mcp_tools import arguments_problem, tools_of
from .schema import installed
from .usable import describe_backends, missing

if TYPE_CHECKING:  # loaded by the first call: a host that only looks waits for nothing of it
    from ..router import Progress, Router
    from .tool import MediaTool

__all__ = ["MediaServer", "serve_http", "serve_stdio", "state_of"]

GUIDANCE = "anymedia://guidance"
#: How much of what is left a sign of life without a new fraction counts for: the value grows, and never passes the whole.
_STEP = 0.0001
#: How long calls may go on that a server told to end is at; their jobs outlive it.
_LAST_SECONDS = 3
#: Makes the router when the first call needs one, given what to tell of progress.
MakeRouter = Callable[[Callable[["Progress"], None]], "Router"]


def state_of(instances: Mapping[str, BackendInstance]) -> str:
    """Say in one line which backends are usable, and what the others lack."""
    usable = ", ".join(name for name, instance in instances.items() if instance.usable) or "none"
    lacking = "; ".join(f"{name} lacks {', '.join(words)}" for name, words in missing(instances).items())
    return f"usable backends: {usable}" + (f"; not usable: {lacking}" if lacking else "")


class MediaServer:
    """One server: its tool is opened by the first call, so that it starts without touching a store or a network.

    Args:
        root: the directory that every path must lie in.
        make_router: by default a `Router` of the settings.
        instances: what schema and guidance are made of; by default what is installed and configured.
    """

    def __init__(
        self, root: Path, *, make_router: MakeRouter | None = None, instances: Mapping[str, BackendInstance] | None = None
    ) -> None:
        if not root.is_dir():
            raise SettingsError(f"the root {str(root)!r} is not a directory", fix="make it first, or name another with --root")
        self.root = root.resolve()
        self.instances = installed() if instances is None else instances
        self._make_router = make_router or _usual_router
        self._router: Router | None = None
        self.server = self._build()

    def _build(self) -> Any:
        _, lowlevel = _sdk()
        return lowlevel(
            "anymedia",
            title="anymedia",
            version=_version(),
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

    def _tool(self) -> MediaTool:
        from .tool import MediaTool, tell

        if self._router is None:
            self._router = self._make_router(tell)
        return MediaTool(self._router, roots=[self.root], base=self.root)

    # Tools

    async def _list_tools(self, _ctx: Any, _params: Any) -> Any:
        types, _ = _sdk()
        return types.ListToolsResult(tools=[types.Tool.model_validate(tool) for tool in tools_of(self.instances)])

    async def _call_tool(self, ctx: Any, params: Any) -> Any:
        arguments = dict(params.arguments or {})
        try:
            works = self._works()
            problem = arguments_problem(params.name, arguments, works)
            answer = await works[params.name](ctx, arguments) if problem is None else error_answer(problem)
        except MediaError as error:
            answer = error_answer(error)
        except Exception as error:  # noqa: BLE001 - a host gets an answer, whatever broke
            answer = error_answer(internal(error))
        return await self._result(answer)

    def _works(self) -> dict[str, Callable[[Any, dict[str, Any]], Awaitable[dict[str, Any]]]]:
        return {
            "generate_media": self._generate,
            "plan_media": lambda _, given: self._tool().plan(given),
            "media_capabilities": self._capabilities,
            "media_job": lambda _, given: self._tool().job(given["job_id"], given.get("action", "look"), given.get("deadline")),
            "media_cancel": lambda _, given: self._tool().job(given["job_id"], "cancel"),
        }

    async def _generate(self, ctx: Any, given: dict[str, Any]) -> dict[str, Any]:
        signs: asyncio.Queue[Progress | None] = asyncio.Queue()
        teller = asyncio.create_task(_report(ctx, signs))
        try:
            return await self._tool().generate(given, on_progress=signs.put_nowait)
        finally:
            signs.put_nowait(None)
            await teller

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
            raise UnknownBackend(text, fix=f"there are: {', '.join(self.instances) or 'none'}")

    async def _result(self, answer: dict[str, Any]) -> Any:
        """Return an answer as structured content, as text, and as links to its files with a small picture of each image."""
        from .preview import preview_of

        types, _ = _sdk()
        content: list[Any] = [types.TextContent(type="text", text=json.dumps(answer))]
        for file in _files_of(answer)[:4]:
            path = Path(file["path"])
            if (small := await preview_of(path, file["mime"], [self.root])) is not None:
                data = base64.b64encode(small[0]).decode()
                content.append(types.ImageContent(type="image", data=data, mime_type=small[1]))
        for file in _files_of(answer):
            path = Path(file["path"])
            link = types.ResourceLink(type="resource_link", name=path.name, uri=path.as_uri(), mime_type=file["mime"], size=file["bytes"])
            content.append(link)
        return types.CallToolResult(content=content, structured_content=answer, is_error=not answer["success"])

    # Guidance

    def _guidance(self) -> str:
        from .guide import guidance

        return guidance(instances=self.instances)

    async def _list_resources(self, _ctx: Any, _params: Any) -> Any:
        types, _ = _sdk()
        about = "How to use generate_media with the backends that are usable here and now"
        one = types.Resource(uri=GUIDANCE, name="guidance", description=about, mime_type="text/markdown")
        return types.ListResourcesResult(resources=[one])

    async def _read_resource(self, _ctx: Any, params: Any) -> Any:
        types, _ = _sdk()
        if str(params.uri) != GUIDANCE:
            from mcp.shared.exceptions import MCPError

            raise MCPError(code=-32002, message=f"there is no such resource; there is {GUIDANCE}")
        text = types.TextResourceContents(uri=GUIDANCE, mime_type="text/markdown", text=self._guidance())
        return types.ReadResourceResult(contents=[text])

    async def _list_prompts(self, _ctx: Any, _params: Any) -> Any:
        types, _ = _sdk()
        return types.ListPromptsResult(prompts=[types.Prompt(name="guidance", description="How to make media here")])

    async def _get_prompt(self, _ctx: Any, params: Any) -> Any:
        types, _ = _sdk()
        if params.name != "guidance":
            from mcp.shared.exceptions import MCPError

            raise MCPError(code=-32602, message="there is no such prompt; there is 'guidance'")
        text = types.TextContent(type="text", text=self._guidance())
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


def _usual_router(on_progress: Callable[[Progress], None]) -> Router:
    from ..router import Router

    return Router(on_progress=on_progress)


def _sdk() -> tuple[Any, Any]:
    """Return the SDK's types and its server class.

    Raises:
        SettingsError: the extra is not installed.
    """
    try:
        import mcp_types
        from mcp.server.lowlevel import Server
    except ImportError:
        raise SettingsError("the MCP server needs the extra 'mcp'", fix="pip install 'anymedia[mcp]'") from None
    return mcp_types, Server


def _version() -> str:
    from importlib.metadata import version

    return version("anymedia")


def _files_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [file for one in (answer, *answer.get("results", ())) for file in one.get("files", ())]


async def _report(ctx: Any, signs: asyncio.Queue[Progress | None]) -> None:
    """Pass signs of life on as progress notifications, whose value must grow each time."""
    told = 0.0
    while (sign := await signs.get()) is not None:
        told = max(told + _STEP * (1.0 - told), min(sign.fraction or 0.0, 0.999))
        message = f"{sign.job_id}: {sign.state}" + (f", {sign.note}" if sign.note else "") + f" ({sign.backend}/{sign.model})"
        with contextlib.suppress(Exception):  # a host that listens no more does not stop the work
            await ctx.session.report_progress(told, 1.0, message)


async def serve_stdio(server: MediaServer) -> None:
    """Serve one host over standard input and output, until it closes them."""
    from mcp.server.stdio import stdio_server

    async with server.closing(), stdio_server() as (read, write):
        await server.server.run(read, write, server.server.create_initialization_options())


async def serve_http(server: MediaServer, *, port: int = 8765, ready: Callable[[str], None] | None = None) -> None:
    """Serve hosts over streamable HTTP on the loopback address; ``port`` 0 takes a free one, and ``ready`` is told the URL."""
    import socket

    import uvicorn

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.closing(listening):
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()  # from here on whoever is told the address can call, and waits
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used: {error.strerror}", fix="name another with --port, or 0 for a free one"
            ) from None
        app = server.server.streamable_http_app(host="127.0.0.1")
        app.router.lifespan_context = _closing_first(server, app.router.lifespan_context)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=_LAST_SECONDS)
        if ready is not None:
            ready(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")
        async with server.closing():
            await uvicorn.Server(config).serve(sockets=[listening])


def _closing_first(server: MediaServer, lifespan: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Close the router with the application: a signal that ends the process is raised again right after that."""

    @contextlib.asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Any]:
        async with lifespan(app) as state, server.closing():
            yield state

    return both
