"""Where requests go, with which credentials, in which version; what the SDK would do by itself and must not."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire.google_server import KEY, LOCATION, PROJECT, GoogleServer

from anymedia import SqliteStore
from anymedia.errors import AuthenticationFailed, InvalidRequest
from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import discover
from anymedia.requests import GenerateAudio, GenerateImage
from anymedia.results import ContinuationData, Job, Succeeded
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from google_media import plugin

pytestmark = pytest.mark.anyio
IMAGES, TTS, VEO = "gemini-nano-banana-2.1", "gemini-3.8-flash-tts", "veo-3.1-generate-001"
PLACE = {"project": PROJECT, "location": LOCATION}
FOX = GenerateImage(prompt="a fox")


async def test_gemini_api_is_spoken_to_in_v1_with_the_key_in_a_header(fake: GoogleServer, make_context: Any) -> None:
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image"))
    await plugin.generate_audio(GenerateAudio(prompt="hello"), make_context(TTS, "generate_audio"))
    assert [r.path for r in fake.received] == ["/v1/interactions", f"/v1/models/{TTS}:generateContent"]
    assert all(r.headers["x-goog-api-key"] == KEY and not r.query for r in fake.received)


async def test_another_version_can_be_configured(fake: GoogleServer, make_context: Any) -> None:
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image", api_version="v1beta"))
    assert fake.received[-1].path == "/v1beta/interactions"


async def test_agent_platform_with_a_key_alone_names_no_project(fake: GoogleServer, make_context: Any) -> None:
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image", service="agent_platform"))
    assert fake.received[-1].path == f"/v1beta1/publishers/google/models/{IMAGES}:generateContent"


async def test_agent_platform_with_project_and_location_names_them(fake: GoogleServer, make_context: Any) -> None:
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image", service="agent_platform", **PLACE))
    place = f"/v1beta1/projects/{PROJECT}/locations/{LOCATION}"
    assert fake.received[-1].path == f"{place}/publishers/google/models/{IMAGES}:generateContent"


async def test_environment_of_the_sdk_changes_nothing(fake: GoogleServer, make_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "other",
        "GOOGLE_CLOUD_LOCATION": "mars",
        "GEMINI_API_KEY": "not-this-one",
        "GOOGLE_API_KEY": "nor-this-one",
    }.items():
        monkeypatch.setenv(name, value)
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image"))
    await plugin.generate_image(FOX, make_context(IMAGES, "generate_image", service="agent_platform", **PLACE))
    assert fake.received[0].path == "/v1/interactions"
    assert f"/projects/{PROJECT}/locations/{LOCATION}/" in fake.received[1].path
    assert all(r.headers["x-goog-api-key"] == KEY for r in fake.received)


async def test_instance_that_stores_nothing_says_so_and_retells_its_chats(fake: GoogleServer, make_context: Any) -> None:
    outcome = await plugin.generate_image(FOX, make_context(IMAGES, "generate_image", store=False))
    sent = fake.received[-1]
    assert sent.path == f"/v1/models/{IMAGES}:generateContent"
    assert sent.json()["store"] is False
    assert "chat" in (outcome.pieces[0].continuation or ContinuationData()).data


async def test_time_limit_comes_from_the_settings_or_the_deadline(fake: GoogleServer, make_context: Any) -> None:
    spoken = GenerateAudio(prompt="hello")
    await plugin.generate_audio(spoken, make_context(TTS, "generate_audio", timeout=90))
    await plugin.generate_audio(spoken, make_context(TTS, "generate_audio", timeout=90, deadline=12.0))
    assert [r.headers["x-server-timeout"] for r in fake.received] == ["90", "12"]


async def test_one_client_serves_all_calls_of_an_instance(fake: GoogleServer, make_context: Any) -> None:
    from google_media._client import connect

    first, second = await connect(make_context(IMAGES)), await connect(make_context(TTS))
    assert first is second


async def test_models_that_are_listed_come_with_their_short_ids(fake: GoogleServer, make_context: Any) -> None:
    here = [m.id for m in await plugin.list_models(make_context(IMAGES))]
    assert {IMAGES, "gemini-omni-1.2-flash"} <= set(here)
    there = [m.id for m in await plugin.list_models(make_context(VEO, service="agent_platform", **PLACE))]
    assert {IMAGES, VEO} <= set(there)


# ---------------------------------------------------------------- credentials


def settings(**instances: InstanceSettings) -> Settings:
    return Settings(instances=dict(instances))


@pytest.mark.parametrize(
    ("environ", "service", "key"),
    [
        ({"GOOGLE_API_KEY": "first", "GEMINI_API_KEY": "second"}, "gemini", "first"),
        ({"GEMINI_API_KEY": "second"}, "gemini", "second"),
        ({"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global"}, "agent_platform", None),
        ({"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global", "GEMINI_API_KEY": "second"}, "gemini", "second"),
    ],
)
def test_service_and_key_are_chosen_from_the_environment(environ: dict[str, str], service: str, key: str | None) -> None:
    found = make_instances(discover(), settings(), environ)["google"]
    assert (found.service, found.usable) == (service, True)
    secrets = found.secrets()
    assert (secrets["api_key"].reveal() if key else sorted(secrets)) == (key or ["location", "project"])


def test_without_credentials_it_says_what_is_missing() -> None:
    found = make_instances(discover(), settings(), {})["google"]
    assert found.missing == ("GOOGLE_API_KEY or GEMINI_API_KEY",)


def test_each_service_has_its_own_address_variable() -> None:
    own = InstanceSettings(name="cloud", plugin="google", service="agent_platform")
    environ = {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "https://gemini.example.org"}
    found = make_instances(discover(), settings(cloud=own), environ)
    assert (found["google"].base_url, found["cloud"].base_url) == ("https://gemini.example.org", None)


@pytest.fixture
def service_account(fake: GoogleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A service account whose tokens the fake gives out, as application default credentials find it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    told = {
        "type": "service_account",
        "project_id": "another-project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "robot@example.org",
        "client_id": "1",
        "token_uri": f"{fake.url}/token",
    }
    path = tmp_path / "robot.json"
    path.write_text(json.dumps(told))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    yield path


async def test_place_in_the_settings_and_ones_own_credentials_are_all_that_is_needed(
    fake: GoogleServer, service_account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README shows it; a Gemini key that is set for the other service does not get in the way."""
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key-of-the-gemini-api")
    cloud = InstanceSettings(name="cloud", plugin="google", service="agent_platform", base_url=fake.url, options=PLACE)
    async with Router(settings=settings(cloud=cloud), registry=discover(), store=SqliteStore(":memory:")) as router:
        await router.generate_image(prompt="a fox", backend="cloud", output=f"{tmp_path}/out/")
    assert fake.received[-1].headers["authorization"] == f"Bearer {fake.token}"
    assert f"/projects/{PROJECT}/locations/{LOCATION}/" in fake.received[-1].path
    assert not any("x-goog-api-key" in r.headers for r in fake.received)


