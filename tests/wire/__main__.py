"""Run a command with the fakes of all providers in place of the services, to try the real SDKs without a key.

    PYTHONPATH=tests python -m wire anymedia image "a red fox in snow" -b openai -o fox.png
    PYTHONPATH=tests python -m wire bash

The command finds keys, settings and a state directory of its own in its environment. At the end, the requests that
reached the fakes are printed on stderr.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from wire import fal_server, google_server, grok_server, openai_server, openrouter_server
from wire.openai_videos import Videos

_CONFIG = """
[fetch]
allow = ["127.0.0.1", "localhost"]

[backends.openai]
base_url = "{openai.base_url}"

[backends.mygpu]
plugin = "openai"
service = "compatible"
base_url = "{gpu.base_url}"
models."wan-2.2" = {{ like = "sora-2" }}

[backends.google]
service = "gemini"
base_url = "{google.url}"

[backends.grok]
base_url = "{grok.base_url}"
options = {{ grpc_host = "{grok.host}" }}

[backends.openrouter]
base_url = "{openrouter.base_url}"

[backends.fal]
base_url = "{fal.url}"
"""


def main(command: list[str]) -> int:
    """Run the command; return its exit code."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anymedia-fakes-")))
        fakes = {
            "openai": stack.enter_context(openai_server.OpenAIServer()),
            "gpu": stack.enter_context(openai_server.OpenAIServer(any_key=True, videos=Videos(models=("wan-2.2",), free_values=True))),
            "google": stack.enter_context(google_server.GoogleServer()),
            "grok": stack.enter_context(grok_server.GrokServer()),
            "openrouter": stack.enter_context(openrouter_server.OpenRouterServer(links="signed")),
            "fal": stack.enter_context(fal_server.FalServer()),
        }
        (folder / "config.toml").write_text(_CONFIG.format(**fakes), "utf-8")
        environment = os.environ | {
            "ANYMEDIA_CONFIG": str(folder / "config.toml"),
            "ANYMEDIA_STATE": str(folder / "state"),
            "ANYMEDIA_CACHE": str(folder / "cache"),
            "OPENAI_API_KEY": openai_server.KEY,
            "GOOGLE_API_KEY": google_server.KEY,
            "XAI_API_KEY": grok_server.KEY,
            "OPENROUTER_API_KEY": openrouter_server.KEY,
            "FAL_KEY": fal_server.KEY,
            "NO_PROXY": "127.0.0.1,localhost",
        }
        code = subprocess.run(command, env=environment, check=False).returncode
        for name, fake in fakes.items():
            lines = [received.line for received in getattr(fake, "received", ())]
            lines += [call.method for call in getattr(fake, "calls", ())]
            for line in lines:
                print(f"{name} received: {line}", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [os.environ.get("SHELL", "bash")]))
