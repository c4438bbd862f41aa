"""Continuations in both stores: a true LRU of 50 in memory, durable and expiring in the file, clear when gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from blocking_store import BlockingStore
from hypothesis import given
from hypothesis import strategies as st
from state_calls import bring, open_call
from state_samples import DAY, NOW, continuation, new_call

from anymedia.errors import PluginContractError, UnknownContinuation
from anymedia.requests import Continuation, StoredFile
from anymedia.state.codec import decode_continuation, encode_continuation
from anymedia.state.store import LeaseLost

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
files = st.builds(
    StoredFile,
    path=st.text(),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    mime=st.sampled_from(["video/mp4", "image/png"]),
    width=st.none() | st.integers(1, 9000),
    seconds=st.none() | st.floats(0, 100),
)
continuations = st.builds(
    Continuation,
    id=st.text(min_size=1),
    backend=st.text(min_size=1),
    model=st.text(),
    media=st.sampled_from(["image", "video", ""]),
    data=st.dictionaries(st.text(), json_values, max_size=3),
    secret=st.dictionaries(st.text(), json_values, max_size=3),
    files=st.lists(files, max_size=3).map(tuple),
    created_at=st.floats(0, 2e9),
    expires_at=st.none() | st.floats(0, 3e9),
)


@given(continuations)
def test_continuation_comes_back_as_it_was_written_down(original: Continuation) -> None:
    shown, secret = encode_continuation(original)
    assert decode_continuation(shown, secret) == original


def test_saved_continuation_describes_itself(store: BlockingStore) -> None:
    saved = continuation("veo_vid_3f2a9c01b7de")
    store.save_continuation(saved)
    assert store.load_continuation("veo_vid_3f2a9c01b7de", now=NOW) == saved


def test_loaded_continuation_changed_by_the_caller_leaves_the_stored_one(store: BlockingStore) -> None:
    store.save_continuation(continuation("veo_vid_1"))
    store.load_continuation("veo_vid_1", now=NOW).data["video"]["id"] = "changed"
    assert store.load_continuation("veo_vid_1", now=NOW).data == {"video": {"id": "files/veo_vid_1"}}


def test_unresolved_continuation_is_not_kept(store: BlockingStore) -> None:
    with pytest.raises(PluginContractError, match="names no backend"):
        store.save_continuation(Continuation(id="veo_vid_1"))


@pytest.mark.parametrize("data", [{"image": b"1"}, {"image": "data:image/png;base64," + "A" * 100}])
def test_continuation_with_media_in_it_is_not_kept(store: BlockingStore, data: dict[str, object]) -> None:
    for part in ("data", "secret"):
        with pytest.raises(PluginContractError, match="veo_vid_1"):
            store.save_continuation(continuation("veo_vid_1", **{part: data}))
    with pytest.raises(UnknownContinuation):
        store.load_continuation("veo_vid_1", now=NOW)


def test_saving_again_replaces(store: BlockingStore) -> None:
    store.save_continuation(continuation("veo_vid_1"))
    store.save_continuation(continuation("veo_vid_1", data={"new": True}, files=()))
    assert store.load_continuation("veo_vid_1", now=NOW).data == {"new": True}
    assert store.continuation_of_file("aa" * 32, now=NOW) is None


def test_expired_continuation_is_named_so(store: BlockingStore) -> None:
    store.save_continuation(continuation("veo_vid_1", expires_at=NOW + 10))
    store.save_continuation(continuation("gpt_img_2", media="image", expires_at=None))
    assert store.load_continuation("veo_vid_1", now=NOW + 9.9).id == "veo_vid_1"
    for _ in range(2):
        with pytest.raises(UnknownContinuation, match=r"'veo_vid_1' has expired.*latest is 'gpt_img_2'") as caught:
            store.load_continuation("veo_vid_1", now=NOW + 10)
    assert "hush" not in str(caught.value)
    assert store.load_continuation("gpt_img_2", now=NOW + 1000 * DAY).media == "image"


def test_unknown_id_error_names_the_nearest_and_the_latest(store: BlockingStore) -> None:
    store.save_continuation(continuation("veo_vid_3f2a9c01b7de", created_at=NOW))
    store.save_continuation(continuation("gpt_img_000000000000", created_at=NOW + 1))
    with pytest.raises(UnknownContinuation) as caught:
        store.load_continuation("veo_vid_3f2a9c01b7dd", now=NOW)
    assert "Did you mean 'veo_vid_3f2a9c01b7de'" in str(caught.value)
    assert "the latest is 'gpt_img_000000000000'" in caught.value.fix


@pytest.mark.parametrize("asked", ["nothing", "\ud800", "x" * 10_000, "'; DROP TABLE calls; --", ""])
def test_any_unknown_text_is_a_clear_error_of_decent_length(store: BlockingStore, asked: str) -> None:
    with pytest.raises(UnknownContinuation, match="no continuation") as caught:
        store.load_continuation(asked, now=NOW)
    assert len(str(caught.value)) < 400
    assert "without continue_from" in caught.value.fix


def test_latest_is_the_newest_alive_of_its_media(store: BlockingStore) -> None:
    assert store.latest_continuation(now=NOW) is None
    store.save_continuation(continuation("a", media="image", created_at=NOW + 5))
    store.save_continuation(continuation("b", created_at=NOW + 6))
    store.save_continuation(continuation("c", created_at=NOW + 6))
    store.save_continuation(continuation("d", created_at=NOW + 7, expires_at=NOW + 8))
    store.save_continuation(continuation("e", created_at=NOW + 4))

    def latest(media: str | None, now: float) -> str | None:
        found = store.latest_continuation(media=media, now=now)
        return found.id if found else None

    assert latest(None, NOW + 7) == "d"
    assert latest(None, NOW + 8) == "c"
    assert latest("image", NOW + 8) == "a"
    assert latest("audio", NOW + 8) is None


def test_newest_continuation_of_a_file_is_found_by_its_checksum(store: BlockingStore) -> None:
    file = StoredFile(path="b.mp4", sha256="bb" * 32, mime="video/mp4")
    store.save_continuation(continuation("a", created_at=NOW, files=(file,)))
    store.save_continuation(continuation("b", created_at=NOW + 1, files=(file, file)))
    store.save_continuation(continuation("c", created_at=NOW + 2))
    store.save_continuation(continuation("d", created_at=NOW + 3, files=(file,), expires_at=NOW + 4))
    found = store.continuation_of_file("bb" * 32, now=NOW + 5)
    assert found is not None and found.id == "b"
    assert store.continuation_of_file("cc" * 32, now=NOW) is None


def test_continuations_of_one_store_are_found_by_another_on_the_same_journal(place: Path | str) -> None:
    first = BlockingStore(place)
    for i in range(60):
        first.save_continuation(continuation(f"c{i:02}"))
    second = BlockingStore(place)
    for store in (first, second):
        assert [store.load_continuation(f"c{i:02}", now=NOW).id for i in range(60)] == [f"c{i:02}" for i in range(60)]
    first.close()
    second.close()


def test_secret_of_an_expired_continuation_leaves_the_journal(place: Path | str) -> None:
    store = BlockingStore(place)
    store.save_continuation(continuation("old", created_at=NOW, expires_at=NOW + 10))
    store.save_continuation(continuation("new", secret={}, created_at=NOW + 11, expires_at=None), now=NOW + 11)
    with pytest.raises(UnknownContinuation, match="'old' has expired"):
        store.load_continuation("old", now=NOW + 11)
    store.save_continuation(continuation("newer", secret={}, created_at=NOW + 40 * DAY, expires_at=None), now=NOW + 40 * DAY)
    with pytest.raises(UnknownContinuation, match="no continuation 'old'"):
        store.load_continuation("old", now=NOW + 40 * DAY)
    assert store.read("SELECT count(*) FROM continuations WHERE secret LIKE '%hush%'") == (0,)
    store.close()
    assert not isinstance(place, Path) or b"hush" not in place.read_bytes()


def test_continuations_are_stored_together_with_the_final_state_or_not_at_all(store: BlockingStore) -> None:
    lease = open_call(store)
    bring(store, lease, "collecting")
    secret = {"key": b"bytes"}
    with pytest.raises(PluginContractError):
        store.advance(lease, "done", now=NOW, continuations=[continuation("a"), continuation("b", secret=secret)])
    record = store.get("call_1")
    assert record is not None and record.state == "collecting"
    assert store.latest_continuation(now=NOW) is None
    store.advance(lease, "done", now=NOW, continuations=[continuation("a"), continuation("b")])
    assert [store.load_continuation(name, now=NOW).id for name in "ab"] == ["a", "b"]
    late = open_call(store, new_call("call_2"))
    assert store.claim("call_2", owner="you", lease_seconds=60, now=NOW + 61) is not None
    with pytest.raises(LeaseLost):
        store.advance(late, "failed", now=NOW + 62, continuations=[continuation("c")])
    with pytest.raises(UnknownContinuation):
        store.load_continuation("c", now=NOW)
