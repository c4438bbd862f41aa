"""A process of its own that works on a shared journal: python state_worker.py COMMAND PATH [ARGUMENT ...]."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from blocking_store import BlockingStore
from state_samples import NOW, continuation, new_call

from anymedia.errors import BudgetExceeded
from anymedia.policy import Budget
from anymedia.state.store import FINAL_STATES, LeaseLost

CAP = 1.0
PRICE = 0.1


def say(*words: object) -> None:
    """Write one line at once, in a single write, so that lines of several processes do not mix."""
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


def wait_for(start: Path) -> None:
    say("ready")
    while not start.exists():
        time.sleep(0.002)


def collect(store: BlockingStore, owner: str, start: str) -> None:
    """Claim and collect every row that no other process holds, until all are done; print each one collected."""
    wait_for(Path(start))
    pending = [record.id for record in store.calls()]
    while pending:
        random.shuffle(pending)
        left = len(pending)
        for call_id in list(pending):
            record = store.get(call_id)
            assert record is not None
            if record.state in FINAL_STATES:
                pending.remove(call_id)
                continue
            lease = store.claim(call_id, owner=owner, lease_seconds=60, now=time.time())
            if lease is None:
                continue
            if record.state != "collecting":
                store.advance(lease, "running", now=time.time())
            store.advance(lease, "collecting", now=time.time(), outcome={"by": owner})
            say("collected", call_id)
            store.advance(lease, "done", now=time.time(), cost_usd=0.05, result={"by": owner})
        if len(pending) == left:
            time.sleep(0.01)  # the rest is in others' hands: do not take the processor from them


def spend(store: BlockingStore, owner: str, start: str) -> None:
    """Ten threads want one call each under a budget that all processes share."""
    wait_for(Path(start))

    def want(i: int) -> None:
        try:
            call = new_call(f"{owner}-{i}", quote_usd=(0.0, PRICE), session=owner)
            store.open_call(call, Budget(per_day=CAP), owner=owner, lease_seconds=60)
            say("opened", call.id)
        except BudgetExceeded:
            say("refused", i)

    threads = [threading.Thread(target=want, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def churn(store: BlockingStore, owner: str) -> None:
    """Make calls and carry them through their states for ever, saying each step once it is durable."""
    say("ready")
    for i in range(1_000_000):
        call_id = f"{owner}-{i}"
        lease = store.open_call(new_call(call_id, quote_usd=(0.1, 0.3)), Budget(per_day=1e6), owner=owner, lease_seconds=60)
        say("opened", call_id)
        if i % 5 == 4:
            store.advance(lease, "refused", now=NOW, error={"code": "rate_limited"})
            say("refused", call_id)
            continue
        store.advance(lease, "submitted", now=NOW, job={"id": f"job-of-{call_id}"}, secret={"url": "https://x/?s=" + "y" * 500})
        say("submitted", call_id)
        store.advance(lease, "collecting", now=NOW, outcome={"pieces": ["z" * 3000]})
        if i % 3 == 0:
            store.advance(lease, "done", now=NOW, cost_usd=0.2)
            say("done", call_id)
        store.save_continuation(continuation(f"veo_vid_{call_id}"))
        say("continuation", f"veo_vid_{call_id}")


def go_on(store: BlockingStore, earlier: str, new: str) -> None:
    """Load a continuation of another process, and save the next one of the chain."""
    chain = [] if earlier == "-" else [*store.load_continuation(earlier, now=NOW).data["chain"], earlier]
    store.save_continuation(continuation(new, data={"chain": chain}, created_at=NOW + len(chain)))


def steal(store: BlockingStore, owner: str, start: str) -> None:
    """Fight for one row with leases that run out at once; only who holds the newest may change it."""
    wait_for(Path(start))
    won = 0
    for _ in range(60):
        lease = store.claim("prize", owner=owner, lease_seconds=0.0, now=time.time())
        if lease is None:
            continue
        try:
            record = store.get("prize")
            assert record is not None
            count = 0 if record.outcome is None else record.outcome["count"]
            store.advance(lease, "collecting", now=time.time(), outcome={"count": count + 1})
            won += 1
        except LeaseLost:
            pass
    say("won", won)


def main() -> None:
    command, path, *rest = sys.argv[1:]
    commands: dict[str, Callable[..., None]] = {"collect": collect, "spend": spend, "churn": churn, "go_on": go_on, "steal": steal}
    store = BlockingStore(path)
    commands[command](store, *rest)
    store.close()


if __name__ == "__main__":
    main()
