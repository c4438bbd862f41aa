"""The Google fake against the tests that Google ships inside its SDK: it answers what they send, and refuses what they expect refused.

The package holds the tests' tables, not the recorded answers. Of the tests on media, those of images by prompt are run;
``edit_image``, ``generate_videos``, ``segment_image`` and ``recontext_image`` read pictures that are not in the package.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire.google_server import KEY, GoogleServer

pytestmark = pytest.mark.exhaustive
_MODULES = {"test_generate_images": "generate_images", "test_generate_content_image_generation": "generate_content"}
#: Tests whose outcome was made by the model for that prompt, and the one that goes to the older service.
_OF_THE_MODEL = {"test_image_generation_filtered", "test_image_generation_no_image"}


def _tables() -> Iterator[tuple[str, Any]]:
    for name, method in _MODULES.items():
        module = importlib.import_module(f"google.genai.tests.models.{name}")
        for item in module.test_table:
            if not item.exception_if_vertex and item.name not in _OF_THE_MODEL:
                yield method, item


def test_fake_answers_the_requests_of_the_sdks_own_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    from google import genai

    monkeypatch.setenv("GOOGLE_GENAI_REPLAYS_DIRECTORY", str(tmp_path))
    pytestconfig.addinivalue_line("markers", "asyncio: a mark in Google's tests, of which only the tables are used")
    answered = []
    with warnings.catch_warnings(), GoogleServer() as fake:
        warnings.simplefilter("ignore")
        client = genai.Client(enterprise=True, api_key=KEY, http_options={"base_url": fake.url})
        for method, item in _tables():
            parameters = item.parameters
            words = {"contents": parameters.contents} if method == "generate_content" else {"prompt": parameters.prompt}
            if method == "generate_images":
                fake.predictions.imagen = (*fake.predictions.imagen, parameters.model)
            made = getattr(client.models, method)(model=parameters.model, config=parameters.config, **words)
            assert made.generated_images if method == "generate_images" else made.candidates, item.name
            answered.append(item.name)
        client.close()
    assert len(answered) >= 10
