"""Plain HTTP for backends without an SDK: what a status means, and what a backend's own table makes of it."""

import json

import pytest

from anymedia.errors import BackendError, ContentRefused, InvalidRequest, JobNotFound, MediaError, QuotaExceeded
from anymedia.http import raise_for_status

NO_SUCH = json.dumps({"error": {"code": "no_such_video", "message": "who?"}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "table", "expected"),
    [
        (404, b"", {}, InvalidRequest),
        (404, b"", {"404": JobNotFound}, JobNotFound),
        (404, b'{"error": {"code": 404, "message": "gone"}}', {"404": JobNotFound}, JobNotFound),
        (404, NO_SUCH, {"no_such_video": JobNotFound}, JobNotFound),
        (404, NO_SUCH, {"no_such_video": ContentRefused, "404": JobNotFound}, ContentRefused),
        (402, b"", {"402": ContentRefused}, ContentRefused),
        (402, NO_SUCH, {"404": JobNotFound}, QuotaExceeded),
    ],
)
def test_a_backends_own_table_is_looked_at_by_code_then_by_status_then_the_usual_one(
    status: int, body: bytes, table: dict[str, type[BackendError]], expected: type[MediaError]
) -> None:
    with pytest.raises(MediaError) as caught:
        raise_for_status(status, body, {}, table)
    assert type(caught.value) is expected
