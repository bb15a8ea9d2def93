"""What ``engine.options`` must not say: conflicts, other tools' modes, and ways round the plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lora_forge.findings import Severity
from lora_forge.plan.model import ArgValue, Plan
from lora_forge.plan.rule import Context, Rule


class Wants(NamedTuple):
    """An option that makes the engine import a package that its lock does not hold."""

    option: str
    values: tuple[ArgValue, ...]
    package: str
    instead: str


WANTS = (
    Wants("xformers", (True,), "xformers", "torch's own attention (sdpa) is sent anyway"),
    Wants("deepspeed", (True,), "deepspeed", "fp8 and block swap save memory without it"),
    Wants("log_with", ("wandb", "all"), "wandb", "tensorboard is there, and needs a logging_dir"),
)


def _option(plan: Plan, name: str) -> ArgValue | None:
    return plan.engine_options.value.get(name)


def _reads(context: Context, name: str) -> bool:
    return name not in context.family.inert_options


def huber_snr(plan: Plan, context: Context) -> str | None:
    loss = plan.loss
    if "min_snr_gamma" not in context.family.inert_options:
        return None
    if loss.kind.value == "l2" or loss.huber_schedule.value in ("constant", "exponential"):
        return None
    return f"{loss.kind.value} loss with the engine's default schedule snr crashes on {context.family.title}"


def shift_elsewhere(plan: Plan, context: Context) -> str | None:
    """A shift of one's own was worked out by somebody; the native one is right for the native size alone."""
    side, native, fixed = plan.data.resolution.value, context.family.native_resolution, context.family.fixed_shift
    shift = plan.loss.discrete_flow_shift.value
    if plan.loss.timestep_sampling.value != "shift" or fixed is None or shift != fixed or side == native:
        return None
    return f"timesteps shifted by {shift:g} suit {native}² alone, and this trains at {side}²"


def weighted_captions(plan: Plan, context: Context) -> str | None:
    if not _option(plan, "weighted_captions") or context.family.weighs_captions:
        return None
    return f"the engine has no weighted captions for {context.family.title}"


def adaptive_noise(plan: Plan, context: Context) -> str | None:
    if not _option(plan, "adaptive_noise_scale") or not _reads(context, "adaptive_noise_scale"):
        return None
    return None if plan.loss.noise_offset.value else "adaptive_noise_scale needs a noise offset, and there is none"


def scale_v_pred(plan: Plan, context: Context) -> str | None:
    name = "scale_v_pred_loss_like_noise_pred"
    if not _option(plan, name) or not _reads(context, name) or _option(plan, "v_parameterization"):
        return None
    return f"{name} needs v_parameterization"


def v_pred_like(plan: Plan, context: Context) -> str | None:
    both = _option(plan, "v_pred_like_loss") and _option(plan, "v_parameterization")
    if not both or not _reads(context, "v_pred_like_loss"):
        return None
    return "v_pred_like_loss does not go with v_parameterization"


def zero_snr(plan: Plan, context: Context) -> str | None:
    if not _option(plan, "zero_terminal_snr") or not _reads(context, "zero_terminal_snr"):
        return None
    return (
        None if _option(plan, "v_parameterization") else "zero_terminal_snr without v_parameterization trains on noise"
    )


def chroma_mask(plan: Plan, context: Context) -> str | None:
    options = {**context.family.always, **plan.engine_options.value}
    if options.get("model_type") != "chroma" or options.get("apply_t5_attn_mask"):
        return None
    return "Chroma needs apply_t5_attn_mask"


def other_model(plan: Plan, context: Context) -> str | None:
    if not _option(plan, "v2") or not _reads(context, "v2"):
        return None
    return f"v2 means Stable Diffusion 2, and this is {context.family.title}"


def old_optimizer_flags(plan: Plan, _context: Context) -> str | None:
    named = [name for name in ("use_8bit_adam", "use_lion_optimizer") if _option(plan, name)]
    return f"{named[0]} does not go with optimizer {plan.optimizer.name.value}" if named else None


def epochs_instead(plan: Plan, _context: Context) -> str | None:
    epochs = _option(plan, "max_train_epochs")
    return None if epochs is None else f"max_train_epochs {epochs} would replace the plan's steps, unseen by it"


def never_trains(plan: Plan, _context: Context) -> str | None:
    named = [name for name in ("debug_dataset", "output_config") if _option(plan, name)]
    return f"{named[0]} makes the engine end without training" if named else None


def both_only(plan: Plan, _context: Context) -> str | None:
    if not _option(plan, "network_train_text_encoder_only"):
        return None
    return "network_train_text_encoder_only leaves the image model untrained, and the plan counts on it"


def validation_leaks(plan: Plan, _context: Context) -> str | None:
    if not _option(plan, "validation_split") or _option(plan, "validation_seed") is not None:
        return None
    return "without validation_seed the split of training and validation images is drawn twice, so they overlap"


def validation_takes_images(plan: Plan, _context: Context) -> str | None:
    share = _option(plan, "validation_split")
    if not share:
        return None
    return f"validation_split {share} takes images from the training, and the plan's epochs count them all"


