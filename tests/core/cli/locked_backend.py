"""A backend that needs a key which no test sets."""

from anymedia.capabilities import parse_matrix
from anymedia.hookspecs import hookimpl

MATRIX = {
    "schema": 1,
    "credentials": [{"names": {"api_key": ["LOCKED_API_KEY"]}}],
    "models": [{"id": "voice", "media": "audio", "generate_audio": {"voice": {"one_of": ["anna"]}}}],
}


@hookimpl
def capabilities():
    return parse_matrix(MATRIX, "locked")


@hookimpl
async def generate_audio(request, context):
    raise AssertionError("called without a key")