@pytest.mark.parametrize("told", ["settings", "environment"])
async def test_project_and_location_go_with_the_users_own_credentials(
    fake: GoogleServer, make_context: Any, service_account: Path, told: str
) -> None:
    secrets = PLACE if told == "environment" else {}
    more = PLACE if told == "settings" else {}
    context = make_context(IMAGES, "generate_image", service="agent_platform", secrets=secrets, **more)
    await plugin.generate_image(FOX, context)
    context = make_context(IMAGES, "generate_image", service="agent_platform", secrets=secrets, **more)
    await plugin.generate_image(FOX, context)
    assert [r.path.rsplit("/", 1)[-1] for r in fake.received] == ["token", f"{IMAGES}:generateContent", f"{IMAGES}:generateContent"]
    assert fake.received[-1].headers["authorization"] == f"Bearer {fake.token}"
    assert "x-goog-api-key" not in fake.received[-1].headers


async def test_interactions_use_the_same_token_without_blocking(fake: GoogleServer, make_context: Any, service_account: Path) -> None:
    from anymedia.requests import GenerateVideo

    context = make_context("gemini-omni-1.2-flash", "generate_video", service="agent_platform", secrets={}, **PLACE)
    job = await plugin.generate_video(GenerateVideo(prompt="waves"), context)
    assert job.data == {"kind": "interaction"}
    assert [r.line.split("/")[-1] for r in fake.received] == ["token", "interactions"]
    assert fake.received[-1].headers["authorization"] == f"Bearer {fake.token}"