def package_missing(plan: Plan, context: Context) -> str | None:
    asked = [row for row in WANTS if _option(plan, row.option) in row.values and _reads(context, row.option)]
    if not asked:
        return None
    needs = [f"{row.option} needs the package {row.package} ({row.instead})" for row in asked]
    return f"{', '.join(needs)}: not in the engine's locked environment"


def log_folder(plan: Plan, _context: Context) -> str | None:
    asked = _option(plan, "log_with")
    if asked != "tensorboard" or _option(plan, "logging_dir"):
        return None
    return f"log_with = {asked} needs a logging_dir, and there is none"


def _beyond(name: str, low: float, high: float) -> Callable[[Plan, Context], str | None]:
    def check(plan: Plan, context: Context) -> str | None:
        value = _option(plan, name)
        if not isinstance(value, (int, float)) or low <= value <= high or not _reads(context, name):
            return None
        return f"{name} is {value:g}; {low:g} to {high:g} has a meaning"

    return check


def timestep_order(plan: Plan, context: Context) -> str | None:
    low, high = _option(plan, "min_timestep"), _option(plan, "max_timestep")
    if not (isinstance(low, int) and isinstance(high, int)) or low < high or not _reads(context, "min_timestep"):
        return None
    return f"min_timestep {low} is not below max_timestep {high}"


ERROR, WARNING = Severity.ERROR, Severity.WARNING
OPTIONS = "engine.options"
VTA = "tu:4443-4454"
OUT = "leave it out"
WHOLE = (0.0, 1.0)

OPTION_RULES: tuple[Rule, ...] = (
    Rule(
        "huber-schedule",
        ERROR,
        "loss.huber_schedule",
        "tu:6119",
        "fails",
        huber_snr,
        "--set loss.huber_schedule=constant",
    ),
    Rule(
        "shift-resolution",
        WARNING,
        "loss.timestep_sampling",
        "docs/flux_train_network.md",
        "obeys",
        shift_elsewhere,
        "--set loss.timestep_sampling=flux_shift, which goes by the resolution",
    ),
    Rule("weighted-captions", ERROR, OPTIONS, "strategy_base", "fails", weighted_captions, OUT),
    Rule("adaptive-noise", ERROR, OPTIONS, VTA, "refuses", adaptive_noise, "--set loss.noise_offset=0.05"),
    Rule("scale-v-pred", ERROR, OPTIONS, VTA, "refuses", scale_v_pred, OUT),
    Rule("v-pred-like", ERROR, OPTIONS, VTA, "refuses", v_pred_like, "leave one of them out"),
    Rule("zero-terminal-snr", WARNING, OPTIONS, VTA, "obeys", zero_snr, OUT),
    Rule("chroma-mask", ERROR, OPTIONS, "fn:54", "refuses", chroma_mask, "--family chroma"),
    Rule("sd2", ERROR, OPTIONS, "sdxl_train_util:349", "refuses", other_model, OUT),
    Rule("optimizer-twice", ERROR, OPTIONS, "tu:4857", "refuses", old_optimizer_flags, "--set optimizer.name=Lion"),
    Rule("epochs-instead", ERROR, OPTIONS, "tn:799", "obeys", epochs_instead, "--set schedule.epochs=N"),
    Rule("never-trains", ERROR, OPTIONS, "tn:567, tu:4700", "obeys", never_trains, OUT),
    Rule("text-encoder-only", ERROR, OPTIONS, "tn:681", "refuses", both_only, OUT),
    Rule("validation-seed", ERROR, OPTIONS, "tu, DreamBoothDataset", "obeys", validation_leaks, "validation_seed: 42"),
    Rule(
        "validation-split", WARNING, OPTIONS, "tu, DreamBoothDataset", "obeys", validation_takes_images, "a larger set"
    ),
    Rule("option-package", ERROR, OPTIONS, "the lock", "refuses", package_missing, OUT),
    Rule("log-folder", ERROR, OPTIONS, "tu:5451", "refuses", log_folder, "give logging_dir too, or leave log_with out"),
    Rule("timestep-order", ERROR, OPTIONS, "tu:6062", "misreads", timestep_order, "min_timestep below max_timestep"),
    Rule("caption-dropout-range", ERROR, OPTIONS, "tu", "obeys", _beyond("caption_dropout_rate", *WHOLE), "0.1"),
    Rule("tag-dropout-range", ERROR, OPTIONS, "tu", "obeys", _beyond("caption_tag_dropout_rate", *WHOLE), "0.1"),
    Rule("validation-range", ERROR, OPTIONS, "tu", "misreads", _beyond("validation_split", *WHOLE), "0.1"),
    Rule("timestep-low", ERROR, OPTIONS, "tu:6062", "obeys", _beyond("min_timestep", 0, 999), "0 to 999"),
    Rule("timestep-high", ERROR, OPTIONS, "tu:6062", "fails", _beyond("max_timestep", 1, 1000), "1 to 1000"),
)
