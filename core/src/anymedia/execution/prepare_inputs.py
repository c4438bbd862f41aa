"""Read the inputs of a plan once, in the form that the plan chose, and protect pixels outside a mask."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar

import attrs

from ..capabilities import ReferencesRule
from ..errors import InvalidRequest, Problem, RequestError, UnknownContinuation, UnsupportedInput
from ..fields import INPUTS, format_name, names_of
from ..media import FORMATS, Audio, Image, Media, Video
from ..planning import InputForm, Plan
from ..records import frozen
from ..requests import KINDS, Continuation, EditWithReferences, Inpaint, Mask, Reference, Request, StoredFile, Transform, each
from ..threads import in_thread

if TYPE_CHECKING:
    from ..artifacts import ArtifactStore
    from ..context import LoadedMedia
    from ..net.fetcher import Fetcher
    from ..state.sql import Store
    from ..state.store import CallRecord

#: What is known of a loaded input besides its bytes.
_FACTS = ("mime", "filename", "width", "height", "seconds")
Loaded: TypeAlias = "dict[Media | Mask | StoredFile, LoadedMedia]"
_M = TypeVar("_M", bound=Media)

#: Maximum size of an input in bytes; the limit of a model, in its matrix, is lower.
MAX_INPUT = 2_000_000_000
#: A file below this size is not looked at for holes, in bytes.
_SPARSE = 16_000_000
#: The most that is fetched from a caller's URL, in bytes.
MAX_FETCHED = 200_000_000


def has_inputs(request: Request) -> bool:
    """Whether files must be read to plan a request."""
    return bool(_inputs(request)) or getattr(request, "continue_from", None) is not None


def resolve(request: Request, found: Continuation, data: bytes | None = None) -> Request:
    """Return a request with its continuation, and with an edit's continued image as an input like any other.

    The image becomes the source of an `Inpaint` without one, and an additional source of `EditWithReferences`, after the given
    ones: a mask applies to the first. So no backend has to find it, and the planner counts it. Its ``data`` are those of the artifact, if
    it is stored as one; else the saved file is used.

    Raises:
        UnknownContinuation: the saved file is missing or has changed.
    """
    changes: dict[str, Any] = {"continue_from": found}
    if found.media == "image" and found.files:
        if isinstance(request, Inpaint) and request.source is None:
            changes["source"] = _continued(found, data)
        if isinstance(request, EditWithReferences):
            changes["references"] = _with_continued(request.references, found, data)
    return attrs.evolve(request, **changes)


def named_format(request: Request, output: Path | str | None) -> Request:
    """Return the request with the format that the suffix of the output names, where it names none itself."""
    if output is None or request.output_format is not None or str(output).endswith(("/", "\\")):
        return request
    name = format_name(Path(output).suffix)
    if not FORMATS.get(name, "").startswith(request.media) or name not in FORMATS or Path(output).is_dir():
        return request
    return attrs.evolve(request, output_format=name)


def _with_continued(references: tuple[Reference, ...], continuation: Continuation, data: bytes | None) -> tuple[Reference, ...]:
    image = _continued(continuation, data)
    path = Path(continuation.files[0].path)
    if any(reference.image.path == path or reference.image == image for reference in references):
        return references
    behind = 1 + max((i for i, reference in enumerate(references) if reference.role == "source"), default=-1)
    return (*references[:behind], Reference(image=image), *references[behind:])


def _continued(continuation: Continuation, data: bytes | None) -> Image:
    from ..files.part_file import read_kept

    file = continuation.files[0]
    if data is not None:
        return Image(data=data, mime=file.mime)
    if read_kept(Path(file.path), file.sha256, most=MAX_INPUT) is None:
        text = f"the file of {continuation.id!r} is missing or has changed: {file.path}"
        raise UnknownContinuation(text, fix="pass an image as an input instead")
    return Image(path=Path(file.path))


@attrs.define(kw_only=True, eq=False, repr=False)
class InputReader:
    """Reads each input once, so that planning, sending and pasting back use the same bytes.

    Attributes:
        roots: the directories that paths must lie in; None for no restriction.
        fetcher: fetches URLs; None where only local files are read.
        headers_only: open files without keeping their bytes, to plan only.
        artifacts: where files of continuations are stored; None where only local files are read.
        digests: the SHA-256 of local files as they were planned: noted while headers are read; later, a file that differs is refused.
    """

    roots: tuple[Path, ...] | None = None
    fetcher: Fetcher | None = None
    artifacts: ArtifactStore | None = None
    headers_only: bool = False
    digests: dict[Path, str] = attrs.field(factory=dict)
    _read: dict[Path | str, bytes] = attrs.field(factory=dict, init=False, repr=False)

    def open(self, path: Path, field: str = "$") -> BinaryIO:
        """Open a local file, or its bytes if it was read before; one that has changed since it was planned is refused."""
        from ..files.paths import open_input

        if path in self._read:
            return io.BytesIO(self._read[path])
        file = open_input(path, self.roots, field=field)
        _check_size(file, path, field)
        if self.headers_only:
            self.digests[path] = _digest(file)
            file.seek(0)
            return file
        with file:
            data = io.BytesIO(file.read(MAX_INPUT))
        if path in self.digests and _digest(data) != self.digests[path]:
            text = f"the file {str(path)!r} has changed since the request was planned"
            raise InvalidRequest([Problem(field, text)], fix="plan the request again; nothing was sent")
        self._read[path] = data.getvalue()
        return io.BytesIO(self._read[path])

    async def read(self, media: Media, field: str = "$") -> bytes:
        """Return the bytes of an input: given, read or fetched. The problem of an invalid one is located at ``field``."""
        if media.data is not None:
            return media.data
        if media.path is not None:
            path = media.path
            if path not in self._read:
                await in_thread(lambda: self.open(path, field).close())
            return self._read[path]
        assert media.url is not None
        assert self.fetcher is not None
        if media.url not in self._read:
            self._read[media.url] = await self.fetcher.fetch_bytes(media.url, for_caller=True, max_bytes=MAX_FETCHED, field=field)
        return self._read[media.url]

    async def read_stored(self, file: StoredFile) -> bytes | None:
        """Return the bytes of an artifact of a continuation; None if it has none or is not stored any more."""
        from ..artifacts import ArtifactError

        with contextlib.suppress(ArtifactError):
            return None if self.artifacts is None else await _read_key(self.artifacts, file.artifact)
        return None

    async def locate_stored(self, continuation: Continuation) -> tuple[Continuation, bytes | None]:
        """Return a continuation as it is in the artifact store: a video with the paths of its files there, an image with its bytes."""
        from ..artifacts import Artifact, ArtifactError

        if continuation.media == "image" and continuation.files:
            return continuation, await self.read_stored(continuation.files[0])
        if continuation.media != "video" or self.artifacts is None:
            return continuation, None
        files = []
        for file in continuation.files:
            if (artifact := Artifact.from_key(file.artifact)) is not None:
                with contextlib.suppress(ArtifactError):
                    file = attrs.evolve(file, path=str(await self.artifacts.local_file(artifact)))
            files.append(file)
        return attrs.evolve(continuation, files=tuple(files)), None

    def clear(self) -> None:
        """Release the bytes that were read."""
        self._read.clear()


def _check_size(file: BinaryIO, path: Path, field: str) -> None:
    """Refuse a file by its size alone: one that is too large, or sparse (a large one that takes hardly any space on the disk)."""
    try:
        found = os.fstat(file.fileno())
    except io.UnsupportedOperation:  # bytes in memory
        return
    blocks = getattr(found, "st_blocks", None)
    is_sparse = blocks is not None and found.st_size > _SPARSE and blocks * 512 * 16 < found.st_size
    if found.st_size > MAX_INPUT or is_sparse:
        file.close()
        why = "it is sparse, mostly holes" if is_sparse else f"it has {found.st_size} bytes; the maximum is {MAX_INPUT}"
        text = f"{str(path)!r}: {why}"
        raise InvalidRequest([Problem(field, text)], fix="give a file of ordinary size")


def _digest(file: BinaryIO) -> str:
    import hashlib

    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed has no readinto in BinaryIO


def with_facts(request: Request, inputs: InputReader) -> Request:
    """Return the request with the type, size and pixels of its local files and bytes, from their headers alone."""
    return _with_media(request, {media: _describe(media, inputs, place) for place, media in _media_of(request)})


async def with_contents(request: Request, inputs: InputReader) -> Request:
    """Return the request with the bytes of its local files in place of their paths; `InvalidRequest` for one that cannot be read."""
    return await _with_bytes(request, inputs.read)


async def with_own_results(request: Request, artifacts: ArtifactStore, store: Store) -> Request:
    """Return the request with bytes in place of the paths that results without a name have: they are artifacts, not the user's files.

    A result is an input only if the store, or view of one realm, has its call.
    """
    from ..files.part_file import read_kept

    async def own(media: Media, _field: str) -> bytes | None:
        place = None if media.path is None else artifacts.kept_piece(media.path)
        if place is None or await store.get(place[0]) is None:
            return None
        found = [a for a in await artifacts.find(place[0]) if (a.kind, a.index) == ("piece", place[1])]
        if not found or media.path is None:
            return None
        return await in_thread(functools.partial(read_kept, media.path, found[0].sha256, most=found[0].size))

    return await _with_bytes(request, own)


async def _with_bytes(request: Request, read: Callable[[Media, str], Awaitable[bytes | None]]) -> Request:
    """Return the request with bytes in place of its paths, except those for which ``read`` returns None."""
    local = {media: place for place, media in _media_of(request) if media.path is not None}
    found = {media: data for media, place in local.items() if (data := await read(media, place)) is not None}
    return _with_media(request, {media: attrs.evolve(media, data=data, path=None) for media, data in found.items()})


def _inputs(request: Request) -> list[tuple[str, Any]]:
    """Return the inputs that a request has, by the names of their fields."""
    return [(name, value) for name in names_of(request) if name in INPUTS and (value := getattr(request, name))]


def _items(value: Any, place: str) -> Iterator[tuple[str, Media | Mask]]:
    """Yield each medium and mask in the value of a field, with the path to it."""
    if isinstance(value, Media | Mask):
        yield place, value
    elif isinstance(value, Reference):
        yield place, value.image
    elif isinstance(value, Mapping):
        for role, inner in value.items():
            yield from _items(inner, f"{place}.{role}")
    elif isinstance(value, tuple):
        for i, inner in enumerate(value):
            yield from _items(inner, f"{place}[{i}]")


def _media_of(request: Request) -> Iterator[tuple[str, Media]]:
    """Yield each medium of a request, with the path to it; a mask as its image."""
    for name, value in _inputs(request):
        for place, item in _items(value, f"$.{name}"):
            media = item.image if isinstance(item, Mask) else item
            if media is not None:
                yield place, media


def _with_media(request: Request, changed: Mapping[Media, Media]) -> Request:
    """Return a request with other media in place of some."""

    def new(value: Any) -> Any:
        if isinstance(value, Media):
            return changed.get(value, value)
        if isinstance(value, Mask | Reference):
            found = None if value.image is None else changed.get(value.image)
            return value if found is None else attrs.evolve(value, image=found)
        if isinstance(value, Mapping):
            return {role: new(inner) for role, inner in value.items()}
        return tuple([new(inner) for inner in value]) if isinstance(value, tuple) else value

    return attrs.evolve(request, **{name: new(value) for name, value in _inputs(request)}) if changed else request


def _describe(media: _M, inputs: InputReader, field: str) -> _M:
    if media.url is not None or (media.size is not None and media.mime is not None):
        return media
    from ..probe.probe import describe

    try:
        return describe(media, opener=lambda path: inputs.open(path, field))
    except InvalidRequest as error:
        moved = [Problem(field, p.message, p.suggestion) if p.path == "$" else p for p in error.problems]
        raise InvalidRequest(moved, fix=error.fix_parts) from None


async def load_inputs(inputs: InputReader, plan: Plan) -> Loaded:
    """Read or fetch every input and convert it to the form that the plan chose; carry out the checks that the plan left open."""
    from ..convert.load_input import load

    loaded: Loaded = {}
    places = _places(plan.request)
    sizes: dict[Media, tuple[int, int]] = {}
    for item, form in plan.forms.items():
        if isinstance(item, Media):
            place = places.get(item, "$")
            loaded[item] = found = await load(item, form, read=functools.partial(inputs.read, field=place), where=place)
            if found.width and found.height:
                sizes[item] = (found.width, found.height)
    _check_total(plan, loaded)
    source = plan.request.inputs.get("image") if isinstance(plan.request, Transform) else _masked_image(plan.request)
    for item, form in plan.forms.items():
        if isinstance(item, Mask):
            size, place = sizes.get(source) if isinstance(source, Media) else None, places.get(item, "$")
            loaded[item] = await load(item, form, read=functools.partial(inputs.read, field=place), source_size=size, where=place)
    if plan.continuation is not None:
        loaded |= await _stored(inputs, plan.continuation)
    return loaded


def _check_total(plan: Plan, loaded: Loaded) -> None:
    """Hold all reference images together against the row, now that each one's bytes are there."""
    rule = plan.operation_spec.inputs.get("references")
    most = rule.max_total_bytes if isinstance(rule, ReferencesRule) else None
    total = sum(len(loaded[r.image].data) for r in getattr(plan.request, "references", ()) if r.image in loaded)
    if most is not None and total > most:
        text = f"'{plan.chosen}' takes {most} bytes of reference images in all, not {total}."
        raise UnsupportedInput(text, fix="Give fewer or smaller ones.")


