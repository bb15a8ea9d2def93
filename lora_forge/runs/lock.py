"""One writer per run directory: the kernel's lock on a file, with the holder's name in it.

The kernel drops its lock when the holder ends, so on one machine it is never
stale. The name is for people, for ``forge runs stop``, and for what the kernel
cannot know: a holder on another machine that shares the folder. Of such a one
nothing is guessed. No host name is written, only a digest of the machine's id.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lora_forge.errors import ForgeError, Locked
from lora_forge.holder import Holder, myself, read_json
from lora_forge.runs.disk import unwritable

LOCK = ".lock"
TURN = ".lock.turn"
TRIES, RETRY_S = 4, 0.05
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def holding_run(folder: Path) -> Iterator[None]:
    """Be the only writer of the run directory while the block runs; never waits.

    Within such a block it holds what this process holds already.

    Raises:
        Locked: another process holds it, or may hold it on another machine.
    """
    place = folder.resolve()
    if place in _HELD:
        yield
        return
    descriptor = _open(folder / LOCK)
    try:
        if not _taken(descriptor, folder) or not _is_at(descriptor, folder / LOCK):
            raise _locked(folder, read_holder(folder))
        _refuse_foreign(folder)
        _write_holder(descriptor, myself().as_json())
        _HELD[place] = descriptor
        try:
            yield
        finally:
            del _HELD[place]
            _write_holder(descriptor, b"")
    finally:
        os.close(descriptor)


_HELD: dict[Path, int] = {}
"""The run directories that this process holds, with the lock's descriptor."""


@contextmanager
def holding_early(folder: Path | None) -> Iterator[None]:
    """Hold a run directory that was named, from before the planner is imported: of many starts all but one end quickly.

    Only a lock of somebody else is told here; whoever makes and fills the folder
    says better what is wrong with it. What fails leaves no new folder behind.

    Raises:
        Locked: another process holds it.
    """
    with ExitStack() as held:
        made = _hold_if_possible(folder, held) if folder is not None else []
        try:
            yield
        except BaseException:
            if folder is not None:
                leave_nothing(folder, made)
            raise


def _hold_if_possible(folder: Path, held: ExitStack) -> list[Path]:
    try:
        if is_somebodys(folder):
            return []
        made = make_missing(folder)
        held.enter_context(holding_run(folder))
    except Locked:
        raise
    except (OSError, ValueError, ForgeError):
        return []
    return made


def is_somebodys(folder: Path) -> bool:
    """Whether things lie there and no lock ever did: no run's, so not even a lock is put beside them."""
    with suppress(OSError):  # who uses the folder says what is wrong with it
        return folder.is_dir() and not (folder / LOCK).exists() and any(folder.iterdir())
    return False


def make_missing(folder: Path) -> list[Path]:
    """Make a folder and those above it; which there were not yet, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def leave_nothing(folder: Path, made: Iterable[Path]) -> None:
    """Where nothing but our own lock lies, take it away, and the folders that were ``made`` for it.

    By now another start may have made the folder anew: its lock has the same name.
    """
    with suppress(OSError):
        descriptor = _HELD.get(folder.resolve())
        is_ours = descriptor is not None and _is_at(descriptor, folder / LOCK)
        if is_ours and [entry.name for entry in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        for each in made:
            each.rmdir()


def read_holder(folder: Path) -> Holder | None:
    """Who wrote their name last and did not take it out; they may be gone."""
    try:
        return read_json((folder / LOCK).read_bytes())
    except OSError:
        return None


def is_held(folder: Path) -> bool:
    """Ask the kernel whether somebody holds the run; a lock that it does not know is judged by its holder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        holder = read_holder(folder)
        return holder is not None and (holder.lives() or holder.is_foreign())
    finally:
        os.close(descriptor)
    holder = read_holder(folder)
    return holder is not None and holder.is_foreign()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        hint = "--run-dir DIR on a disk that you may write to"
        raise unwritable(f"the run directory {path.parent}", problem, hint) from problem


def _taken(descriptor: int, folder: Path) -> bool:
    """Take the kernel's lock; where the filesystem has none, believe the holder's name.

    Tried again for a moment where nobody's name is in it: ``is_held`` of another
    process holds it for a blink.
    """
    try:
        for _ in range(TRIES - 1):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if _is_named(folder):
                return False
            time.sleep(RETRY_S)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            raise
        return _taken_by_name(descriptor, folder)
    return True


def _taken_by_name(descriptor: int, folder: Path) -> bool:
    """Where the filesystem has no locks: one start at a time looks for a name, and writes its own.

    Raises:
        Locked: the name is of another machine's.
    """
    with _turn(folder) as is_ours:
        if not is_ours or _is_named(folder):
            return False
        _refuse_foreign(folder)
        _write_holder(descriptor, myself().as_json())
        return True


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """Whether it is this process's turn: a hard link is made whole, with its holder's name, or not at all."""
    turn, own = folder / TURN, folder / f"{TURN}.{os.getpid()}"
    with suppress(OSError):  # then there is nothing to link, and the name alone has to do
        own.write_bytes(myself().as_json())
    try:
        is_ours = _linked(own, turn) or (_is_stale(turn) and _linked(own, turn))
        try:
            yield is_ours
        finally:
            if is_ours:
                turn.unlink(missing_ok=True)
    finally:
        own.unlink(missing_ok=True)


def _linked(own: Path, turn: Path) -> bool:
    """Whether nobody else has the turn; where the filesystem knows no links either, nobody can take it."""
    try:
        os.link(own, turn)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _is_stale(turn: Path) -> bool:
    """Whether it was left by a start that was killed in that moment; such a one is taken away."""
    try:
        holder = read_json(turn.read_bytes())
    except OSError:
        return False  # it is over: the next start may have it
    if holder is not None and (holder.lives() or holder.is_foreign()):
        return False
    turn.unlink(missing_ok=True)
    return True


def _is_named(folder: Path) -> bool:
    holder = read_holder(folder)
    return holder is not None and holder.lives()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file still is the one under that name: a start that failed removes its own."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _refuse_foreign(folder: Path) -> None:
    holder = read_holder(folder)
    if holder is not None and holder.is_foreign():
        raise Locked(
            f"{folder} was taken by process {holder.pid} on another machine, at {holder.since}; "
            "whether it still runs cannot be seen from here",
            f"stop it there; if that machine is gone, remove {folder / LOCK}",
        )


def _locked(folder: Path, holder: Holder | None) -> Locked:
    if holder is None:
        return Locked(f"{folder} is held by a process that is just starting or ending", "try again in a moment")
    return Locked(
        f"{folder} is held by process {holder.pid}, since {holder.since}",
        f"wait for it, or stop it: forge runs stop {folder.name}",
    )


def _write_holder(descriptor: int, text: bytes) -> None:
    """Not atomic, and vital only where there are no locks: there it is written twice, and never gone in between."""
    with suppress(OSError):
        os.pwrite(descriptor, text, 0)
        os.ftruncate(descriptor, len(text))
