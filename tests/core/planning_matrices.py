"""A few small matrices for the planner's tests, written as a plugin author would write them."""

import functools
import tomllib

from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.planning import BackendView

PIXELS = """
schema = 1
checked = 2026-11-21
first_party = true
[[models]]
id = "pix-2"
media = "image"
rank = 10
prices = [{ per = "image", usd = [0.01, 0.25], basis = "metered" }]
[models.generate_image]
prompt = { max_chars = 1000 }
n = { min = 1, max = 10, step = 1 }
size = { multiple_of = 16, max_edge = 3840, max_ratio = 3.0, pixels = [655360, 8294400], auto = true }
quality = { one_of = ["low", "high"] }
background = { one_of = ["transparent", "opaque", "auto"] }
output_format = { one_of = ["png", "jpeg", "webp"] }
continue_from = { ways = ["chat"] }
extra_params.moderation = { one_of = ["auto", "low"] }
rules = [{ when = { background = ["transparent"] }, forbid = { output_format = ["jpeg"] }, because = "JPEG has no transparency" }]
[models.inpaint]
like = "generate_image"
without = ["continue_from"]
source = { count = [1, 1], formats = ["png", "jpeg"], max_bytes = 50_000_000 }
mask = { format = "alpha", max_bytes = 4_000_000 }
[models.edit_with_references]
like = "inpaint"
without = ["source"]
references = { count = [1, 16], roles.source = { count = [1, 16] } }
[[models]]
id = "pix-1"
like = "pix-2"
rank = 20
lifecycle = { retires = 2026-10-23, certainty = "firm", replacement = "pix-2", source = "the maker" }
[[models]]
id = "pix-0"
like = "pix-2"
rank = 5
lifecycle = { retires = 2026-12-01, certainty = "reported", source = "a blog" }
"""

TIERS = """
schema = 1
credentials = [{ names = { api_key = ["TIERS_KEY"] } }]
[[models]]
id = "tier-image"
media = "image"
prices = [
  { per = "image", usd = 0.03, when = { resolution = ["1K"] } },
  { per = "image", usd = 0.12, when = { resolution = ["4K"] } },
]
[models.generate_image]
aspect_ratio = { one_of = ["1:1", "16:9", "9:16", "4:3"] }
resolution = { one_of = ["1K", "2K", "4K"], default = "1K" }
seed = { min = 0, max = 2147483647, step = 1 }
[models.inpaint]
aspect_ratio = { one_of = ["1:1", "16:9"] }
source = { count = [1, 1] }
mask = { format = "guidance", modes = ["user_provided", "semantic"], classes = 5 }
fidelity = { level = "emulated", note = "the mask is only shown to the model" }
[models.edit_with_references]
references.count = [1, 14]
references.roles.style = { count = [0, 3], fidelity = { level = "emulated", note = "told in words" } }
references.roles.source = { count = [0, 3] }
[[models]]
id = "tier-video"
media = "video"
continuation_prefix = "tier_vid"
prices = [{ per = "second", usd = 0.1 }]
[models.generate_video]
duration = { one_of = [4, 6, 8], default = 8 }
aspect_ratio = { one_of = ["16:9", "9:16"] }
resolution = { one_of = ["720p", "1080p"], default = "720p" }
negative_prompt = {}
first_frame = { max_bytes = 10_000_000 }
last_frame = {}
references = { count = [0, 3], roles.subject = { count = [0, 3] } }
rules = [
  { when = { resolution = ["1080p"] }, require = { duration = [8] }, because = "1080p is 8 s only" },
  { when = { references = true }, forbid = { first_frame = true }, because = "references exclude a first frame" },
  { when = { last_frame = true }, require = { first_frame = true }, because = "a last frame needs a first frame" },
]
[models.continue_video]
duration = { one_of = [7] }
continue_from = { ways = ["extend"], seconds = [1, 30] }
"""

LOCAL = """
schema = 1
last_resort = true
disclosure = "procedural"
[[models]]
id = "scene"
media = "image"
prices = [{ per = "call", usd = 0 }]
[models.generate_image]
size = { min_edge = 16, max_edge = 4096, default = "1024x1024" }
seed = { min = 0, max = 9223372036854775807, step = 1 }
output_format = { one_of = ["png"] }
"""


@functools.cache
def matrix(text: str) -> CapabilityMatrix:
    return parse_matrix(tomllib.loads(text), "test.toml")


def views(missing: tuple[str, ...] = ()) -> list[BackendView]:
    return [
        BackendView(name="pix", matrix=matrix(PIXELS)),
        BackendView(name="tiers", matrix=matrix(TIERS), missing=missing),
        BackendView(name="local", matrix=matrix(LOCAL)),
    ]