def _places(request: Request) -> dict[Media | Mask, str]:
    """Return the JSON path to each input of a request."""
    return {item: place for name, value in _inputs(request) for place, item in _items(value, f"$.{name}")}


def _masked_image(request: Request) -> Image | None:
    """Return the image that the mask of a request applies to: the source, or the first of several."""
    source: Image | None = getattr(request, "source", None)
    return source or next((r.image for r in getattr(request, "references", ()) if r.role == "source"), None)


async def _stored(inputs: InputReader, continuation: Continuation) -> Loaded:
    """Read the files of a continuation; a file that is missing or has changed is left out."""
    from ..context import LoadedMedia
    from ..files.part_file import read_kept

    found: Loaded = {}
    for index, file in enumerate(continuation.files):
        data = await inputs.read_stored(file)
        if data is None:
            data = await in_thread(functools.partial(read_kept, Path(file.path), file.sha256, most=MAX_INPUT))
        if data is not None:
            name = f"earlier-{index + 1}{Path(file.path).suffix}"
            found[file] = LoadedMedia(data=data, mime=file.mime, filename=name, width=file.width, height=file.height, seconds=file.seconds)
    return found


async def read_protection(inputs: InputReader, request: Request) -> Protection | None:
    """Return the source and the mask of a masked edit, for measuring and copying back; None if the request has no mask."""
    from ..convert.load_input import load

    mask: Mask | None = getattr(request, "mask", None)
    source = _masked_image(request)
    if mask is None or mask.image is None or source is None:
        return None
    picture = await load(source, InputForm(), read=inputs.read)
    size = (picture.width, picture.height) if picture.width and picture.height else None
    region = await load(mask, InputForm(mask_format="white"), read=inputs.read, source_size=size)
    exact = getattr(request, "protect", None) == "exact"
    return Protection(source=picture.data, mask=region.data, exact=exact)


