"""The engine's part in the fault tests: reads a rendered train.toml, trains nothing, saves the real formats.

Started by ``fake_launcher.py``, which stands in for accelerate. All that
the guest does without torch is the guest's own code: events, stopping, lifeline,
the watch, the keeper, atomic saves, state folders; only the loop that drives them
is made up, in the engine's order. Its "weights" are a chain of digests over all
steps, so a run that was cut anywhere and went on exactly ends in the same bytes,
and one that was not does not.

Environment: ``FAKE_SHAPES`` (JSON: tensor name → shape), ``FAKE_LOAD_S``, ``FAKE_STEP_S``,
``FAKE_SAVE_S``, ``FAKE_SAMPLE_S``, ``FAKE_VALIDATE_S`` (how long each phase takes; the last two
exist only if they are said), ``FAKE_DAEMON`` (leave a child in a session of its own),
``FAKE_LOG_MB`` (print that much), ``FAKE_LEAVE_S`` (leave that slowly).
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import toml

sys.path.insert(0, str(Path(__file__).parents[2] / "lora_forge" / "guest"))
sys.path.insert(0, str(Path(__file__).parent))

import atomic_save
import fake_saving
import keeping
import lifeline
import rng_states
import state_dir
import watch
from place import Identity
from reporting import Events
from stopping import StopFlag, Stopped, restore_defaults
from train import end_of

GUEST = "--config_file"
EPOCH = 4
NAP = [sys.executable, "-c", "import time; time.sleep(120)"]


def no_torch() -> rng_states.RngStates:
    return rng_states.RngStates(random.Random(0).getstate(), ("MT19937", b"", 0, 0, 0.0), b"")


rng_states.snapshot = no_torch
watch.gpu_memory = dict


def main() -> int:
    return Engine(toml.load(sys.argv[sys.argv.index(GUEST) + 1])).run()


class FakeWatch(watch.Watch):
    """The guest's watch, told the learning rate that a real optimizer would have."""

    def _learning_rates(self) -> dict[str, float]:
        return {"unet": 1e-4 * 0.5 * (1 + math.cos(math.pi * self.step / self.total))}


