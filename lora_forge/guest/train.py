"""The guest: started by accelerate in the engine's Python, it runs an unedited engine script under watch.

It imports nothing of forge, and computes nothing: with it and without it, the
engine writes the same weights to the bit. The arguments are the engine's own.

Environment
    ``FORGE_GUEST_SCRIPT``          ``flux_train_network``, …
    ``FORGE_GUEST_CHECKOUT``        the engine's folder
    ``FORGE_GUEST_EVENTS``          the file that events are appended to
    and, each if wanted:
    ``FORGE_GUEST_SUPERVISOR``      forge's pid: the training ends when it does
    ``FORGE_GUEST_TE_STOP_STEP``    freeze the text encoder's LoRA after that many steps
    ``FORGE_GUEST_STATES``          the folder for state directories
    ``FORGE_GUEST_STATE_EVERY``     save one every so many steps, beside those below
    ``FORGE_GUEST_RESUME``          the state directory to continue from

Saving. A state is saved right after each checkpoint, and at a stop (SIGINT or
SIGTERM to the pid of the ``start`` event): the guest ends the step, or, between
the micro-batches of one, goes back to the last boundary; saves; and ends with
the outcome ``stopped``. A stop while the engine loads or caches has nothing to
save; while it samples, sampling is cut short and made up for by the
continuation; while it saves, the save is finished. Nothing is saved at the last
step: a stop lets the training end there. ``FOLDER/step00000500/`` is written
under another name, brought to disk whole, renamed, the folder brought to disk;
only then comes ``{"event": "state", "dir", "step", "files": [{"name",
"size_bytes", "sha256"}, …]}``. Older states are left alone.

Continuing. Steps, epochs, learning rates, names, samples and metadata stay
absolute, and the weights come out as those of one uninterrupted training, to the
bit; ``resuming.py`` says how, and where not. The command and its files must be
those of the first attempt, ``output_dir`` apart. ``{"event": "resumed", "dir",
"step"}`` follows ``counts``. A state that is damaged, or was saved by a training
with other numbers, ends it before the first step with the outcome ``bad-state``.

No checkpoint, state or sample is made of a loss or a weight that is not finite.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import lifeline
import state_dir
from keeping import Keeper
from mixin import Guest
from place import BadState
from reporting import Events
from resuming import Resume
from stopping import StopFlag, Stopped, restore_defaults
from watch import Diverged, Watch

TRACEBACK_TAIL_LINES = 12

# accelerate reports every one of them as 1, so the outcome is told as an event too.
EXIT_CODES = {"done": 0, "failed": 1, "out-of-memory": 5, "diverged": 6, "no-data": 7}

GPU_MEMORY_SIGNS = (
    "cuda out of memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "hip out of memory",
)
HOST_MEMORY_SIGNS = ("can't allocate memory", "cannot allocate memory", "not enough memory")


class End(NamedTuple):
    """How it ended: ``outcome`` is one word of the event's vocabulary."""

    outcome: str
    message: str = ""
    exit_code: int = 1


def main() -> int:
    first = int(os.environ.get("RANK", "0")) == 0  # one process speaks for all of a multi-GPU run
    supervisor = wanted_number("FORGE_GUEST_SUPERVISOR")
    lifeline.tie(supervisor)
    stop = StopFlag(supervised=supervisor is not None)
    stop.install() if first else restore_defaults()
    events = Events(os.environ["FORGE_GUEST_EVENTS"] if first else None)
    events.write("start", pid=os.getpid(), engine=os.environ["FORGE_GUEST_SCRIPT"])
    watch = Watch(events, stop, wanted_number("FORGE_GUEST_TE_STOP_STEP"))
    states = wanted_folder("FORGE_GUEST_STATES") if first else None
    keeper = Keeper(watch, states, wanted_number("FORGE_GUEST_STATE_EVERY"))
    sys.stdout.reconfigure(line_buffering=True)  # to a file it would keep the last 8 KiB from a killed run's log
    end, trace = attempt(keeper)
    tail = trace.splitlines()[-TRACEBACK_TAIL_LINES:]
    events.write("end", outcome=end.outcome, message=end.message, step=watch.step, traceback_tail=tail)
    sys.stderr.write(trace)
    return end.exit_code