@frozen(kw_only=True)
class StoredInputs:
    """The inputs of a call as artifacts.

    Attributes:
        keys: of all of them.
        sent: JSON of how they are sent: facts about each, by number, and the numbers by field of the request.
        protection: JSON of the source and mask of a masked edit.
        files: the files of a continuation, as this call's own artifacts.
    """

    keys: tuple[str, ...]
    sent: dict[str, Any]
    protection: dict[str, Any] | None
    files: tuple[StoredFile, ...]


async def store_inputs(
    artifacts: ArtifactStore, call_id: str, request: Request, loaded: Loaded, protection: Protection | None
) -> StoredInputs:
    """Store the inputs of a call as they are sent, so that any process can send, finish or check it."""
    keys: list[str] = []
    numbers: dict[Media | Mask | StoredFile, int] = {}

    async def put(data: bytes, mime: str) -> str:
        keys.append((await artifacts.put(call_id, "input", data, index=len(keys), mime=mime)).key)
        return keys[-1]

    for item, found in loaded.items():
        numbers[item] = len(keys)
        await put(found.data, found.mime)
    fields: dict[str, Any] = {
        name: numbers[value] for name, value in _inputs(request) if isinstance(value, Media | Mask) and value in numbers
    }
    if isinstance(request, Transform):
        fields["inputs"] = {role: [numbers.get(item) for item in each(value)] for role, value in request.inputs.items()}
    if references := getattr(request, "references", ()):
        fields["references"] = [numbers.get(reference.image) for reference in references]
    sent = {"facts": [{name: getattr(found, name) for name in _FACTS} for found in loaded.values()], "fields": fields} if loaded else {}
    stored = None
    if protection is not None:
        source, mask = await put(protection.source, ""), await put(protection.mask, "image/png")
        stored = {"source": source, "mask": mask, "exact": protection.exact}
    continuation: Continuation | None = getattr(request, "continue_from", None)
    earlier = () if continuation is None else continuation.files
    files = tuple(attrs.evolve(file, artifact=keys[numbers[file]]) if file in numbers else file for file in earlier)
    return StoredInputs(keys=tuple(keys), sent=sent, protection=stored, files=files)


