"""Words in place of a mask, a style, a structure or a subject on models that take only pictures and words.

The wording follows the templates of Google's guide to prompting image models ("Prompts for editing images").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from anymedia.context import LoadedMedia
from anymedia.media import Media
from anymedia.requests import EditWithReferences, Inpaint, Mask, Reference

__all__ = ["Message", "for_edit", "for_inpainting", "for_video"]

Read = Callable[[Media | Mask], LoadedMedia]

_KEEP = "Keep everything else in the image exactly the same, preserving the original style, lighting, and composition."
_BY_MODE = {
    "foreground": "only the main subject in the foreground of the image",
    "background": "only the background of the image, everything behind its main subject",
}


@attrs.frozen(kw_only=True)
class Message:
    """The parts of one turn: pictures in order, then a text that calls them Image 1, Image 2 ..."""

    text: str
    pictures: tuple[LoadedMedia, ...] = ()


def _region(mask: Mask, number: int) -> tuple[str, str]:
    """Return (what the mask picture is, what may change)."""
    if mask.mode == "user_provided":
        text = f"Image {number} is a black and white mask of Image 1: white marks the region to change, black the region to keep."
        return text, "only the region of Image 1 that is white in the mask"
    return "", _BY_MODE[mask.mode]


def for_inpainting(request: Inpaint, read: Read) -> Message:
    """Return the message that changes a region of the source, or extends it beyond its borders."""
    assert request.source is not None
    pictures = [read(request.source)]
    sentences = ["Image 1 is the picture to edit."]
    mask = request.mask
    if mask is not None and mask.image is not None:
        pictures.append(read(mask))
    if request.edit_mode == "outpaint":
        if mask is not None:
            sentences.append(_region(mask, 2)[0] or f"Change {_region(mask, 2)[1]}.")
        shape = f" to the aspect ratio {request.aspect_ratio}" if request.aspect_ratio else ""
        sentences.append(f"Extend the scene beyond the borders of Image 1{shape}, continuing it without a visible seam: {request.prompt}")
        sentences.append("Keep what Image 1 shows exactly the same.")
        return Message(text=" ".join(sentences), pictures=tuple(pictures))
    assert mask is not None
    is_, where = _region(mask, 2)
    sentences += [is_] if is_ else []
    sentences.append(f"Using the provided image, change {where}: {request.prompt}")
    sentences.append(_KEEP)
    return Message(text=" ".join(sentences), pictures=tuple(pictures))


def for_edit(request: EditWithReferences, read: Read) -> Message:
    """Return the message that tells each picture's part; sources alone need no words about them."""
    # Sources first: the mask speaks of Image 1.
    ordered = sorted(request.references, key=lambda r: r.role != "source")
    pictures = [read(reference.image) for reference in ordered]
    if all(r.role == "source" and r.description is None for r in ordered) and request.mask is None:
        return Message(text=request.prompt, pictures=tuple(pictures))
    sentences = [_part(reference, number) for number, reference in enumerate(ordered, 1)]
    if request.mask is None:
        sentences.append(f"Using the provided images: {request.prompt}")
        return Message(text=" ".join(sentences), pictures=tuple(pictures))
    if request.mask.image is not None:
        pictures.append(read(request.mask))
    is_, where = _region(request.mask, len(pictures))
    sentences += [is_] if is_ else []
    sentences.append(f"Using the provided images, change {where}: {request.prompt}")
    sentences.append(_KEEP)
    return Message(text=" ".join(sentences), pictures=tuple(pictures))


def _part(reference: Reference, number: int) -> str:
    about = f" ({reference.description})" if reference.description else ""
    if reference.role == "source":
        return f"Image {number} is the picture to edit{about}."
    if reference.role == "style":
        return (
            f"Image {number} shows the artistic style{about} to render the result in: "
            "take its style only, none of its content, and preserve the composition asked for."
        )
    if reference.role == "control":
        kind = f"{reference.type} drawing" if reference.type else "drawing"
        return f"Image {number} is a {kind} of the structure{about}: keep its features and layout, and add details and materials to it."
    kind = reference.type or "subject"
    return f"Image {number} shows the {kind}{about} to place in the result: ensure that its features remain completely unchanged."


def for_video(prompt: str, first: int, references: Iterable[Reference]) -> str:
    """Return a prompt that names its reference pictures by the tags Omni knows; ``first`` pictures are frames."""
    found = list(references)
    if not found:
        return prompt
    sources = "[# Sources <FIRST_FRAME>@Image1] " if first else ""
    listed = " ".join(f"<IMAGE_REF_{i}>@Image{first + i + 1}" for i in range(len(found)))
    parts = "; ".join(f"<IMAGE_REF_{i}> is {_video_part(r)}" for i, r in enumerate(found))
    return f"{sources}[# References {listed}] {parts}. {prompt}"


def _video_part(reference: Reference) -> str:
    about = f" ({reference.description})" if reference.description else ""
    return f"the style{about}" if reference.role == "style" else f"the {reference.type or 'subject'}{about}"
