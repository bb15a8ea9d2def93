"""The faults, one module a kind; here is what most tests use of them.

``fault_world`` is what they happen to, ``fault_watching`` sees it, ``fault_tally`` says what an undisturbed
run is. Each of the others breaks a real run in its own way and says whether everything promised still held.
"""

from fault_commit import calls_counted
from fault_damage import mutate
from fault_tally import Reference, Tally, as_reference, reference_of, resume, resumes_to, still_there, trace
from fault_watching import engine_pids, events_of, kill_hard, no_descendant, steps_taken, wait_until

__all__ = [
    "Reference",
    "Tally",
    "as_reference",
    "calls_counted",
    "engine_pids",
    "events_of",
    "kill_hard",
    "mutate",
    "no_descendant",
    "reference_of",
    "resume",
    "resumes_to",
    "steps_taken",
    "still_there",
    "trace",
    "wait_until",
]