async def restore_inputs(
    artifacts: ArtifactStore, record: CallRecord, continuation: Continuation | None
) -> tuple[Request, Loaded, Protection | None]:
    """Return the request of a call, which has this continuation, if any, with its inputs as `store_inputs` stored them.

    Raises:
        ArtifactError: an input is not stored any more.
        RequestError: the record does not say how they are sent, as those of earlier versions.
    """
    from ..context import LoadedMedia
    from ..state.codec import HIDDEN

    target = record.target
    if (sent := target.get("sent", {})) is None:
        raise RequestError(f"{record.id} is a copy of a result")
    keys = target.get("inputs", ())
    found = [LoadedMedia(data=await _read_key(artifacts, key), **facts) for key, facts in zip(keys, sent.get("facts", ()), strict=False)]
    if HIDDEN in {**record.request.get("options", {}), **record.request.get("extra_params", {})}.values():
        raise RequestError(f"a secret of {record.id} is not stored, so it cannot be sent", fix="make the request again")
    stored = _StoredMedia(record.id, found)
    places = sent.get("fields", {})
    fields = {name: stored.field(name, value, places.get(name)) for name, value in record.request.items() if name != "kind"}
    if continuation is not None:
        files = tuple([StoredFile(**raw) for raw in target["earlier_files"]])
        fields["continue_from"] = attrs.evolve(continuation, files=files)
        by_key = dict(zip(keys, found, strict=False))
        stored.loaded.update({file: by_key[file.artifact] for file in files if file.artifact in by_key})
    return KINDS[record.request["kind"]](**fields), stored.loaded, await read_stored_protection(artifacts, target.get("protection"))


