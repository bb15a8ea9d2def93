"""Progress: what a person sees of a running training, folded from its events. Pure; the face draws it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lora_forge.runs.events import Counted, Ended, Event, PhaseEntered, StepTaken, Validated

# Weight of a new loss: single losses on flow matching scatter by half their value (the timestep is drawn
# at random), so about the last 50 steps speak. Up to there it is the plain mean.
LOSS_WEIGHT = 0.02
# Steps that the speed is taken over: long enough to even out buckets, short enough to follow a change.
SPEED_WINDOW_STEPS = 20


@dataclass(frozen=True)
class Progress:
    """Where the training stands.

    ``durations`` are the last steps' seconds; ``since`` is when the step now
    running began, by the guest's clock. A step in which something was saved or sampled is not
    counted: it says nothing of the speed of training.
    """

    phase: str = "starting"
    step: int = 0
    total: int = 0
    epoch: int = 0
    losses: int = 0
    smoothed_loss: float | None = None
    validation_loss: float | None = None
    peak_gib: float | None = None
    durations: tuple[float, ...] = ()
    since: float | None = None

    @property
    def steps_per_s(self) -> float | None:
        spent = sum(self.durations)
        return len(self.durations) / spent if spent > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time for the steps to come at the present speed; saving and sampling come on top."""
        speed = self.steps_per_s
        return None if speed is None else max(0, self.total - self.step) / speed


def advance(progress: Progress, event: Event) -> Progress:
    """Fold one event in."""
    if isinstance(event, PhaseEntered):
        return replace(progress, phase=event.phase, since=event.mono if event.phase == "training" else None)
    if isinstance(event, Counted):
        return replace(progress, total=event.max_train_steps)
    if isinstance(event, StepTaken):
        return _after_step(progress, event)
    if isinstance(event, Validated):
        return replace(progress, validation_loss=event.loss)
    if isinstance(event, Ended):
        return replace(progress, phase=event.outcome)
    return progress


def _after_step(progress: Progress, event: StepTaken) -> Progress:
    losses = progress.losses + 1
    took = () if progress.since is None else (event.mono - progress.since,)
    return replace(
        progress,
        step=event.step,
        total=event.total,
        epoch=event.epoch,
        losses=losses,
        smoothed_loss=smooth(progress.smoothed_loss, event.loss, losses),
        peak_gib=event.peak_gib if event.peak_gib is not None else progress.peak_gib,
        durations=(*progress.durations, *took)[-SPEED_WINDOW_STEPS:],
        since=event.mono,
    )


def smooth(before: float | None, loss: float, losses: int) -> float:
    """Average: the plain mean while there are few losses, an exponential one later.

    >>> smooth(0.5, 0.3, losses=2)
    0.4
    """
    return loss if before is None else before + max(1 / losses, LOSS_WEIGHT) * (loss - before)


def plain_line(progress: Progress) -> str:
    """Say it in one line, for a log or a pipe.

    >>> plain_line(Progress(phase="training", step=30, total=2000, smoothed_loss=0.41, durations=(2.0,)))
    'training 30/2000 (1 %), loss 0.410, 2.0 s/step, 1 h 05 min left'
    """
    parts = [progress.phase]
    if progress.total:
        parts[0] += f" {progress.step}/{progress.total} ({100 * progress.step // progress.total} %)"
    if progress.smoothed_loss is not None:
        parts.append(f"loss {progress.smoothed_loss:.3f}")
    if progress.validation_loss is not None:
        parts.append(f"validation loss {progress.validation_loss:.3f}")
    if (speed := progress.steps_per_s) is not None:
        parts.append(f"{speed:.1f} steps/s" if speed > 1 else f"{1 / speed:.1f} s/step")
    if (left := progress.seconds_left) is not None:
        parts.append(f"{duration(left)} left")
    if progress.peak_gib is not None:
        parts.append(f"GPU {progress.peak_gib:.1f} GiB")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Say a span the way people do.

    >>> [duration(s) for s in (8.4, 75, 3960)]
    ['8 s', '1 min 15 s', '1 h 06 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
