"""What the guest knows of a training while it runs, told as events."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import text_encoder

if TYPE_CHECKING:
    import torch
    from reporting import Events
    from stopping import StopFlag

# Phases that a stop request ends at once: no optimizer step would be lost in them.
INTERRUPTIBLE = ("loading", "caching", "sampling", "validating")


class Diverged(Exception):
    """The loss, or a weight, is NaN or infinite."""


class Watch:
    """Follows one training: phase, optimizer step, loss, learning rates.

    ``step`` counts optimizer steps over all attempts, as the engine does where it resumes.
    """

    def __init__(self, events: Events, stop: StopFlag, freeze_at: int | None = None) -> None:
        self.events, self.stop = events, stop
        self.freeze_at = freeze_at
        self.phase = ""
        self.step = self.total = 0
        self.network: torch.nn.Module | None = None
        self.data_found = False
        self.samples_due = False  # this step's sampling was cut short by a stop
        self.frozen = False
        self._optimizer: torch.optim.Optimizer | None = None
        self._groups: list[str] = []
        self._rates: dict[str, float] = {}
        self.validation_losses: list[float] = []  # of the validation now under way
        self._losses: list[float] = []
        self._unread: torch.Tensor | None = None
        self._text: list[torch.nn.Parameter] = []

    @property
    def finished(self) -> bool:
        """Whether every step is done: a stop would then only cost the result."""
        return 0 < self.total <= self.step

    def enter(self, phase: str) -> None:
        if phase == self.phase:
            return
        if self.phase == "validating":
            self._report_validation()
        self.phase = phase
        self.stop.at_once = phase in INTERRUPTIBLE and not (phase == "validating" and self.finished)
        if self.stop.at_once:
            self.stop.check()  # asked for before this phase began
        self.events.write("phase", phase=phase, step=self.step)

    def _report_validation(self) -> None:
        """Tell the mean over every held-out picture and timestep; one that was cut short says nothing."""
        losses, self.validation_losses = self.validation_losses, []
        if losses:
            self.events.write("validation", step=self.step, loss=sum(losses) / len(losses), losses=len(losses))

    def optimizer_made(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def batch_starts(self) -> None:
        """Note the rates before the step: afterwards the schedule has already moved on.

        A stop is obeyed here too: a step of many micro-batches may take minutes, and
        the last boundary is whole.
        """
        self.enter("training")
        self.stop.check()
        if self.freeze_at is not None and not self.frozen:
            self._freeze_text_encoder(self.freeze_at)
        self._rates = self._learning_rates()

    def step_taken(self, global_step: int) -> None:
        self.step = int(global_step)

    def loss_computed(self, loss: torch.Tensor) -> None:
        """Hold the loss as it is: reading it here would make the GPU wait."""
        self._unread = loss.detach()

    def require_finite(self) -> None:
        """Look at loss and weights before something is made of them: the engine reads the loss after it saved.

        A finite loss says nothing of the step that it led to.

        Raises:
            Diverged: a loss or a weight of this step is not finite.
        """
        if self._unread is not None:
            self._require_finite_loss(float(self._unread))
        if self.network is not None and not all_finite(self.network):
            raise Diverged(f"the weights are not finite after step {self.step}")

    def loss_read(self, epoch: int, loss: float, *, boundary: bool) -> None:
        """Take the float that the engine itself reads; at a step's end report."""
        self._unread = None
        self._require_finite_loss(loss)
        self._losses.append(loss)
        if boundary:
            self._report_step(epoch)

    def boundary_passed(self) -> None:
        """Stop here if asked: all of this step is done, nothing of the next has begun."""
        self.samples_due = False
        if not self.finished:
            self.stop.check()

    def _require_finite_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {self.step}")

    def saved(self, file: str) -> None:
        self.events.write("saved", file=file, step=self.step, size_bytes=Path(file).stat().st_size)

    def _report_step(self, epoch: int) -> None:
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        fields = {"step": self.step, "total": self.total, "epoch": epoch, "loss": mean, "lr": self._rates}
        self.events.write("step", **fields, **gpu_memory())

    def _freeze_text_encoder(self, due: int) -> None:
        """Freeze when due; a network without a text encoder is told at the first step, not hours later."""
        self._text = self._text or text_encoder.text_encoder_parameters(self.network)
        if not self._text:
            raise ValueError("a text-encoder freeze was asked for, but the network trains no text encoder")
        if self.step < due:
            return
        text_encoder.freeze(self._text)
        self.frozen = True
        self.events.write("text-encoder-frozen", step=due, tensors=len(self._text))

    def _learning_rates(self) -> dict[str, float]:
        """Read each parameter group's rate; D-Adaptation and Prodigy scale it by ``d``."""
        if self._optimizer is None or self.network is None:
            return {}
        groups = self._optimizer.param_groups
        if not self._groups:
            self._groups = group_names(groups, text_encoder.text_encoder_parameters(self.network))
        rates = zip(self._groups, groups, strict=True)
        return {name: float(each["lr"]) * float(each.get("d", 1.0)) for name, each in rates if each["lr"] is not None}


def all_finite(network: torch.nn.Module) -> bool:
    """Look at every weight, and wait for the GPU once, not once a tensor."""
    import torch

    found = [torch.isfinite(weight).all() for weight in network.parameters()]
    return not found or bool(torch.stack(found).all())


def group_names(groups: list[dict[str, Any]], text_parameters: list[torch.nn.Parameter]) -> list[str]:
    """Name each parameter group by what it trains: unet, text_encoder, text_encoder2, …

    Not as the engine's own log does: there group 0 is "textencoder" even where it is the UNet.
    """
    text = {id(parameter) for parameter in text_parameters}
    names: list[str] = []
    for group in groups:
        name = "text_encoder" if any(id(parameter) in text for parameter in group["params"]) else "unet"
        taken = sum(known.rstrip("0123456789") == name for known in names)
        names.append(f"{name}{taken + 1}" if taken else name)
    return names


def gpu_memory() -> dict[str, float]:
    """Read the peak so far in GiB; the counters cost nothing and wait for nothing."""
    import torch

    if not torch.cuda.is_available():
        return {}
    peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return {"peak_gib": round(peak / 2**30, 3), "reserved_gib": round(reserved / 2**30, 3)}
