"""The provider account of a call, which decides whether an observation of its job counts.

A call records the account that it was submitted with: a keyed hash of the instance's lasting identity, and its address. A negative
observation (not found, failed) counts only under the same account. A success counts with any key of the same address. Under another
address nothing counts, because self-hosted services number their jobs 1, 2, 3.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..errors import AuthenticationFailed, Fix, MediaError, RequestError, SettingsError
from ..redaction import clean_text
from ..state.store import UNKNOWN_ACCOUNT, CallRecord

if TYPE_CHECKING:
    from ..plugins.instances import BackendInstance
    from .engine import Engine


def fingerprint(instance: BackendInstance, key: bytes) -> str:
    """Return the account of an instance: a hash of its keys and public credentials (a project), and the address.

    No key can be derived from the hash, and with a ``key`` of the store, those of two stores cannot be compared.
    """
    identity = repr((instance.plugin, instance.address, instance.key_digest)).encode()
    return f"{hashlib.blake2b(identity, key=key, digest_size=16).hexdigest()} {instance.address}"


def is_same_account(recorded: str, current: str) -> bool:
    """Whether a call's recorded account is the current one; that of a call of the first edition is unknown, and is."""
    return recorded in {UNKNOWN_ACCOUNT, current}


def _address(account: str) -> str:
    return account.partition(" ")[2]


def is_same_address(recorded: str, current: str) -> bool:
    """Whether a call's recorded account has the current address."""
    return recorded == UNKNOWN_ACCOUNT or _address(recorded) == _address(current)


def keys_to_check(instance: BackendInstance) -> str:
    """Return what to do about the keys of an instance, as a sentence; empty if it needs none."""
    found = [f"check {c.found_in}" if c.secret else f"set {c.wanted}" for c in instance.credentials if not c.public]
    if not found:  # the SDK finds its own, which may not be those that were used
        sets = instance.matrix.credentials
        names = {v: None for s in sets for name, variables in s.names.items() if name not in s.public for v in variables}
        found = [f"set {' or '.join(names)}"] if names else []
    text = " and ".join(found)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


async def why_unreachable(engine: Engine, record: CallRecord, *, rebind: bool) -> MediaError | None:
    """Return why the provider must not be asked about a call now; None if it may be.

    ``rebind``: the caller says that the service at the current address is the one that has the job.
    """
    instance = engine.instance(record.backend)
    error: MediaError | None = None
    if instance.missing:
        text = f"'{record.backend}' cannot be asked about {record.id}: {', '.join(instance.missing)} is missing"
        error = AuthenticationFailed(text, fix="Set it. The job continues at the provider.")
        error.action = Fix("resume", record.run)
    elif not is_same_address(record.account, current := await engine.account(record.backend)):
        before, now = _address(record.account), _address(current)
        text = f"{record.id} was submitted to {before!r}, but '{record.backend}' is configured for {now!r}"
        if not rebind:
            error = SettingsError(
                f"{text}; nothing was sent there", fix="Set the address back, or, if the same service moved, rebind the job."
            )
            error.action = Fix("rebind", record.run)
        elif record.job is not None:
            other = await engine.store.call_of_job(record.backend, current, str(record.job["id"]))
            if other not in {None, record.id}:
                job = clean_text(str(record.job["id"]), 200)
                error = RequestError(f"{text}, where {job!r} is the job of {other}", fix="Set the address back.")
    if error is not None:
        error.job_id, error.charged = record.id, "unknown"
    return error