async def test_refused_token_was_not_a_submit(fake: GoogleServer, make_context: Any, service_account: Path) -> None:
    fake.fail("status", on="POST /token", times=None, status=400, json={"error": "invalid_grant"})
    context = make_context(IMAGES, "generate_image", service="agent_platform", secrets={}, **PLACE)
    with pytest.raises(AuthenticationFailed, match="RefreshError") as caught:
        await plugin.generate_image(FOX, context)
    assert caught.value.delivery == "not_sent"
    assert (fake.submits(), context.submissions) == (0, 0)


async def test_video_in_cloud_storage_is_fetched_with_the_token_and_named_by_a_continuation(
    fake: GoogleServer, make_context: Any, service_account: Path
) -> None:
    from anymedia.requests import Continuation, ContinueVideo, GenerateVideo

    own = {"service": "agent_platform", "secrets": {}, "output_gcs_uri": "gs://bucket/films", "storage_url": fake.url, **PLACE}
    job = await plugin.generate_video(GenerateVideo(prompt="waves", duration=4), make_context(VEO, "generate_video", **own))
    fake.predictions.looks = 0
    state = await plugin.check_job(Job(id=job.id, data=job.data), make_context(VEO, None, **own))
    assert isinstance(state, Succeeded)
    piece = state.outcome.pieces[0]
    assert piece.url == f"{fake.url}/storage/v1/b/bucket/o/films%2F00000001%2Fsample_0.mp4?alt=media"
    assert piece.headers == {"authorization": f"Bearer {fake.token}"}
    assert piece.continuation is not None
    place = piece.continuation.data["gcs_uri"]
    goes_on = Continuation(id="veo_vid_0", backend="google", model=VEO, media="video", data=piece.continuation.data)
    await plugin.continue_video(ContinueVideo(prompt="on", continue_from=goes_on), make_context(VEO, "continue_video", **own))
    assert fake.predictions.calls[-1].instance["video"] == {"gcsUri": place, "mimeType": "video/mp4"}


async def test_third_party_server_gets_no_token_of_the_user(fake: GoogleServer, make_context: Any, service_account: Path) -> None:
    fake.key = "none"
    context = make_context(IMAGES, "generate_image", service="compatible", secrets={}, mode="agent_platform", **PLACE)
    await plugin.generate_image(FOX, context)
    assert "authorization" not in fake.received[-1].headers
    assert fake.count("POST /token") == 0


async def test_foreign_place_of_a_file_gets_no_key(fake: GoogleServer, make_context: Any) -> None:
    from google_media._client import connect
    from google_media._files import download

    connection = await connect(make_context(IMAGES))
    assert download("https://evil.example.org/video.mp4", connection) == ("https://evil.example.org/video.mp4", {})
    where, headers = download("https://evil.example.org/v1/files/abc123:download?alt=media", connection)
    assert (where, headers) == (f"{fake.url}/v1/files/abc123:download?alt=media", {"x-goog-api-key": KEY})


async def test_veo_with_a_gemini_key_is_refused_before_anything_is_sent(fake: GoogleServer, make_context: Any) -> None:
    from anymedia.requests import GenerateVideo

    with pytest.raises(InvalidRequest, match="Agent Platform mode"):
        await plugin.generate_video(GenerateVideo(prompt="waves"), make_context("veo-3.1-generate-preview", "generate_video"))
    assert fake.received == []


async def test_router_closes_its_connections(new_router: Callable[..., Router], fake: GoogleServer, tmp_path: Path) -> None:
    """An unclosed session or socket is a ResourceWarning, which is an error here."""
    import gc

    async with new_router() as router:
        await router.generate_image(prompt="a fox", backend="cloud", output=f"{tmp_path}/")
        await router.generate_image(prompt="a fox", backend="google", output=f"{tmp_path}/")
    gc.collect()


def test_matrix_was_checked_on_a_day() -> None:
    assert plugin.capabilities().checked == datetime.date(2026, 11, 21)
