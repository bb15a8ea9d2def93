"""git, run through GitPython with nothing of the surroundings leaking in.

GitPython is imported inside the functions: it costs more than the whole of
``forge --help``. The user's own git configuration (proxies, credentials, URL
rewrites) applies; hooks, prompts, submodules and other transports do not.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lora_forge.engine.children import masked
from lora_forge.errors import EngineError

# Partial fetches into a fresh repository and non-cone sparse patterns are sound from here on.
OLDEST_GIT = (2, 25)

# What a rewritten URL may use; `ext::` and other helpers would run commands.
REWRITE_PROTOCOLS = frozenset({"https", "http", "ssh", "git", "file"})

ALWAYS = (
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "submodule.recurse=false",
    "-c", "fetch.recurseSubmodules=false",
    "-c", "gc.auto=0",
    "-c", "maintenance.auto=false",
)  # fmt: skip


@dataclass(frozen=True)
class Worktree:
    """One checkout, and the only transports that git may use for it.

    ``GIT_DIR`` is always named: a broken checkout must not fall through to the
    repository that surrounds it.
    """

    tree: Path
    protocols: frozenset[str] = frozenset()

    def git(self, *arguments: str) -> str:
        """Run git here and return what it printed; a failure is an ``EngineError``."""
        return run_git(self.tree, arguments, self.environment())

    def environment(self) -> dict[str, str]:
        folder = self.tree / ".git"
        return {
            "GIT_DIR": str(folder),
            "GIT_WORK_TREE": str(self.tree),
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_ALLOW_PROTOCOL": ":".join(sorted(self.protocols)),
        }


def run_git(cwd: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> str:
    from git import Git, GitCommandError

    quiet = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_DEFAULT_HASH": "sha1",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    try:
        return str(Git(str(cwd)).execute(["git", *ALWAYS, *arguments], env=quiet | environment))
    except GitCommandError as problem:
        raise explained(arguments, str(problem.stderr)) from problem


def require_git() -> None:
    """Stop with one clear sentence where git is absent or too old."""
    if shutil.which("git") is None:
        raise EngineError("git is not installed", "install git (for example: apt install git)")
    version = git_version()
    if version < OLDEST_GIT:
        found, needed = ".".join(map(str, version)), ".".join(map(str, OLDEST_GIT))
        raise EngineError(f"git {found} cannot make a partial, sparse checkout", f"install git {needed} or newer")


def git_version() -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", run_git(Path.cwd(), ("version",), {}))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def allowed_protocols(repository: str) -> frozenset[str]:
    """https, and the one transport to which the user's git configuration rewrites ``repository``."""
    rewritten = run_git(Path.cwd(), ("ls-remote", "--get-url", repository), {}).strip()
    protocol = protocol_of(rewritten)
    if protocol not in REWRITE_PROTOCOLS:
        raise EngineError(
            f"your git configuration rewrites {repository} to {masked(rewritten)}: not an allowed transport",
            "git config --get-regexp 'url\\..*\\.insteadof'",
        )
    return frozenset({"https", protocol})


def refuse_unsafe_url(repository: str) -> None:
    if not re.fullmatch(r"https://[^\s/@]+/\S+", repository):
        raise EngineError(
            f"the engine's repository must be an https:// URL without a password, not {masked(repository)!r}",
            "for a mirror: git config --global url.<mirror>.insteadOf https://…",
        )


def protocol_of(url: str) -> str:
    """The transport git would use.

    >>> [protocol_of(u) for u in ("https://h/x", "git@h:x.git", "/srv/x.git", "ext::sh -c x")]
    ['https', 'ssh', 'file', 'ext']
    """
    if helper := re.match(r"([A-Za-z0-9]+)::", url):
        return helper[1]
    if scheme := re.match(r"([A-Za-z0-9+.-]+)://", url):
        return scheme[1].lower()
    return "ssh" if re.match(r"[^/]+:", url) else "file"


def explained(arguments: tuple[str, ...], stderr: str) -> EngineError:
    """Turn git's complaint into an error: one sentence, and the likely way out."""
    said = masked(" ".join(stderr.replace("stderr:", "").strip().strip("'").split()))
    hint = next((hint for sign, hint in HINTS.items() if sign in said), "run it again")
    return EngineError(f"git {arguments[0]} failed: {said or 'it said nothing'}", hint)


HINTS = {
    "No space left": "free some disk space, or set FORGE_HOME to a larger disk",
    "Permission denied": "check the folder's owner, or set FORGE_HOME",
    "not our ref": "check --commit: the repository has no such commit",
    "unadvertised object": "check --commit: the repository has no such commit",
    "Could not resolve host": "check the network, or git config --global http.proxy",
    "unable to access": "check the network, or git config --global http.proxy",
    "terminal prompts disabled": "check --repository: absent, or it needs a git credential helper",
}
