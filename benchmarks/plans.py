"""Planning over the matrices of the installed backends, and over 200 copies of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import attrs

from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.media import Image
from anymedia.planning import BackendView, plan
from anymedia.plugins.registry import discover
from anymedia.policy import Policy
from anymedia.requests import GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Mask, Request

from .figures import Figure, milliseconds

TODAY = datetime.date(2026, 11, 21)
_PICTURE = Image.of("fox.png") if hasattr(Image, "of") else Image(path="fox.png")
REQUESTS: dict[str, Request] = {
    "an image": GenerateImage(prompt="a fox in snow"),
    "two images of a size, with a seed": GenerateImage(prompt="a fox in snow", size="1024x1024", n=2, seed=7),
    "a masked edit": Inpaint(prompt="a door", source=_PICTURE, mask=Mask(image=Image(path="mask.png"))),
    "8 s of video": GenerateVideo(prompt="waves", duration=8, aspect_ratio="16:9", resolution="1080p"),
    "speech": GenerateAudio(prompt="hello there"),
}


def _copy(matrix: CapabilityMatrix) -> CapabilityMatrix:
    """Return a matrix of the same content and records of its own, as another plugin would have them."""
    models = tuple(
        attrs.evolve(row, operations={kind: attrs.evolve(op, options=dict(op.options)) for kind, op in row.operations.items()})
        for row in matrix.models
    )
    return attrs.evolve(matrix, models=models)


def views(count: int) -> list[BackendView]:
    """Return as many backends, made of the installed ones in turn."""
    registry = discover()
    found = {name: registry.capabilities(name) for name in sorted(registry.plugins)}
    names = list(found)
    return [
        BackendView(name=names[i] if i < len(names) else f"{names[i % len(names)]}-{i}", matrix=_copy(found[names[i % len(names)]]))
        for i in range(count)
    ]


def listed(count: int) -> CapabilityMatrix:
    """Return a matrix of models described by their own inputs, as a catalogue lists them; a tenth generates images, too."""
    run = {"inputs": {"image_url": {"media": "image", "count": [0, 1]}}, "options": {"seed": {"type": "integer"}}, "prompt": {}}
    image = {"seed": {"min": 0, "max": 9, "step": 1}, "aspect_ratio": {"one_of": ["1:1", "16:9"]}}
    rows = [{"id": f"zoo/model-{i}", "media": "image", "transform": {"run": run}} for i in range(count)]
    for row in rows[::10]:
        row["generate_image"] = image
    return parse_matrix({"schema": 1, "models": rows}, "zoo")


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    usual = views(200)
    catalogue = [*views(5), BackendView(name="zoo", matrix=listed(20_000))]
    for name, request in REQUESTS.items():
        many, few = (milliseconds(lambda r=request, b=b: plan(r, b, Policy(), TODAY), rounds=5, times=1) for b in (catalogue, usual))  # type: ignore[misc]
        note = f"{many:.1f} ms, {few:.1f} ms; minimum of 5 rounds, CPU time"
        yield Figure(name=f"plan {name}, 20,000 listed models, relative to 200 backends", value=many / few, unit="x", bar=8.0, note=note)
    for count, bar, times in ((5, 0.5, 20), (200, 10.0, 1)):
        backends = views(count)
        models = sum(len(view.matrix.models) for view in backends)
        for name, request in REQUESTS.items():
            made = plan(request, backends, Policy(), TODAY)
            rounds = 5 if quick else 25
            took = milliseconds(lambda r=request, b=backends: plan(r, b, Policy(), TODAY), rounds=rounds, times=times)  # type: ignore[misc]
            capable = 1 + len(made.alternatives)
            yield Figure(
                name=f"plan {name}, {count} backends",
                value=took,
                unit="ms",
                bar=bar,
                note=f"{models} models, {capable} can serve it; minimum of {rounds} rounds, CPU time",
            )
