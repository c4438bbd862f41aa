"""TIFF, walked directory by directory; every part must lie inside the file and together reach its end."""

from __future__ import annotations

from .headers_reader import Facts, Reader, refuse

__all__ = ["read_tiff"]

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_MOST = 256 * 1024
_SUB_DIRECTORIES = {330, 34665, 34853, 40965}
_PACKINGS = {1, 5, 7, 8, 32773, 32946, 2, 3, 4, 50000, 50001, 34925}
#: The tags whose values are kept; all others are only measured.
_KEPT = {256, 257, 258, 259, 262, 273, 274, 277, 279, 322, 323, 324, 325, 513, 514} | _SUB_DIRECTORIES
#: A tile of so many pixels is never too large; decoders hold a whole one in memory, whatever of it is picture.
_TILE = 4_194_304
#: Slack that writers leave behind the last part for alignment.
_SLACK = 16


def read_tiff(reader: Reader) -> Facts:
    """Return a TIFF's facts (of its first picture)."""
    walk = _Walk(reader, "little" if reader.at(0, 2) == b"II" else "big")
    first = walk.number(4, 4)
    pages = walk.chain(first)
    page = pages[0]
    width, height = page.one(256), page.one(257)
    bits, samples = page.one(258, 1), page.one(277, 1)
    packing = page.one(259, 1)
    if packing not in _PACKINGS:
        raise refuse("the TIFF is compressed in a way that is not taken", "save it as PNG")
    if not 1 <= samples <= 8 or not 1 <= bits <= 32:
        raise refuse("the header of the TIFF makes no sense")
    need = height * ((width * samples * bits + 7) // 8)
    if page.one(322, 0) * page.one(323, 0) > max(4 * width * height, _TILE):
        raise refuse("the tiles of the TIFF are far larger than its picture")
    if not page.data or (packing == 1 and need > page.data):
        raise refuse("its header claims more pixels than its data can hold")
    if packing in {5, 7, 8, 32773, 32946} and need > 4096 * page.data:
        raise refuse("its header claims more pixels than its data can hold")
    if walk.end + _SLACK < reader.size or not reader.zeros(walk.end, reader.size):
        raise refuse(f"{reader.size - walk.end} bytes in the TIFF belong to nothing in it", "save the picture anew")
    orientation = page.one(274, 1)
    return Facts(
        format="tiff",
        mime="image/tiff",
        kind="image",
        size=reader.size,
        end=reader.size,
        width=width,
        height=height,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        frames=len(pages),
        has_alpha=samples in {2, 4} and page.one(262, 0) in {1, 2},
        mode=_mode(page.one(262, 1), samples, bits),
        bits=bits,
    )


def _mode(photometric: int, samples: int, bits: int) -> str:
    base = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "RGB", 8: "LAB"}.get(photometric, "")
    if base == "L" and bits == 1:
        return "1"
    if bits > 8:
        return f"{'I' if base == 'L' else base};{bits}"
    return {("L", 2): "LA", ("RGB", 4): "RGBA"}.get((base, samples), base)


class _Page:
    """One directory: the values of its small tags, and how many bytes of picture data it points to."""

    def __init__(self) -> None:
        self.tags: dict[int, list[int]] = {}
        self.data = 0

    def one(self, tag: int, default: int | None = None) -> int:
        """Return the first value of a tag; without it the default, or the TIFF is refused."""
        values = self.tags.get(tag)
        if values:
            return values[0]
        if default is None:
            raise refuse("the TIFF does not say how large its picture is")
        return default


class _Walk:
    def __init__(self, reader: Reader, order: str) -> None:
        self.reader = reader
        self.order = order
        self.end = 8
        self._seen: set[int] = set()

    def number(self, position: int, count: int) -> int:
        return int.from_bytes(self.reader.at(position, count), self.order)  # type: ignore[arg-type]

    def chain(self, position: int) -> list[_Page]:
        """Walk the directories that follow one another."""
        pages: list[_Page] = []
        while position:
            page, position = self._directory(position)
            if pages:
                page.tags.clear()
            pages.append(page)
        if not pages:
            raise refuse("the TIFF holds no picture")
        return pages

    def _directory(self, position: int) -> tuple[_Page, int]:
        self.reader.step()
        if position in self._seen or len(self._seen) > 4096:
            raise refuse("the directories of the TIFF run in a circle")
        self._seen.add(position)
        page, count = _Page(), self.number(position, 2)
        for index in range(count):
            self._entry(page, position + 2 + 12 * index)
        after = position + 2 + 12 * count
        self._reach(after, 4)
        for offsets, lengths in ((273, 279), (324, 325), (513, 514)):
            starts, sizes = page.tags.get(offsets, []), page.tags.get(lengths, [])
            if len(starts) != len(sizes):
                raise refuse("the header of the TIFF makes no sense")
            for start, size in zip(starts, sizes, strict=True):
                self._reach(start, size)
                page.data += size
        return page, self.number(after, 4)

    def _entry(self, page: _Page, entry: int) -> None:
        self.reader.step(12)
        tag, kind, count = self.number(entry, 2), self.number(entry + 2, 2), self.number(entry + 4, 4)
        width = _SIZES.get(kind, 0)
        length = width * count
        start = entry + 8 if length <= 4 else self.number(entry + 8, 4)
        self._reach(start, length)
        if tag in _KEPT and kind in {3, 4, 13} and length > 0:
            if length > _MOST:
                raise refuse("a table in the TIFF is too large")
            raw = self.reader.at(start, length)
            page.tags[tag] = [int.from_bytes(raw[i : i + width], self.order) for i in range(0, length, width)]  # type: ignore[arg-type]
        if tag in _SUB_DIRECTORIES:
            for sub in page.tags.get(tag, []):
                self._sub_chain(sub)

    def _sub_chain(self, position: int) -> None:
        while position:
            _, position = self._directory(position)

    def _reach(self, start: int, length: int) -> None:
        """Note that a part reaches from ``start`` over ``length`` bytes; it must lie inside the file."""
        if start + length > self.reader.size:
            raise refuse("the file is truncated: it ends before its contents do")
        self.end = max(self.end, start + length)