def attempt(keeper: Keeper) -> tuple[End, str]:
    """Train and say how it ended; the traceback is empty unless something broke."""
    stop = keeper.watch.stop
    try:
        return run(keeper), ""
    except Stopped as request:
        stop.at_once = False
        return End("stopped", str(request), 128 + request.signum), ""
    except BaseException as error:  # noqa: BLE001  # SystemExit too: the engine leaves by it in places
        stop.at_once = False  # too late to be stopped
        return end_of(error), traceback.format_exc()


def run(keeper: Keeper) -> End:
    watch = keeper.watch
    watch.enter("loading")
    resume = wanted_resume()  # a bad state is told at once, not after minutes of loading
    script = engine_script()
    args = engine_arguments(script)
    if resume is not None:
        resume.apply_to(args)
    trainer = guest_trainer(script, keeper, resume)
    trainer.train(args)
    watch.stop.at_once = False
    if watch.network is not None:
        return End("done", exit_code=0)
    if watch.data_found:
        return End("failed", f"the network module {args.network_module} made no network")
    return End("no-data", "the engine found no images to train on", EXIT_CODES["no-data"])


def engine_script() -> ModuleType:
    """Import the script as a module, from the checkout and nowhere else."""
    checkout = os.environ["FORGE_GUEST_CHECKOUT"]
    os.chdir(checkout)
    sys.path[0] = checkout  # was the guest's own folder, which the engine has no business in
    return importlib.import_module(os.environ["FORGE_GUEST_SCRIPT"])


def engine_arguments(script: ModuleType) -> Any:
    """Read the arguments as the script's own ``__main__`` does."""
    train_util = importlib.import_module("library.train_util")
    parser = script.setup_parser()
    args = parser.parse_args()
    train_util.verify_command_line_training_args(args)
    args = train_util.read_config_from_file(args, parser)
    if getattr(args, "attn_mode", None) == "sdpa":
        args.attn_mode = "torch"  # anima's and hunyuan's scripts do it after parsing
    return args


def guest_trainer(script: ModuleType, keeper: Keeper, resume: Resume | None) -> Any:
    """Mix the guest into the trainer class that the script defines."""
    base = importlib.import_module("train_network").NetworkTrainer
    own = [each for each in vars(script).values() if is_trainer(each, base, script)]
    if len(own) != 1:
        raise TypeError(f"{script.__name__} defines {len(own)} trainer classes, one was expected")
    mixed = type(f"Guest{own[0].__name__}", (Guest, own[0]), {})
    trainer = mixed()
    trainer.watch, trainer.keeper, trainer.resume = keeper.watch, keeper, resume
    trainer.train_util = importlib.import_module("library.train_util")
    return trainer


def is_trainer(candidate: object, base: type, script: ModuleType) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, base) and candidate.__module__ == script.__name__


def end_of(error: BaseException) -> End:
    """Name what broke; the types are compared by name, since torch may not have been imported yet."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Diverged):
        return End("diverged", message, EXIT_CODES["diverged"])
    if is_out_of_memory(error) or is_out_of_memory(error.__cause__):
        return End("out-of-memory", message, EXIT_CODES["out-of-memory"])
    if isinstance(error, BadState):
        return End("bad-state", message)
    if isinstance(error, SystemExit):
        return End("failed", f"the engine left with exit code {error.code}")
    return End("failed", f"{type(error).__name__}: {message}")


def is_out_of_memory(error: BaseException | None) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in GPU_MEMORY_SIGNS + HOST_MEMORY_SIGNS)


def wanted_number(variable: str) -> int | None:
    text = os.environ.get(variable)
    return int(text) if text else None


def wanted_folder(variable: str) -> Path | None:
    """Read a folder's path; the guest changes its working directory later on."""
    text = os.environ.get(variable)
    return Path(text).absolute() if text else None


def wanted_resume() -> Resume | None:
    folder = wanted_folder("FORGE_GUEST_RESUME")
    return Resume(folder, *state_dir.read_state(folder)) if folder else None


if __name__ == "__main__":
    sys.exit(main())
