"""The guest: started by accelerate in the engine's Python, it runs an unedited engine script under watch.

Environment: ``FORGE_GUEST_SCRIPT`` (``flux_train_network``, …),
``FORGE_GUEST_CHECKOUT`` (the engine's folder), ``FORGE_GUEST_EVENTS`` (the file
that events are appended to); if wanted ``FORGE_GUEST_SUPERVISOR`` (forge's pid:
the training ends when it does), ``FORGE_GUEST_START_STEP`` (optimizer steps of
earlier attempts) and ``FORGE_GUEST_TE_STOP_STEP`` (freeze the text encoder's
LoRA after that many steps, counted over all attempts). The arguments are the
engine's own. It imports nothing of forge, and computes nothing: with it and
without it, the engine writes the same weights to the bit.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any, NamedTuple

import lifeline
from mixin import Guest
from reporting import Events
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
    supervisor = os.environ.get("FORGE_GUEST_SUPERVISOR")
    lifeline.tie(int(supervisor) if supervisor else None)
    stop = StopFlag()
    stop.install() if first else restore_defaults()
    events = Events(os.environ["FORGE_GUEST_EVENTS"] if first else None)
    events.write("start", pid=os.getpid(), engine=os.environ["FORGE_GUEST_SCRIPT"])
    watch = Watch(events, stop, int(os.environ.get("FORGE_GUEST_START_STEP", "0")), freeze_step())
    sys.stdout.reconfigure(line_buffering=True)  # to a file it would keep the last 8 KiB from a killed run's log
    end, trace = attempt(watch)
    tail = trace.splitlines()[-TRACEBACK_TAIL_LINES:]
    events.write("end", outcome=end.outcome, message=end.message, step=watch.step, traceback_tail=tail)
    sys.stderr.write(trace)
    return end.exit_code


def attempt(watch: Watch) -> tuple[End, str]:
    """Train and say how it ended; the traceback is empty unless something broke."""
    try:
        return run(watch), ""
    except Stopped as request:
        watch.stop.at_once = False
        return End("stopped", str(request), 128 + request.signum), ""
    except BaseException as error:  # noqa: BLE001  # SystemExit too: the engine leaves by it in places
        watch.stop.at_once = False  # too late to be stopped
        return end_of(error), traceback.format_exc()


def run(watch: Watch) -> End:
    watch.enter("loading")
    script = engine_script()
    args = engine_arguments(script)
    trainer = guest_trainer(script, watch)
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


def guest_trainer(script: ModuleType, watch: Watch) -> Any:
    """Mix the guest into the trainer class that the script defines."""
    base = importlib.import_module("train_network").NetworkTrainer
    own = [each for each in vars(script).values() if is_trainer(each, base, script)]
    if len(own) != 1:
        raise TypeError(f"{script.__name__} defines {len(own)} trainer classes, one was expected")
    mixed = type(f"Guest{own[0].__name__}", (Guest, own[0]), {})
    trainer = mixed()
    trainer.watch, trainer.train_util = watch, importlib.import_module("library.train_util")
    return trainer


def is_trainer(candidate: object, base: type, script: ModuleType) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, base) and candidate.__module__ == script.__name__


def end_of(error: BaseException) -> End:
    """Name what broke; the types are compared by name, since torch may not have been imported yet."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Diverged):
        return End("diverged", message, EXIT_CODES["diverged"])
    if is_out_of_memory(error):
        return End("out-of-memory", message, EXIT_CODES["out-of-memory"])
    if isinstance(error, SystemExit):
        return End("failed", f"the engine left with exit code {error.code}")
    return End("failed", f"{type(error).__name__}: {message}")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in GPU_MEMORY_SIGNS + HOST_MEMORY_SIGNS)


def freeze_step() -> int | None:
    text = os.environ.get("FORGE_GUEST_TE_STOP_STEP")
    return int(text) if text else None


if __name__ == "__main__":
    sys.exit(main())
