"""Plain HTTP for backends without an SDK: what a status means, what a form looks like, and where a key may go."""

import contextlib
import email.utils
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from wire.forms import read_form
from wire.http_server import HttpServer, Reply

from anymedia import Context, LoadedMedia
from anymedia.answers.errors import ErrorTable
from anymedia.errors import (
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    JobNotFound,
    MediaError,
    PluginContractError,
    QuotaExceeded,
    RateLimited,
    SettingsError,
    UnknownModel,
)
from anymedia.http import (
    get_json,
    job_object,
    job_status,
    post_bytes,
    post_form,
    post_json,
    provider_time,
    put_file,
    raise_for_status,
    refusal,
    stop,
)
from anymedia.network import is_credential_host

NO_SUCH = json.dumps({"error": {"code": "no_such_video", "message": "who?"}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "table", "expected"),
    [
        (404, b"", {}, SettingsError),
        (404, b"", {"404": JobNotFound}, BackendUnavailable),
        (404, b"<html><title>404</title>", {"404": JobNotFound}, BackendUnavailable),
        (404, b'{"error": {"code": 404, "message": "gone"}}', {"404": JobNotFound}, JobNotFound),
        (404, NO_SUCH, {"no_such_video": JobNotFound}, JobNotFound),
        (404, NO_SUCH, {"no_such_video": ContentRefused, "404": JobNotFound}, ContentRefused),
        (402, b"", {"402": ContentRefused}, ContentRefused),
        (402, NO_SUCH, {"404": JobNotFound}, QuotaExceeded),
        (404, NO_SUCH, {"404": UnknownModel}, UnknownModel),
        (404, NO_SUCH, {"no_such_video": "content"}, ContentRefused),
        (402, NO_SUCH, {"402": "rate"}, RateLimited),
    ],
)
def test_error_table_is_read_by_code_then_status_then_default(
    status: int, body: bytes, table: ErrorTable, expected: type[MediaError]
) -> None:
    with pytest.raises(MediaError) as caught:
        raise_for_status(status, body, {}, table)
    assert type(caught.value) is expected


def test_refusal_with_a_code_and_no_text_reports_the_code() -> None:
    with pytest.raises(InvalidRequest, match=r"rejected the request; the provider says: .*no_such_thing"):
        raise_for_status(400, b'{"ok": false, "code": "no_such_thing"}')


KEY = {"x-key": "CANARY-key-0123"}
PICTURE = LoadedMedia(data=b"\x89PNG\r\n\x1a\n\0\xff--x", mime="image/png", filename="source.png")
MASK = LoadedMedia(data=b"\x89PNG mask", mime="image/png", filename="mask.png")


@contextlib.asynccontextmanager
async def at(server: HttpServer, *hosts: str, base_url: str = "") -> AsyncIterator[Context]:
    """A context of a backend whose hosts are the server's address and some more; its clients are closed at the end."""
    made: dict[str, Any] = {}

    def client(name: str, factory: Any) -> Any:
        if name not in made:
            made[name] = factory()
        return made[name]

    url = base_url or server.url
    try:
        yield Context(backend="own", settings={"base_url": url}, hosts=(url.partition("://")[2], *hosts), clients=client)
    finally:
        for one in made.values():
            await one.aclose()


@pytest.fixture
def server() -> Any:
    with HttpServer(lambda r: Reply.of_json({"ok": True, "path": r.path})) as running:
        yield running


