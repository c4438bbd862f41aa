"""multipart/form-data, read strictly, as the fakes need it: every part must be whole and named."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

__all__ = ["BadForm", "Form", "Part", "read_form"]


class BadForm(ValueError):
    """The body is not what its content type says."""


@attrs.frozen(kw_only=True)
class Part:
    """One part: a file when it has a filename."""

    name: str
    data: bytes = attrs.field(repr=lambda d: f"<{len(d)} bytes>")
    filename: str | None = None
    mime: str | None = None

    @property
    def text(self) -> str:
        """The value of a plain field."""
        return self.data.decode()


@attrs.frozen
class Form:
    """The parts in the order in which they came."""

    parts: Sequence[Part]

    def texts(self) -> dict[str, str]:
        """Return the plain fields; one that came twice is refused."""
        plain = [p for p in self.parts if p.filename is None]
        if len({p.name for p in plain}) != len(plain):
            raise BadForm("a field came twice")
        return {p.name: p.text for p in plain}

    def files(self, *names: str) -> list[Part]:
        """Return the files of these field names."""
        return [p for p in self.parts if p.filename is not None and p.name in names]


def read_form(content_type: str, body: bytes) -> Form:
    """Take a body apart.

    Raises:
        BadForm: when there is no boundary, a part is broken off or has no name.
    """
    found = re.fullmatch(r'multipart/form-data; *boundary="?([^";]{1,70})"?', content_type)
    if not found:
        raise BadForm(f"not a form: {content_type!r}")
    edge = b"--" + found[1].encode()
    if not body.startswith(edge) or not body.rstrip(b"\r\n").endswith(edge + b"--"):
        raise BadForm("the boundary does not open and close the body")
    pieces = body[: body.rindex(edge + b"--")].split(edge + b"\r\n")[1:]
    return Form([_read_part(piece) for piece in pieces])


def _read_part(piece: bytes) -> Part:
    head, gap, data = piece.partition(b"\r\n\r\n")
    if not gap:
        raise BadForm("a part has no end of its headers")
    headers = dict(re.findall(r"^([A-Za-z-]+): *(.*?)\r?$", head.decode(), re.MULTILINE))
    lowered = {name.lower(): value for name, value in headers.items()}
    disposition = lowered.get("content-disposition", "")
    name = re.search(r'[; ]name="([^"]*)"', disposition)
    filename = re.search(r'filename="([^"]*)"', disposition)
    if not disposition.startswith("form-data") or name is None:
        raise BadForm(f"a part has no name: {disposition!r}")
    if not data.endswith(b"\r\n"):
        raise BadForm("a part is broken off")
    return Part(name=name[1], data=data[:-2], filename=filename and filename[1], mime=lowered.get("content-type"))
