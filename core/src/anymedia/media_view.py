"""The contents of a file: bytes, a Pillow image, a numpy array; shown on the screen and in a notebook, saved elsewhere.

Pillow, numpy and PyAV are imported when they are used.
"""

from __future__ import annotations

import importlib
import io
import sys
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UnsupportedInput
from .media import FORMATS, format_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage

#: A notebook contains a file of up to this many bytes; a larger one is linked to.
_EMBEDDED = 30_000_000


class MediaView:
    """What can be done with a file that has a ``path`` and a ``mime`` type. It is path-like: ``open(it)``, ``PIL.Image.open(it)``."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def path(self) -> Path:
            """The file."""

        @property
        def mime(self) -> str:
            """Its type."""

    def __fspath__(self) -> str:
        return str(self.path)

    def pil(self) -> PillowImage:
        """Return an image as a Pillow image, upright; of an animation, the first frame.

        Raises:
            UnsupportedInput: it is not an image.
        """
        if not self.mime.startswith("image/"):
            raise UnsupportedInput(f"{self.path.name} is {self.mime}, not an image", fix="numpy() returns the frames or the samples")
        from .convert.images import open_picture

        return open_picture(self.bytes)

    def numpy(self) -> NDArray[Any]:
        """Return the contents as a numpy array.

        Returns:
            An image as height x width x channels (uint8), a video as frames x height x width x 3 (uint8), a sound as samples x channels
            (float32, -1 to 1).

        Raises:
            UnsupportedInput: numpy, or PyAV for video and sound, is not installed.
        """
        try:
            import numpy
        except ImportError:
            raise UnsupportedInput("numpy is not installed", fix="Run: pip install numpy") from None
        if self.mime.startswith("image/"):
            image = self.pil()
            return numpy.asarray(image.convert("RGBA") if image.mode == "P" else image)
        try:
            import av
        except ImportError:
            raise UnsupportedInput("decoding video and sound needs PyAV", fix="Run: pip install av") from None
        with av.open(str(self.path)) as container:
            if self.mime.startswith("video/"):
                return numpy.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
            stream = container.streams.audio[0]
            as_floats = av.AudioResampler(format="flt", layout=stream.layout)
            parts = [part.to_ndarray() for frame in [*container.decode(stream), None] for part in as_floats.resample(frame)]
            return numpy.concatenate(parts, axis=1).reshape(-1, len(stream.layout.channels))

    def show(self) -> None:
        """Show it: in the output of a notebook's cell, otherwise with the program that the system opens such files with."""
        if _in_notebook():
            importlib.import_module("IPython.display").display(self)
            return
        import click

        click.launch(str(self.path))

    def save(self, path: str | PathLike[str], *, overwrite: bool = True) -> Path:
        """Save it under another name; converted if the suffix names another format.

        Args:
            path: a file, or a directory (existing, or with ``/`` at the end).
            overwrite: whether an existing file may be replaced.

        Returns:
            The path of the first file.

        Raises:
            InvalidRequest: it cannot be written there.
            UnsupportedInput: it cannot be converted to that format.
        """
        return save_file(self, path, overwrite=overwrite)

    def _repr_png_(self) -> bytes | None:
        if not self.mime.startswith("image/"):
            return None
        if self.mime == "image/png":
            return self.path.read_bytes()
        out = io.BytesIO()
        self.pil().save(out, "PNG")
        return out.getvalue()

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def bytes(self) -> bytes:  # last: an annotation below it would mean this property
        """The contents of the file."""
        return self.path.read_bytes()


def _in_notebook() -> bool:
    """Whether the code runs in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def html_of(file: MediaView) -> str:
    """Return HTML that shows a file, which it contains unless it is large."""
    import base64
    import html

    medium = file.mime.partition("/")[0]
    name = html.escape(file.path.name, quote=True)
    if file.path.stat().st_size > _EMBEDDED:
        return f'<a href="{html.escape(file.path.absolute().as_uri(), quote=True)}">{name}</a> ({html.escape(file.mime)})'
    source = f"data:{html.escape(file.mime, quote=True)};base64,{base64.b64encode(file.path.read_bytes()).decode()}"
    if medium == "image":
        return f'<img src="{source}" alt="{name}" style="max-width: 100%">'
    return f'<{medium} src="{source}" controls style="max-width: 100%"></{medium}>'


def save_file(file: MediaView, path: str | PathLike[str], index: int = 0, of: int = 1, *, overwrite: bool = True) -> Path:
    """Save a file under another name; see `MediaView.save`.

    Args:
        file: the file.
        path: where to save it.
        index: its number, starting at 0.
        of: the number of files to be saved under this name.
        overwrite: whether an existing file may be replaced.
    """
    from .files.atomic_writer import Writer
    from .files.names import fits_suffix, suffix_for
    from .files.paths import plan_output

    kind = format_of(file.mime) or ""
    target = plan_output(fspath(path), overwrite=overwrite, default_stem="result", suffix=suffix_for(kind), field="$.path").check(of=of)
    source = file.path
    if not fits_suffix(target.suffix, kind):
        from .convert.load_input import transcode

        source = transcode(file.path, next(name for name in FORMATS if fits_suffix(target.suffix, name))).path
    try:
        with source.open("rb") as opened, Writer(target, call_id=f"save-{id(file)}", index=index, of=of) as writer:
            writer.copy_from(opened)
            return writer.commit()
    finally:
        if source != file.path:
            source.unlink()