@frozen
class _StoredMedia:
    """The stored inputs of a call, by number, and the contents of the media that were made of them."""

    call_id: str
    found: Sequence[LoadedMedia]
    loaded: Loaded = attrs.field(factory=dict)

    def field(self, name: str, value: Any, places: Any) -> Any:
        """Return the value of a request's field, given its stored value and the numbers of its inputs."""
        if name == "references":
            numbers = places or [None] * len(value)
            return tuple([Reference(**{**raw, "image": self._media(number)}) for raw, number in zip(value, numbers, strict=True)])
        if name == "inputs":
            return {role: self._task_input(role, raw, (places or {}).get(role) or [None]) for role, raw in value.items()}
        if name == "mask":
            return self._mask(value, places) if "image" in value else Mask(**value)
        return self._media(places) if name in INPUTS and name != "continue_from" else value

    def _media(self, number: int | None) -> Media:
        if number is None:
            raise RequestError(f"an input of {self.call_id} was not stored")
        got = self.found[number]
        cls = {"video": Video, "audio": Audio}.get(got.mime.partition("/")[0], Image)
        pixels = {} if cls is Audio else {"width": got.width, "height": got.height}
        media: Media = cls(data=got.data, mime=got.mime, size=len(got.data), **pixels)
        self.loaded[media] = got
        return media

    def _mask(self, fields: Mapping[str, Any], number: int | None) -> Mask:
        mask = Mask(**{**fields, "image": (image := self._media(number))})
        self.loaded[mask] = self.loaded[image]
        return mask

    def _task_input(self, role: str, raw: Any, numbers: Sequence[int | None]) -> Any:
        if role == "mask":
            return self._mask({}, numbers[0])
        return tuple([self._media(number) for number in numbers]) if isinstance(raw, list) else self._media(numbers[0])


async def _read_key(artifacts: ArtifactStore, key: str) -> bytes:
    from ..artifacts import Artifact, ArtifactMissing

    if (artifact := Artifact.from_key(key)) is None:
        raise ArtifactMissing(f"there is no artifact {key!r}")
    return await artifacts.read(artifact)


async def read_stored_protection(artifacts: ArtifactStore, raw: Mapping[str, Any] | None) -> Protection | None:
    """Return the protection that `store_inputs` stored; None if there is none or it is not stored any more."""
    from ..artifacts import ArtifactDamaged, ArtifactMissing

    if raw is None:
        return None
    try:
        source, mask = [await _read_key(artifacts, str(raw.get(name))) for name in ("source", "mask")]
    except (ArtifactMissing, ArtifactDamaged):
        return None
    return Protection(source=source, mask=mask, exact=bool(raw["exact"]))


@frozen(kw_only=True)
class Protection:
    """A masked edit's source, its mask (white = edit) as PNG, and whether the protected pixels are copied back."""

    source: bytes = attrs.field(repr=False)
    mask: bytes = attrs.field(repr=False)
    exact: bool
