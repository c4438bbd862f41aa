"""The settings the README shows are read as they stand, and make the instances it promises."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import discover
from anymedia.settings import load_settings

README = Path(__file__).parents[1] / "README.md"


def test_settings_in_the_readme_make_usable_instances(tmp_path: Path) -> None:
    blocks = re.findall(r"(?:^    .*\n)+", README.read_text("utf-8"), re.MULTILINE)
    tables = [textwrap.dedent(block) for block in blocks if "[backends." in block]
    assert len(tables) == 2
    config = tmp_path / "config.toml"
    config.write_text("\n".join(tables), "utf-8")
    settings = load_settings(environ={}, files=[config])
    instances = make_instances(discover(), settings, {"OPENAI_API_KEY": "sk-of-openai-000000", "MYGPU_API_KEY": "of-my-gpu-000000"})
    openai, mygpu = instances["openai"], instances["mygpu"]
    assert (openai.missing, mygpu.missing) == ((), ())
    assert openai.context_settings == {"timeout": 900, "responses_model": "gpt-5.6-sol"}
    assert [row.id for row in mygpu.matrix.models] == ["wan-2.2"]
    assert "seed" in mygpu.matrix.models[0].operations["generate_video"].options
    assert mygpu.secrets()["api_key"].reveal() == "of-my-gpu-000000"
    assert not mygpu.enforce_lifecycle
