# SPDX-License-Identifier: Apache-2.0
"""Commands, namespaces, processes and files of the host.

Owns every way in which the driver leaves Python. Invariant: a failing command raises HostError with what it said,
and no command waits for ever.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NETNS_DIR = Path("/run/netns")
COMMAND_TIMEOUT = 30.0
_CLONE_NEWNET = 0x40000000
_IP_FREEBIND = 15
_libc = ctypes.CDLL(None, use_errno=True)


class HostError(Exception):
    """Something the host refused; the text is fit for a report."""


def run(command: Sequence[str], stdin: str | None = None, accept: Sequence[int] = (0,)) -> str:
    """Runs a command (found on PATH, no shell) in the calling thread's namespace and returns its output."""
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise HostError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{command[0]} did not finish in {COMMAND_TIMEOUT:.0f} s") from None
    if done.returncode not in accept:
        said = (done.stderr or done.stdout).strip().replace("\n", "; ")
        raise HostError(f"{' '.join(command[:3])} failed ({done.returncode}): {said[:500]}")
    return done.stdout


def namespace_exists(name: str) -> bool:
    """Whether a named network namespace is there (mounted, not just a file left over)."""
    return os.path.ismount(NETNS_DIR / name)


def namespace_identity(name: str) -> int | None:
    """A number that a namespace made anew under the same name does not share; None when there is none."""
    return os.stat(NETNS_DIR / name).st_ino if namespace_exists(name) else None


def listening_socket(address: str, port: int) -> socket.socket:
    """A TCP socket listening on an address that may come a moment later, in the calling thread's namespace."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((address, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise HostError(f"cannot listen on {address}:{port}: {error.strerror}") from None
    return sock


def ensure_namespace(name: str) -> bool:
    """Makes the namespace unless it is there; tells whether it made it."""
    if namespace_exists(name):
        return False
    # A file without a mount is what an interrupted creation, or a reboot, leaves.
    with contextlib.suppress(FileNotFoundError):
        (NETNS_DIR / name).unlink()
    run(["ip", "netns", "add", name])
    return True


def delete_namespace(name: str) -> None:
    """Removes the namespace if it is there; its devices go with it."""
    if (NETNS_DIR / name).exists():
        run(["ip", "netns", "delete", name])


def namespaces(prefix: str) -> list[str]:
    """Names of the namespaces that begin with prefix."""
    if not NETNS_DIR.is_dir():
        return []
    return sorted(entry.name for entry in NETNS_DIR.iterdir() if entry.name.startswith(prefix))


def in_namespace(name: str | None, function: Callable[[], T]) -> T:
    """Calls `function` in a thread that has entered the network namespace (None: the agent's own).

    Sockets opened and commands started by it belong to that namespace. The thread ends with the call, so that no
    other work ever finds itself in the wrong namespace.
    """
    if name is None:
        return function()
    outcome: list[Any] = []

    def enter() -> None:
        try:
            descriptor = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                    raise HostError(f"cannot enter namespace {name}: {os.strerror(ctypes.get_errno())}")
            finally:
                os.close(descriptor)
            outcome.append((function(), None))
        except FileNotFoundError as error:
            outcome.append((None, HostError(f"namespace {name}: {error}")))
        except BaseException as error:  # handed over to the caller, which sees it as its own
            outcome.append((None, error))

    thread = threading.Thread(target=enter, name=f"ns-{name}"[:15])
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    value: T = result
    return value


def sysctl(path: str, value: str | int) -> None:
    """Sets a kernel parameter (slashes between its parts) in the calling thread's namespace, if it differs."""
    file = Path("/proc/sys") / path
    try:
        if file.read_text().strip() != str(value):
            file.write_text(str(value))
    except OSError as error:
        raise HostError(f"cannot set {path}={value}: {error.strerror}") from None


def write_atomically(path: Path, text: str, mode: int = 0o644) -> bool:
    """Replaces the file's content; tells whether it was different. A reader sees the old or the new text, whole."""
    try:
        if path.read_text() == text:
            return False
    except FileNotFoundError:
        pass
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def running_process(pid_file: Path, marker: str) -> int | None:
    """The pid in the file if that process lives and has `marker` in its command line, else None.

    The command line is checked because pids are used again: a stale file must never point at somebody else.
    """
    try:
        pid = int(pid_file.read_text().strip())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if marker.encode() in command else None


def stop_process(pid: int, wait: float = 3.0) -> None:
    """Asks the process to end, and ends it if it does not within `wait` seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(wait * 1000):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            poller.poll(wait * 1000)
    finally:
        os.close(descriptor)


class ProcessWatch:
    """Tells which of the processes it was given have ended. Asking costs one system call, however many there are."""

    def __init__(self) -> None:
        self._watched: dict[str, tuple[int, int]] = {}  # key -> (pid, descriptor)
        self._poll = select.poll()

    def watch(self, key: str, pid: int) -> None:
        """From now on the process of `key` is this one."""
        if self._watched.get(key, (0, 0))[0] == pid:
            return
        self.forget(key)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return  # whoever started it will find out by itself
        self._watched[key] = (pid, descriptor)
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, key: str) -> None:
        """No longer watches the process of `key`."""
        _, descriptor = self._watched.pop(key, (0, -1))
        if descriptor >= 0:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def ended(self) -> set[str]:
        """Keys of the processes that have ended."""
        descriptors = {descriptor for descriptor, _ in self._poll.poll(0)}
        return {key for key, (_, descriptor) in self._watched.items() if descriptor in descriptors}
