"""The fault suite: every row by name, with the counts that were promised, or few enough for every change."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import fault_calls as calls
import fault_commit as commit
import fault_damage as damage
import fault_fuzz as fuzz
import fault_installs as installs
import fault_kills as kills
import fault_places as places
import fault_real as real
import fault_stops as stops
from fault_tally import Reference, Tally, reference_of
from fault_watching import PHASES
from fault_world import World

OFTEN = ("kills_a_phase", "stops_a_phase", "orphans", "install_kills", "mutations", "texts", "captions", "real_kills")
MANY_MOMENTS = 100
"""About as many as the longest row has."""


@dataclass(frozen=True)
class Counts:
    """How often each fault is tried; ``moments`` bounds the rows that otherwise try every system call there is."""

    kills_a_phase: int = 25
    stops_a_phase: int = 50
    """Of each signal."""
    orphans: int = 50
    moments: int | None = None
    starts: int = 20
    refused_within_s: float = stops.REFUSED_WITHIN_S
    installs: int = 10
    install_kills: int = 50
    mutations: int = 100
    mutations_resumed: int = 100
    texts: int = 10_000
    captions: int = 10_000
    yaml_s: float = 60
    clock_shifts: tuple[tuple[int, int], ...] = places.SHIFTS
    log_mb: int = 1024
    real_kills: int = 20

    def share(self, part: float) -> Counts:
        """A part of everything that is tried over and over, at least one of each."""
        often = (
            "kills_a_phase",
            "stops_a_phase",
            "orphans",
            "install_kills",
            "mutations",
            "texts",
            "captions",
            "real_kills",
        )
        fewer = {name: max(1, round(getattr(self, name) * part)) for name in often}
        return replace(self, **fewer, moments=max(2, round(MANY_MOMENTS * part)))


FULL = Counts()
QUICK = Counts(
    kills_a_phase=1,
    stops_a_phase=1,
    orphans=1,
    moments=1,
    starts=8,
    refused_within_s=15,  # a shared machine is no place to time 20 processes
    installs=3,
    install_kills=1,
    mutations=55,
    mutations_resumed=4,
    texts=300,
    yaml_s=3,
    clock_shifts=places.SHIFTS[:1],
    log_mb=24,
    real_kills=1,
)


class Suite:
    """The rows, each in a place of its own below one folder."""

    def __init__(self, folder: Path, counts: Counts, seed: int = 1) -> None:
        self.folder, self.counts, self.seed = folder, counts, seed
        self._world: World | None = None
        self._reference: Reference | None = None
        self._stopped: Path | None = None

    @property
    def world(self) -> World:
        self._world = self._world or World(self.folder / "world")
        return self._world

    @property
    def reference(self) -> Reference:
        self._reference = self._reference or reference_of(self.world)
        return self._reference

    @property
    def stopped(self) -> Path:
        self._stopped = self._stopped or damage.stopped_run(self.world)
        return self._stopped

    def place(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def kills(self, phase: str) -> Tally:
        return kills.kills_in(self.world, self.reference, phase, self.counts.kills_a_phase, seed=self.seed)

    def stops(self, phase: str) -> Tally:
        return stops.stops_in(self.world, self.reference, phase, self.counts.stops_a_phase)

    def saves(self, number: int) -> Tally:
        return calls.fail_each_save(self.world, self.reference, number, self.counts.moments)

    def records(self, number: int) -> Tally:
        return calls.fail_each_record(self.world, self.reference, number, self.counts.moments)

    def changed(self) -> Tally:
        return calls.kill_changed_resume(self.world, self.reference, self.stopped, self.counts.moments)

    def starts(self) -> Tally:
        return stops.starts_at_once(self.world, self.counts.starts, self.counts.refused_within_s)

    def installs(self) -> Tally:
        return installs.installs_at_once(installs.TinyWorld(self.place("installs")), self.counts.installs)

    def mutations(self) -> Tally:
        counts = self.counts
        again = {"resumed": counts.mutations_resumed, "seed": self.seed}
        return damage.mutations(
            self.world, self.reference, self.stopped, self.place("mutated"), counts.mutations, **again
        )

    def real_kills(self) -> Tally:
        return real.real_kills(real.RealWorld(self.folder / "real"), self.counts.real_kills, self.seed)

    def rows(self) -> dict[str, Callable[[], Tally]]:
        counts, seed = self.counts, self.seed
        by_phase: dict[str, Callable[[], Tally]] = {
            **{f"kill-{phase}": lambda phase=phase: self.kills(phase) for phase in PHASES},  # type: ignore[misc]
            **{f"stop-{phase}": lambda phase=phase: self.stops(phase) for phase in PHASES},  # type: ignore[misc]
        }
        return by_phase | {
            "orphans": lambda: kills.orphans(self.world, counts.orphans, seed),
            "commit-kill": lambda: commit.kill_each_call(self.place("calls")),
            "commit-kill-system": lambda: calls.kill_each_system_call(self.place("system"), counts.moments),
            "commit-enospc": lambda: commit.fail_each_call(self.place("full"), errno.ENOSPC),
            "commit-eio": lambda: commit.fail_each_call(self.place("broken"), errno.EIO),
            "save-enospc": lambda: self.saves(errno.ENOSPC),
            "save-eio": lambda: self.saves(errno.EIO),
            "record-enospc": lambda: self.records(errno.ENOSPC),
            "record-eio": lambda: self.records(errno.EIO),
            "changed-resume": self.changed,
            "starts": self.starts,
            "installs": self.installs,
            "install-kills": lambda: installs.kills_in_installs(self.place("half"), counts.install_kills, seed),
            "mutations": self.mutations,
            "clocks": lambda: places.clocks(self.world, self.reference, self.stopped, counts.clock_shifts),
            "read-only": lambda: places.read_only(self.world, self.reference, self.stopped),
            "odd-paths": lambda: places.odd_paths(World(self.folder / "odd")),
            "canaries": lambda: places.canaries(self.world),
            "fuzz-texts": lambda: fuzz.rendered_texts(self.place("texts"), counts.texts),
            "fuzz-captions": lambda: fuzz.staged_captions(self.place("captions"), counts.captions),
            "fuzz-yaml": lambda: fuzz.fuzz_yaml(self.place("yaml"), counts.yaml_s, seed),
            "alias-bomb": lambda: fuzz.alias_bomb(self.place("bomb")),
            "big-log": lambda: fuzz.big_log(self.world, counts.log_mb),
            "real-engine": self.real_kills,
        }
