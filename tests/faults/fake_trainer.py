"""A trainer without torch: real events, a real-looking log, real signals, and misfortune on cue.

    python fake_trainer.py [--launcher] [--steps N] [--step-s S] [--cue CUE] [--output FILE]

It uses the guest's own events, stop flag, lifeline and atomic save, so that what
is tested about them is true of the real one. ``--launcher`` puts a process in
between, as accelerate does: it waits and turns every failure into exit code 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "lora_forge" / "guest"))

import atomic_save
import lifeline
from reporting import Events
from stopping import StopFlag, Stopped

CUES = (
    "none",
    "crash",
    "gpu-oom",
    "host-oom",
    "kernel-kill",
    "no-data",
    "diverge",
    "hang",
    "deaf",
    "daemon",
    "fork",
    "flood",
    "silent-exit",
    "slow-load",
    "devour",
    "stray",
)
NAP = [sys.executable, "-c", "import time; time.sleep(300)"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--launcher", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--step-s", type=float, default=0.01)
    parser.add_argument("--cue", choices=CUES, default="none")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--descendants", type=Path, help="file that gets one pid a line")
    args = parser.parse_args()
    return launch() if args.launcher else Trainer(args).run()


def launch() -> int:
    command = [sys.executable, *(word for word in sys.argv if word != "--launcher")]
    code = subprocess.run(command, check=False).returncode
    if code:
        shown = "died with <Signals.SIGKILL: 9>." if code == -9 else f"returned non-zero exit status {code}."
        print(f"subprocess.CalledProcessError: Command '{command[1:3]}' {shown}", file=sys.stderr)
    return 1 if code else 0


class Trainer:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.stop = StopFlag(supervised="FORGE_GUEST_SUPERVISOR" in os.environ)
        self.step = 0
        supervisor = os.environ.get("FORGE_GUEST_SUPERVISOR")
        lifeline.tie(int(supervisor) if supervisor else None)
        if args.cue == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            self.stop.install()
        self.note_pid(os.getpid())
        if args.cue == "silent-exit":
            sys.exit(3)
        self.events = Events(os.environ["FORGE_GUEST_EVENTS"])
        self.events.write("start", pid=os.getpid(), engine="fake_trainer")

    def note_pid(self, pid: int) -> None:
        if self.args.descendants:
            with self.args.descendants.open("a") as file:
                file.write(f"{pid}\n")

    def run(self) -> int:
        try:
            outcome, message, code = self.train()
        except Stopped as request:
            outcome, message, code = "stopped", str(request), 128 + request.signum
        self.stop.at_once = False
        self.events.write("end", outcome=outcome, message=message, step=self.step, traceback_tail=[])
        return code

    def train(self) -> tuple[str, str, int]:
        cue = self.args.cue
        self.stop.at_once = True
        self.events.write("phase", phase="loading")
        if cue == "slow-load":
            time.sleep(300)
        if cue == "no-data":
            print("ERROR    No data found. Please verify arguments", file=sys.stderr)
            return "no-data", "the engine found no images to train on", 7
        counts = {"batches_per_epoch": 5, "epochs": 1, "max_train_steps": self.args.steps}
        bucket = {"width": 512, "height": 768, "images": 5, "batches": 5}
        self.events.write("counts", **counts, train_images=5, reg_images=0, buckets=[bucket])
        self.spawn(cue)
        self.stop.at_once = False
        self.events.write("phase", phase="training")
        while self.step < self.args.steps:
            self.step += 1
            end = self.one_step(cue)
            if end is not None:
                return end
        self.save()
        return "done", "", 0

    def spawn(self, cue: str) -> None:
        if cue == "fork":  # like a data-loader worker: same group
            self.note_pid(subprocess.Popen(NAP).pid)
        if cue == "stray":  # a child in a session of its own: the group does not hold it
            self.note_pid(subprocess.Popen(NAP, start_new_session=True).pid)
        if cue == "daemon":  # a grandchild that left the group and lost its parent
            code = f"from subprocess import *; print(Popen({NAP!r}, start_new_session=True, stdout=DEVNULL).pid)"
            found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
            self.note_pid(int(found.stdout))

    def one_step(self, cue: str) -> tuple[str, str, int] | None:
        time.sleep(self.args.step_s)
        bar = f"\rsteps:  50%|#####     | {self.step}/{self.args.steps} [00:01<00:01, 1.0it/s, avr_loss=0.4]"
        print(bar, end="", file=sys.stderr, flush=True)
        if cue == "flood":
            print("x" * 1023 + "\n", end="", flush=True)
        self.events.write(
            "step", step=self.step, total=self.args.steps, epoch=1, loss=0.5 / self.step, lr={"unet": 1e-4}
        )
        if self.step == 2 and cue in MISFORTUNES:
            return MISFORTUNES[cue](self)
        self.stop.check()
        return None

    def crash(self) -> tuple[str, str, int]:
        print("Traceback (most recent call last):\nRuntimeError: shape mismatch in block 3", file=sys.stderr)
        return "failed", "RuntimeError: shape mismatch in block 3", 1

    def gpu_oom(self) -> tuple[str, str, int]:
        message = "CUDA out of memory. Tried to allocate 2.00 GiB"
        print(f"torch.OutOfMemoryError: {message}", file=sys.stderr)
        return "out-of-memory", message, 5

    def devour(self) -> tuple[str, str, int]:
        eaten = [bytearray(b"x" * 2**20) for _ in range(1024)]
        raise AssertionError(f"{len(eaten)} MB were not too much")

    def host_oom(self) -> tuple[str, str, int]:
        return "out-of-memory", "DefaultCPUAllocator: can't allocate memory: 4096 bytes", 5

    def kernel_kill(self) -> tuple[str, str, int]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def diverge(self) -> tuple[str, str, int]:
        return "diverged", "the loss is nan at step 2", 6

    def hang(self) -> tuple[str, str, int]:
        while True:
            time.sleep(1)

    def save(self) -> None:
        if self.args.output is None:
            return

        def write(file: str, _dtype: object, _metadata: object) -> None:
            Path(file).write_bytes(b"a LoRA")

        atomic_save.atomic(
            write,
            before=lambda _file: self.events.write("phase", phase="saving"),
            after=lambda file: self.events.write(
                "saved", file=file, step=self.step, size_bytes=Path(file).stat().st_size
            ),
        )(str(self.args.output), None, None)


MISFORTUNES = {
    "crash": Trainer.crash,
    "gpu-oom": Trainer.gpu_oom,
    "host-oom": Trainer.host_oom,
    "kernel-kill": Trainer.kernel_kill,
    "devour": Trainer.devour,
    "diverge": Trainer.diverge,
    "hang": Trainer.hang,
    "deaf": Trainer.hang,
}

if __name__ == "__main__":
    sys.exit(main())
