"""The engine's part in the fault tests: reads a rendered train.toml, trains nothing, saves the real formats.

Started as forge starts accelerate, by a stand-in for the engine's Python. Its
"weights" are a chain of digests over all steps, so a run that was cut anywhere and
went on exactly ends in the same bytes, and one that was not does not. Environment:
``FAKE_SHAPES`` (JSON: tensor name → shape), ``FAKE_STEP_S``, ``FAKE_LOAD_S``, and the
guest's own contract: ``FORGE_GUEST_EVENTS``, ``FORGE_GUEST_STATES``, ``FORGE_GUEST_RESUME``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import toml

sys.path.insert(0, str(Path(__file__).parents[2] / "lora_forge" / "guest"))

import atomic_save
import lifeline
from reporting import Events
from stopping import StopFlag, Stopped

GUEST = "--config_file"
MODEL_SHA256 = "ab" * 32


def main() -> int:
    if os.environ.get("FAKE_LAUNCHED") != "1":
        return launch()
    return Engine(toml.load(sys.argv[sys.argv.index(GUEST) + 1])).run()


def launch() -> int:
    """Wait like accelerate, and turn every failure into 1."""
    env = {**os.environ, "FAKE_LAUNCHED": "1"}
    return 1 if subprocess.run([sys.executable, *sys.argv], env=env, check=False).returncode else 0


class Engine:
    def __init__(self, options: dict[str, object]) -> None:
        self.steps = int(str(options["max_train_steps"]))
        self.every = int(str(options["save_every_n_steps"]))
        self.output, self.name = Path(str(options["output_dir"])), str(options["output_name"])
        self.alpha = float(str(options["network_alpha"]))
        self.states = Path(os.environ["FORGE_GUEST_STATES"])
        self.step_s, self.load_s = (float(os.environ.get(key, "0")) for key in ("FAKE_STEP_S", "FAKE_LOAD_S"))
        self.step, self.chain = 0, hashlib.sha256(b"start").digest()
        self.stop = StopFlag()
        lifeline.tie(int(os.environ["FORGE_GUEST_SUPERVISOR"]))
        self.stop.install()
        self.events = Events(os.environ["FORGE_GUEST_EVENTS"])
        self.events.write("start", pid=os.getpid(), engine="fake_engine")

    def run(self) -> int:
        try:
            self.train()
            outcome, message, code = "done", "", 0
        except Stopped as request:
            outcome, message, code = "stopped", str(request), 128 + request.signum
        except OSError as problem:
            outcome, message, code = "failed", f"OSError: {problem}", 1
        self.stop.at_once = False
        self.events.write("end", outcome=outcome, message=message, step=self.step, traceback_tail=[])
        return code

    def train(self) -> None:
        self.stop.at_once = True
        for phase in ("loading", "caching"):
            self.events.write("phase", phase=phase)
            time.sleep(self.load_s)
        if resumed := os.environ.get("FORGE_GUEST_RESUME"):
            self.load(Path(resumed))
        counts = {"batches_per_epoch": 4, "epochs": -(-self.steps // 4), "max_train_steps": self.steps}
        self.events.write("counts", **counts, train_images=4, reg_images=0, buckets=[])
        self.stop.at_once = False
        self.events.write("phase", phase="training")
        while self.step < self.steps:
            self.one_step()
        self.save(f"{self.name}.safetensors")

    def one_step(self) -> None:
        time.sleep(self.step_s)
        self.step += 1
        self.chain = hashlib.sha256(self.chain + struct.pack("<q", self.step)).digest()
        rate = 1e-4 * 0.5 * (1 + math.cos(math.pi * (self.step - 1) / self.steps))
        loss = 0.5 / self.step + self.chain[0] / 2560
        self.events.write("step", step=self.step, total=self.steps, epoch=1, loss=loss, lr={"unet": rate})
        if self.step % self.every == 0:
            self.save(f"{self.name}-step{self.step:08d}.safetensors")
            self.save_state()
        if self.stop.signum is not None:
            self.save_state()
        self.stop.check()

    def save(self, name: str) -> None:
        def write(file: str, _dtype: object, _metadata: object) -> None:
            Path(file).write_bytes(self.lora())

        def after(file: str) -> None:
            self.events.write("saved", file=file, step=self.step, size_bytes=Path(file).stat().st_size)

        self.events.write("phase", phase="saving")
        atomic_save.atomic(write, before=lambda _file: None, after=after)(str(self.output / name), None, None)
        self.events.write("phase", phase="training")

    def save_state(self) -> None:
        final = self.states / f"step{self.step:08d}"
        if final.exists():
            return
        partial = self.states / f".{final.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        files = {
            "model.safetensors": self.lora(),
            "optimizer.bin": self.chain * 64,
            "random_states_0.pkl": os.urandom(64),
            "train_state.json": json.dumps({"step": self.step}).encode(),
        }
        for name, content in files.items():
            (partial / name).write_bytes(content)
            atomic_save.sync(str(partial / name))
        atomic_save.sync(str(partial))
        partial.rename(final)
        atomic_save.sync(str(self.states))
        told = [
            {"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]
        self.events.write("state", dir=final.name, step=self.step, files=told)

    def load(self, state: Path) -> None:
        self.step = json.loads((state / "train_state.json").read_text())["step"]
        self.chain = (state / "optimizer.bin").read_bytes()[:32]

    def lora(self) -> bytes:
        """A safetensors file as the engine's saver writes it, its numbers drawn from the chain."""
        shapes = json.loads(Path(os.environ["FAKE_SHAPES"]).read_text())
        header: dict[str, object] = {
            "__metadata__": {"ss_steps": str(self.step), "ss_new_sd_model_hash": MODEL_SHA256, "ss_network_dim": "4"}
        }
        data = b""
        for name, shape in shapes.items():
            bits = bfloat16(self.alpha) if name.endswith(".alpha") else 0x3C00 + self.chain[len(data) % 32]
            tensor = struct.pack("<H", bits) * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(tensor)]}
            data += tensor
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data


def bfloat16(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0] >> 16)


if __name__ == "__main__":
    sys.exit(main())