@pytest.mark.anyio
async def test_form_sends_fields_as_text_files_unchanged_and_no_unset_fields(server: HttpServer) -> None:
    async with at(server) as context:
        fields = {"prompt": "a \u201cred\u201d fox", "n": 2, "strength": 0.5, "draft": True, "seed": None}
        answer = await post_form(context, f"{server.url}/edits", fields, files={"image": PICTURE, "mask": MASK, "more": None}, headers=KEY)
    assert answer == {"ok": True, "path": "/edits"}
    (arrived,) = server.received
    assert arrived.headers["x-key"] == KEY["x-key"]
    form = read_form(arrived.headers["content-type"], arrived.body)
    assert form.texts() == {"prompt": "a \u201cred\u201d fox", "n": "2", "strength": "0.5", "draft": "true"}
    assert {(f.name, f.filename, f.mime, f.data) for f in form.files("image", "mask", "more")} == {
        ("image", "source.png", "image/png", PICTURE.data),
        ("mask", "mask.png", "image/png", MASK.data),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("is_form", [True, False])
async def test_post_bytes_returns_the_body_and_headers_in_any_spelling(server: HttpServer, is_form: bool) -> None:
    reply = Reply(status=201, body=PICTURE.data, headers={"Content-Type": "Image/PNG; x=y", "X-Seed": "7"})
    server.fail("status", reply=reply)
    async with at(server) as context:
        files = {"image": PICTURE} if is_form else None
        answer = await post_bytes(context, f"{server.url}/edits", {"prompt": "x", "seed": None}, files=files, headers=KEY)
    assert (answer.data, answer.mime, answer.headers["x-seed"]) == (PICTURE.data, "image/png", "7")
    (arrived,) = server.received
    if is_form:
        assert read_form(arrived.headers["content-type"], arrived.body).texts() == {"prompt": "x"}
    else:
        assert arrived.json() == {"prompt": "x"}
    assert str(len(PICTURE.data)) in repr(answer)
    assert "PNG" not in repr(answer)


@pytest.mark.anyio
async def test_form_with_several_files_of_one_name_sends_all(server: HttpServer) -> None:
    async with at(server) as context:
        await post_form(context, server.url, {}, files=[("image[]", PICTURE), ("image[]", MASK)], headers=KEY)
    form = read_form(server.last().headers["content-type"], server.last().body)
    assert [(f.name, f.data) for f in form.files("image[]")] == [("image[]", PICTURE.data), ("image[]", MASK.data)]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_form_redirected_is_sent_once_and_not_followed(status: int, server: HttpServer) -> None:
    server.fail("status", times=None, status=status, headers={"location": f"{server.url}/elsewhere"})
    async with at(server) as context:
        with pytest.raises(BadBackendResponse, match="redirects elsewhere"):
            await post_form(context, f"{server.url}/edits", {"prompt": "x"}, files={"image": PICTURE}, headers=KEY)
    assert [r.line for r in server.received] == ["POST /edits"]


@pytest.mark.anyio
async def test_form_refused_is_reported_by_the_code_of_the_service(server: HttpServer) -> None:
    server.fail("status", status=422, json={"code": "content_policy", "message": "no foxes"})
    async with at(server) as context:
        with pytest.raises(ContentRefused, match="no foxes") as caught:
            await post_form(context, server.url, {}, files={}, headers=KEY, by_code={"content_policy": ContentRefused})
    assert caught.value.delivery == "refused"


@pytest.mark.anyio
async def test_put_file_sends_the_bytes_without_the_key_and_over_https_unless_the_service_is_plain(server: HttpServer) -> None:
    async with at(server) as context:
        await put_file(context, f"{server.url}/upload/7?sig=SECRET", PICTURE)
    (received,) = server.received
    assert (received.line, received.body, received.headers["content-type"]) == ("PUT /upload/7", PICTURE.data, "image/png")
    assert "x-key" not in received.headers
    async with at(server, base_url="https://own.example") as context:
        with pytest.raises(BadBackendResponse, match="not https") as refused:
            await put_file(context, f"{server.url}/upload/7?sig=SECRET", PICTURE)
    assert "SECRET" not in str(refused.value)
    assert len(server.received) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT"])
@pytest.mark.parametrize("reply", [Reply(status=204), Reply(status=202, body=b"being stopped"), Reply.of_json({"state": "stopped"})])
async def test_stop_answered_with_success_ignores_the_body(method: Any, reply: Reply) -> None:
    with HttpServer(lambda _: reply) as server:
        async with at(server) as context:
            assert await stop(context, f"{server.url}/videos/7", method=method, headers=KEY) is None
        assert [(r.line, r.headers["x-key"]) for r in server.received] == [(f"{method} /videos/7", KEY["x-key"])]


@pytest.mark.anyio
async def test_stop_refused_or_unanswered_is_an_error(server: HttpServer) -> None:
    async with at(server) as context:
        server.fail("status", status=429, json={}, headers={"retry-after": "2"})
        with pytest.raises(RateLimited) as caught:
            await stop(context, f"{server.url}/videos/7", headers=KEY)
        assert caught.value.retry_after == 2.0
        server.fail("drop", times=None)
        with pytest.raises(BackendUnavailable, match="gave no answer"):
            await stop(context, f"{server.url}/videos/7", headers=KEY)


@pytest.mark.parametrize(
    ("answer", "expected", "delivery", "said"),
    [
        ({"ok": False, "code": "content_policy", "message": "no foxes"}, ContentRefused, "refused", "no foxes"),
        ({"ok": False, "error": {"code": "no_credit"}}, QuotaExceeded, "refused", "no_credit"),
        ({"ok": False, "code": "cosmic_rays", "message": "oh"}, BadBackendResponse, "unknown", "cosmic_rays: oh"),
        ({"ok": False}, BadBackendResponse, "unknown", '"ok": false'),
        ({}, BadBackendResponse, "unknown", "without a reason"),
        ({"error": "down"}, BadBackendResponse, "unknown", "down"),
    ],
)
def test_refusal_with_status_200_is_classified_by_its_code(answer: Any, expected: type[BackendError], delivery: str, said: str) -> None:
    found = refusal(answer, {"content_policy": ContentRefused, "no_credit": QuotaExceeded})
    assert (type(found), found.delivery) == (expected, delivery)
    assert said in found.message


async def _each_way(context: Context, url: str) -> list[MediaError]:
    """Ask in each way, with a key; return what went wrong."""
    found: list[MediaError] = []
    for ask in (
        lambda: get_json(context, url, headers=KEY),
        lambda: post_json(context, url, {"prompt": "x"}, headers=KEY),
        lambda: post_form(context, url, {}, files={"image": PICTURE}, headers=KEY),
        lambda: stop(context, url, headers=KEY),
    ):
        try:
            await ask()  # type: ignore[no-untyped-call]
        except MediaError as error:
            found.append(error)
    return found


@pytest.mark.anyio
async def test_key_is_not_sent_to_a_foreign_address(server: HttpServer) -> None:
    with HttpServer(lambda _: Reply.of_json({})) as other:
        async with at(server, "files.own.example") as context:
            wrong = await _each_way(context, f"{other.url}/v1/jobs/7?sig=SECRET")
            assert await get_json(context, f"{other.url}/v1/jobs/7") == {}  # nothing that is secret goes along
        assert [(type(e), e.charged, getattr(e, "delivery", None)) for e in wrong] == [(PluginContractError, "no", "not_sent")] * 4
        assert all(f"127.0.0.1:{other.port}" in e.message and "SECRET" not in str(e) for e in wrong)
        assert all("`hosts`" in e.fix for e in wrong)
        assert [r.line for r in other.received] == ["GET /v1/jobs/7"]
        assert "x-key" not in other.last().headers


@pytest.mark.anyio
@pytest.mark.parametrize("listed", ["127.0.0.1:{port}", "127.0.0.1"])
async def test_key_is_sent_to_a_listed_host(listed: str, server: HttpServer) -> None:
    with HttpServer(lambda _: Reply.of_json({})) as other:
        async with at(server, listed.format(port=other.port)) as context:
            assert await _each_way(context, other.url) == []
        assert [r.headers["x-key"] for r in other.received] == [KEY["x-key"]] * 4


@pytest.mark.parametrize(
    ("host", "port", "listed", "expected"),
    [
        ("api.eu1.acme.com", 443, "*.acme.com", True),
        ("API.ACME.COM".lower(), 443, "*.Acme.com", True),
        ("acme.com", 443, "*.acme.com", False),
        ("evilacme.com", 443, "*.acme.com", False),
        ("acme.com.evil.example", 443, "*.acme.com", False),
        ("api.acme.com", 8443, "*.acme.com:8443", True),
        ("api.acme.com", 443, "*.acme.com:8443", False),
        ("api.acme.com", 443, "api.acme.com", True),
        ("api.acme.com", 444, "api.acme.com:443", False),
    ],
)
def test_key_is_sent_to_hosts_below_a_listed_domain(host: str, port: int, listed: str, expected: bool) -> None:
    assert is_credential_host(host, port, [listed]) is expected


@pytest.mark.anyio
async def test_get_json_of_an_array_is_refused_unless_expected(server: HttpServer) -> None:
    replies = iter([[{"id": 1}], [{"id": 1}], {"id": 1}])
    with HttpServer(lambda _: Reply.of_json(next(replies))) as listing:
        async with at(listing) as context:
            assert await get_json(context, f"{listing.url}/models", array=True) == [{"id": 1}]
            with pytest.raises(BadBackendResponse, match="not a JSON object"):
                await get_json(context, f"{listing.url}/models")
            with pytest.raises(BadBackendResponse, match="not a JSON array"):
                await get_json(context, f"{listing.url}/models", array=True)


@pytest.mark.anyio
async def test_key_is_not_sent_by_http_if_the_address_of_the_backend_is_https(server: HttpServer) -> None:
    async with at(server, f"127.0.0.1:{server.port}", base_url="https://api.own.example") as context:
        wrong = await _each_way(context, server.url)
    assert [type(e) for e in wrong] == [PluginContractError] * 4
    assert all("plain http" in e.message for e in wrong)
    assert server.received == []


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://127.0.0.1:0x1/", "not a url", "http://[::1", "file:///etc/passwd", ""])
async def test_key_is_not_sent_to_an_invalid_address(url: str, server: HttpServer) -> None:
    async with at(server) as context:
        assert [type(e) for e in await _each_way(context, url)] == [PluginContractError] * 4


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *((word, "done") for word in ("COMPLETED", "done", "Succeeded", "SUCCESS", "ready", "ok")),
        *((word, "done") for word in ("succeed", "FINISH", "taskCompleted")),
        *((word, "failed") for word in ("FAILED", "Cancelled", "canceled", "timed_out", "TIME-OUT", "moderation_blocked", "Expired")),
        *(
            (word, "failed")
            for word in ("task_failed", "submit_failed", "unknown_error", "nsfw", "Request Moderated", "banned", "incomplete")
        ),
        *((word, "done") for word in ("render_complete", "inference_done", "video ready", "all-done", "completed successfully")),
        *((word, "done") for word in (["done"], ["queued", "running", "done"], {"state": "done"}, {"status": {"name": "SUCCESS"}})),
        *((word, "failed") for word in (["queued", "failed"], {"code": "error"}, ({"state": "cancelled"},))),
        *((word, "running") for word in ("queued", "IN_PROGRESS", "uploading", "", None, 3, "undone", "not_ready", "completing")),
        *((word, "running") for word in ("upload_complete", "uploadDone", "input ready", "preprocessing_done", "validation success")),
        *(
            (word, "running")
            for word in ("submit_success", "partially_completed", "almost_ready", "prompt_ready", [], {}, ["done", "queued"])
        ),
    ],
)
def test_job_status_in_other_case_or_with_a_synonym_is_recognized(word: Any, meaning: str) -> None:
    assert job_status(word) == meaning


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "a", "status": "queued"},
        {"task_id": "a", "state": "queued", "data": None},
        {"code": "success", "message": "", "data": {"id": "a", "status": "queued"}},
        {"request_id": "r", "output": {"task_id": "a", "task_status": "queued"}},
        {"id": "a", "status": "queued", "output": {"url": "http://host/a.mp4"}},
        {"code": 0, "data": {"task": {"id": "a", "status": "queued"}}},
        {"id": "a", "status": ["queued"]},
        {"id": "a", "status": {"state": "queued"}},
        {"id": "a", "status": 1, "status_text": "queued"},
        {"code": 0, "data": {"id": "a", "status": [{"name": "queued"}]}},
    ],
)
def test_job_object_is_found_wherever_a_gateway_puts_it(answer: Any) -> None:
    found = job_object(answer)
    assert (found["id"], found["status"]) == ("a", "queued")


