# SPDX-License-Identifier: Apache-2.0
"""The states of a server and the table of what may happen in which.

A server has a `vm_state` (what it is) and a `task_state` (what is being done to it, None when nothing is). Invariant:
both columns change only through `db.servers.begin` and `db.servers.settle`, by compare-and-swap, as a row of VERBS
says; every task state has a deadline, after which the flow that owns it ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# vm_state
BUILDING: Final = "building"
ACTIVE: Final = "active"
PAUSED: Final = "paused"
SUSPENDED: Final = "suspended"
STOPPED: Final = "stopped"
RESCUED: Final = "rescued"
RESIZED: Final = "resized"
ERROR: Final = "error"
DELETED: Final = "deleted"

# task_state
SCHEDULING: Final = "scheduling"
NETWORKING: Final = "networking"
SPAWNING: Final = "spawning"
DELETING: Final = "deleting"

# power_state, as numbers of the API
NOSTATE, RUNNING, POWER_PAUSED, SHUTDOWN, CRASHED, POWER_SUSPENDED = 0, 1, 3, 4, 6, 7
POWER: Final = {
    "running": RUNNING,
    "paused": POWER_PAUSED,
    "shutdown": SHUTDOWN,
    "crashed": CRASHED,
    "suspended": POWER_SUSPENDED,
}


@dataclass(frozen=True)
class Verb:
    """One thing that may be asked of a server.

    name: as in refusals and in the list of actions. vm_states, task_states: in which it may begin. task_state: while
    under way. done: vm_state afterwards (None: as before). failed: vm_state after a failure (None: as before).
    deadline: seconds it may take.
    """

    name: str
    vm_states: tuple[str, ...]
    task_state: str
    done: str | None = None
    failed: str | None = None
    task_states: tuple[str | None, ...] = (None,)
    deadline: float = 600


_REBOOTING = (None, "rebooting", "reboot_pending", "reboot_started")

VERBS: Final[dict[str, Verb]] = {
    verb.name: verb
    for verb in (
        Verb("start", (STOPPED,), "powering-on", done=ACTIVE),
        Verb("stop", (ACTIVE, ERROR), "powering-off", done=STOPPED),
        Verb("reboot", (ACTIVE,), "rebooting", done=ACTIVE),
        Verb("hard_reboot", (ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR), "rebooting_hard", done=ACTIVE, failed=ERROR,
             task_states=(*_REBOOTING, "rebooting_hard", "pausing", "unpausing", "suspending", "resuming")),
        Verb("pause", (ACTIVE,), "pausing", done=PAUSED),
        Verb("unpause", (PAUSED,), "unpausing", done=ACTIVE),
        Verb("suspend", (ACTIVE,), "suspending", done=SUSPENDED),
        Verb("resume", (SUSPENDED,), "resuming", done=ACTIVE),
        Verb("rescue", (ACTIVE, STOPPED, ERROR), "rescuing", done=RESCUED),
        Verb("unrescue", (RESCUED,), "unrescuing", done=ACTIVE),
        Verb("rebuild", (ACTIVE, STOPPED, ERROR), "rebuilding", done=ACTIVE, failed=ERROR, deadline=1800),
        Verb("resize", (ACTIVE, STOPPED), "resize_prep", done=RESIZED, deadline=1800),
        Verb("confirmResize", (RESIZED,), "resize_confirming", done=ACTIVE),
        Verb("revertResize", (RESIZED,), "resize_reverting", done=ACTIVE, failed=ERROR),
        Verb("createImage", (ACTIVE, STOPPED, PAUSED, SUSPENDED), "image_snapshot", deadline=3600),
    )
}  # fmt: skip
"""Verbs that go through a task state. Delete is none of them: it wins in every state."""

_STATUS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    ACTIVE: ("ACTIVE", {
        "rebooting": "REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT", "rebooting_hard": "HARD_REBOOT",
        "updating_password": "PASSWORD", "rebuilding": "REBUILD", "migrating": "MIGRATING", "resize_prep": "RESIZE",
        "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE",
    }),
    BUILDING: ("BUILD", {}),
    STOPPED: ("SHUTOFF", {
        "rebuilding": "REBUILD", "resize_prep": "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE",
        "resize_finish": "RESIZE", "rebooting_hard": "HARD_REBOOT",
    }),
    PAUSED: ("PAUSED", {"rebooting_hard": "HARD_REBOOT"}),
    SUSPENDED: ("SUSPENDED", {"rebooting_hard": "HARD_REBOOT"}),
    RESCUED: ("RESCUE", {}),
    RESIZED: ("VERIFY_RESIZE", {"resize_reverting": "REVERT_RESIZE"}),
    ERROR: ("ERROR", {"rebuilding": "REBUILD", "rebooting_hard": "HARD_REBOOT"}),
    DELETED: ("DELETED", {}),
}  # fmt: skip


def status(vm_state: str, task_state: str | None) -> str:
    """The `status` the API shows."""
    default, by_task = _STATUS[vm_state]
    return by_task.get(task_state, default) if task_state else default


def states_of_status(wanted: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(vm_states, task_states) that may show as a status, to filter with; two empty tuples for an unknown word."""
    wanted = wanted.upper()
    vm, task = [], set()
    for vm_state, (default, by_task) in _STATUS.items():
        tasks = [t for t, shown in by_task.items() if shown == wanted]
        if default == wanted or tasks:
            vm.append(vm_state)
            task.update(tasks)
    return tuple(vm), tuple(sorted(task))