class Engine:
    def __init__(self, options: dict[str, object]) -> None:
        self.options = options
        self.steps = int(str(options["max_train_steps"]))
        self.every = int(str(options["save_every_n_steps"]))
        self.output, self.name = Path(str(options["output_dir"])), str(options["output_name"])
        self.chain = hashlib.sha256(b"start").digest()
        self.recorder = SimpleNamespace(loss_list=[], loss_total=0.0)
        self.stop = StopFlag(supervised=True)
        lifeline.tie(int(os.environ["FORGE_GUEST_SUPERVISOR"]))
        self.stop.install()
        self.events = Events(os.environ["FORGE_GUEST_EVENTS"])
        self.events.write("start", pid=os.getpid(), engine="fake_engine")
        self.watch = FakeWatch(self.events, self.stop)
        self.keeper = keeping.Keeper(self.watch, Path(os.environ["FORGE_GUEST_STATES"]))
        self.keeper.accelerator = SimpleNamespace(step=0, save_state=self.save_state)

    def run(self) -> int:
        try:
            self.train()
            outcome, message, code = "done", "", 0
        except Stopped as request:
            outcome, message, code = "stopped", str(request), 128 + request.signum
        except Exception as problem:  # noqa: BLE001
            outcome, message, code = end_of(problem)
        self.stop.at_once = False
        self.events.write("end", outcome=outcome, message=message, step=self.watch.step, traceback_tail=[])
        if "FAKE_LEAVE_S" in os.environ:  # Python takes its handlers away as it leaves, and torch leaves slowly
            restore_defaults()
            nap("FAKE_LEAVE_S")
        return code

    def train(self) -> None:
        self.load_and_cache()
        try:
            while self.watch.step < self.steps:
                self.one_step()
        except Stopped:
            self.keeper.keep()
            raise
        self.save_lora(f"{self.name}.safetensors")

    def load_and_cache(self) -> None:
        self.watch.enter("loading")
        resumed = os.environ.get("FORGE_GUEST_RESUME")
        place = state_dir.read_state(Path(resumed))[0] if resumed else None
        self.leave_daemon()
        nap("FAKE_LOAD_S")
        self.watch.enter("caching")
        nap("FAKE_LOAD_S")
        if self.options.get("cache_latents_to_disk"):
            fake_saving.cache_latents(Path(str(self.options["dataset_config"])))
        self.watch.enter("loading")
        counts = {"batches_per_epoch": EPOCH, "epochs": -(-self.steps // EPOCH), "max_train_steps": self.steps}
        self.watch.total = self.steps
        self.events.write("counts", **counts, train_images=EPOCH, reg_images=0, buckets=[])
        self.keeper.identity = Identity(EPOCH, self.steps, 1, 1, int(str(self.options["seed"])))
        self.keeper.epoch_starts()
        if resumed and place is not None:
            self.chain = fake_saving.load_chain(Path(resumed))
            self.keeper.resumed(place)
            self.watch.step_taken(place.step)
            self.events.write("resumed", dir=Path(resumed).name, step=place.step)

    def one_step(self) -> None:
        """In the engine's order: sampling and saving come before the loss of the step is read."""
        self.watch.batch_starts()
        nap("FAKE_STEP_S")
        log_lines(self.steps)
        step = self.watch.step + 1
        self.chain = hashlib.sha256(self.chain + struct.pack("<q", step)).digest()
        self.watch.step_taken(step)
        due = step % self.every == 0
        if due:
            self.sample()
            self.save_lora(f"{self.name}-step{step:08d}.safetensors")
        loss = 0.5 / step + self.chain[0] / 2560
        self.watch.loss_read((step - 1) // EPOCH + 1, loss, boundary=True)
        self.keeper.note(self.recorder, (step - 1) // EPOCH, (step - 1) % EPOCH + 1)
        self.keeper.keep_if_due()
        self.watch.boundary_passed()
        if due and "FAKE_VALIDATE_S" in os.environ:
            self.watch.enter("validating")
            nap("FAKE_VALIDATE_S")

    def sample(self) -> None:
        """Cut short by a stop: this step's checkpoint still comes (``Guest.sample_images``)."""
        if "FAKE_SAMPLE_S" not in os.environ:
            return
        try:
            self.watch.enter("sampling")
            nap("FAKE_SAMPLE_S")
        except Stopped:
            self.stop.at_once = False
        finally:
            if self.watch.phase == "sampling":
                self.watch.enter("training")

    def save_lora(self, name: str) -> None:
        def write(file: str, _dtype: object, _metadata: object) -> None:
            rank = int(str(self.options["network_dim"]))
            fake_saving.save_lora(Path(file), self.tensors(), fake_saving.lora_metadata(self.watch.step, rank))

        def after(file: str) -> None:
            self.watch.saved(file)
            self.keeper.checkpoint_saved()

        save = atomic_save.atomic(write, before=lambda _file: self.watch.enter("saving"), after=after)
        save(str(self.output / name), None, None)

    def save_state(self, folder: str) -> None:
        fake_saving.save_state(Path(folder), self.tensors(), self.chain, self.watch.step)

    def tensors(self) -> fake_saving.Tensors:
        return fake_saving.lora_tensors(self.chain, float(str(self.options["network_alpha"])))

    def leave_daemon(self) -> None:
        """A process that left the group and lost its parent, as a careless library may leave one."""
        if os.environ.get("FAKE_DAEMON"):
            code = f"from subprocess import *; Popen({NAP!r}, start_new_session=True, stdin=DEVNULL)"
            subprocess.run([sys.executable, "-c", code], check=True)


def nap(variable: str) -> None:
    time.sleep(float(os.environ.get(variable, "0")))


def log_lines(steps: int) -> None:
    """This step's share of ``FAKE_LOG_MB``, as lines of a kilobyte."""
    for _ in range(-(-int(os.environ.get("FAKE_LOG_MB", "0")) // steps)):
        sys.stdout.write(("x" * 1023 + "\n") * 1024)


if __name__ == "__main__":
    sys.exit(main())