def test_job_object_with_a_number_as_id_has_it_as_text() -> None:
    assert job_object({"data": {"task_id": 17, "status": "queued"}})["id"] == "17"


def test_job_object_of_an_answer_without_a_job_is_the_answer() -> None:
    assert job_object({"error": {"message": "x"}}) == {"error": {"message": "x"}}
    assert job_object({"name": "x", "done": True})["status"] == "done"


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ({"id": "a", "status": 2, "video_url": "https://host/a.mp4"}, "done"),
        ({"code": 0, "data": {"id": "a", "status": "2", "output": ["https://host/a.mp4?x=1"]}}, "done"),
        ({"id": "a", "status": 3, "error": {"message": "out of memory"}}, "failed"),
        ({"id": "a", "status": 1, "cover_url": "https://host/a.png", "image_url": "https://host/first.jpg"}, "running"),
        ({"id": "a", "status": 1, "input": {"video_url": "https://host/in.mp4"}}, "running"),
        ({"id": "a", "status": 200}, "running"),
        ({"id": "a", "done": True, "error": {"message": "out of memory"}}, "failed"),
    ],
)
def test_job_object_with_a_number_as_status_means_what_else_the_answer_shows(answer: Any, meaning: str) -> None:
    assert job_status(job_object(answer).get("status")) == meaning


def test_job_status_with_words_of_a_provider_is_recognized() -> None:
    assert job_status("Budget_Exceeded", failed=("budget_exceeded",)) == "failed"
    assert job_status("RENDERED", done=("rendered",)) == "done"


@pytest.mark.parametrize("ahead", [-86_400.0, 0.0, 300.0])
def test_provider_time_is_relative_to_the_date_of_the_answer(ahead: float) -> None:
    context = Context(backend="own", now=lambda: 1_790_000_000.0)
    date = email.utils.formatdate(1_790_000_000.0 + ahead, usegmt=True)
    assert provider_time(1_790_000_000.0 + ahead + 3600, {"Date": date}, context) == 1_790_003_600.0


@pytest.mark.parametrize("at", [0, -1, None, True, "2026-12-01", float("nan"), float("inf")])
def test_provider_time_invalid_is_none(at: Any) -> None:
    context, headers = Context(backend="own", now=lambda: 1.79e9), {"date": email.utils.formatdate(1.79e9)}
    assert provider_time(at, headers, context) is None
    assert provider_time(1.79e9 + 60, {}, context) is None
    assert provider_time(1.79e9 + 60, {"date": "yesterday"}, context) is None
