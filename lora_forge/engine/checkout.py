"""The engine's source: partial, sparse, detached at one commit, never edited in place.

It is made beside its final place and renamed there only when it is whole, so a
kill at any point leaves the old checkout, none, or the new one.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lora_forge.engine.home import EngineHome
from lora_forge.engine.pin import SPARSE, UNFETCHED
from lora_forge.engine.stamps import (
    CheckoutStamp,
    read_checkout_stamp,
    read_head,
    write_checkout_stamp,
)
from lora_forge.engine.using import replacing
from lora_forge.engine.worktree import Worktree, allowed_protocols, refuse_unsafe_url, require_git
from lora_forge.errors import EngineError
from lora_forge.whole_file import sync_directory

Report = Callable[[str], None]


def ensure_checkout(home: EngineHome, repository: str, commit: str, report: Report, *, force: bool) -> None:
    """Leave the engine's source whole at ``commit``; the caller holds ``home.checkout_lock``.

    What is whole already stays, and its stamp keeps saying where it came from.
    """
    refuse_unsafe_url(repository)
    refuse_vague_commit(commit)
    require_git()
    sweep_leftovers(home.checkout)
    if force or checkout_fault(home.checkout, commit):
        with replacing(home.checkout):
            replace_checkout(home.checkout, repository, commit, report)
    elif (stamp := read_checkout_stamp(home.checkout)) is None or stamp.commit != commit:
        write_checkout_stamp(home.checkout, CheckoutStamp(repository, commit))


def refuse_vague_commit(commit: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise EngineError(
            f"the engine's commit must be 40 hexadecimal digits, not {commit!r}", "git ls-remote REPOSITORY"
        )


def checkout_fault(checkout: Path, commit: str) -> str:
    """Say what is wrong with the source on disk, asking git; empty where nothing is."""
    if not (checkout / ".git").is_dir():
        return "there is no checkout"
    if (head := read_head(checkout)) != commit:
        return f"it stands at {head}, not at {commit}"
    try:
        return tree_fault(Worktree(checkout))
    except EngineError as problem:
        return problem.message


def tree_fault(worktree: Worktree) -> str:
    """Compare the files with the commit: edited, added, missing, or left out by a narrower sparse set."""
    changed = edits(worktree)
    if changed:
        return f"{len(changed)} files differ from the commit, first {changed[0]}"
    left_out = [line[2:] for line in listed(worktree.git("ls-files", "-t", "-z")) if line.startswith("S ")]
    unexpected = [path for path in left_out if not path.startswith(tuple(f[1:] for f in UNFETCHED))]
    return f"{len(unexpected)} files were never checked out, first {unexpected[0]}" if unexpected else ""


def edits(worktree: Worktree) -> list[str]:
    return listed(worktree.git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"))


def listed(output: str) -> list[str]:
    return [entry for entry in output.split("\0") if entry]


def replace_checkout(checkout: Path, repository: str, commit: str, report: Report) -> None:
    """Make a new checkout beside the old one, then let it take the place."""
    report(f"fetching {repository} at {commit[:12]}")
    try:
        kept = _replace(checkout, repository, commit)
    except OSError as problem:
        raise EngineError(
            f"cannot make the engine's checkout in {checkout.parent}: {problem.strerror or problem}",
            "check free space and permissions there, or set FORGE_HOME",
        ) from problem
    if kept:
        report(f"what stood in {checkout} had local changes; kept as {kept.name}")
    report(f"engine source ready in {checkout}")


def _replace(checkout: Path, repository: str, commit: str) -> Path | None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{checkout.name}.new-", dir=checkout.parent))
    try:
        make_checkout(fresh, repository, commit)
        fresh.chmod(0o755)  # mkdtemp's own mode would shut other accounts out
        kept = give_way(checkout)
        fresh.rename(checkout)
        sync_directory(checkout.parent)
    finally:
        sweep_leftovers(checkout)
    return kept


def make_checkout(tree: Path, repository: str, commit: str) -> None:
    target = Worktree(tree, allowed_protocols(repository))
    target.git("init", "--quiet", "--template=")
    for key, value in TREE_SETTINGS:
        target.git("config", key, value)
    target.git("remote", "add", "origin", repository)
    info = tree / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "sparse-checkout").write_text("".join(f"{pattern}\n" for pattern in SPARSE), encoding="utf-8")
    (info / "exclude").write_text("__pycache__/\n", encoding="utf-8")
    target.git("fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", "origin", commit)
    target.git("checkout", "--quiet", "--detach", commit)
    if fault := checkout_fault(tree, commit):
        raise EngineError(f"the fresh checkout of {repository} is not whole: {fault}", "run the install again")
    write_checkout_stamp(tree, CheckoutStamp(repository, commit))


# Bytes as committed whatever the user's own git does to line ends; no housekeeping behind forge's back.
TREE_SETTINGS = (
    ("core.sparseCheckout", "true"),
    ("core.sparseCheckoutCone", "false"),
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("gc.auto", "0"),
)


def give_way(checkout: Path) -> Path | None:
    """Move what stands in the place: forge's own, unedited, to the bin; anything else aside, returned."""
    if not checkout.exists():
        return None
    if disposable(checkout):
        checkout.rename(tempfile.mkdtemp(prefix=f".{checkout.name}.old-", dir=checkout.parent))
        return None
    names = (checkout.with_name(f"{checkout.name}.kept-{number}") for number in range(1, 10_000))
    return checkout.rename(next(name for name in names if not name.exists()))


def disposable(checkout: Path) -> bool:
    """Whether nothing of a person's would be lost; files that are merely missing are no edits."""
    if read_checkout_stamp(checkout) is None:
        return False
    try:
        return all(edit.startswith((" D", "D ")) for edit in edits(Worktree(checkout)))
    except EngineError:
        return False


def sweep_leftovers(checkout: Path) -> None:
    """Remove what killed installs left beside the checkout."""
    for pattern in (f".{checkout.name}.new-*", f".{checkout.name}.old-*"):
        for leftover in checkout.parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
