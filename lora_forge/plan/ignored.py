"""What a person wrote and this run would not heed: shown with its reason, and never sent.

Rules and renderer read the same tables, so that nothing is sent that was said to
have no effect, and nothing is left out without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lora_forge.families.family import Family
from lora_forge.plan.model import Plan
from lora_forge.plan.network_args import READ

Holds = Callable[[Plan], bool]


class _Row(NamedTuple):
    keys: tuple[str, ...]
    idle: Holds
    why: str


def ignored_settings(plan: Plan, family: Family) -> Mapping[str, str]:
    """Preset keys without effect in this run → why."""
    return {**_idle(_SETTINGS, plan), **family.inert}


def ignored_options(plan: Plan, family: Family) -> Mapping[str, str]:
    """Keys of ``engine.options`` without effect in this run → why."""
    found = {**_idle(_OPTIONS, plan), **family.inert_options}
    return {key: why for key, why in found.items() if key in plan.engine_options.value}


def ignored_arguments(plan: Plan, family: Family) -> Mapping[str, str]:
    """Keys of ``network.args`` that the network module never reads → why."""
    module = family.network_modules.get(plan.network.kind.value, "")
    known = READ.get(module)
    if known is None:
        return {}
    return {key: f"{module} never reads it" for key in plan.network.args.value if key not in known}


def _idle(rows: tuple[_Row, ...], plan: Plan) -> dict[str, str]:
    return {key: row.why for row in rows if row.idle(plan) for key in row.keys}


def _option(plan: Plan, name: str) -> bool:
    return bool(plan.engine_options.value.get(name))


def _scheduler_not(*names: str) -> Holds:
    return lambda plan: plan.optimizer.scheduler.value not in names


def _sampling_not(*names: str) -> Holds:
    return lambda plan: plan.loss.timestep_sampling.value not in names


def _lycoris(plan: Plan) -> bool:
    return plan.network.kind.value != "lora"


def _nothing_cached(plan: Plan) -> bool:
    return not (plan.memory.cache_latents.value or plan.memory.cache_text_encoder_outputs.value)


def _frozen(plan: Plan) -> bool:
    return plan.text_encoder.mode.value == "frozen"


_CYCLIC = ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")

_SETTINGS: tuple[_Row, ...] = (
    _Row(("network.dropout",), _lycoris, "LyCORIS has no such dropout for LoHa and LoKr (rank_dropout it has)"),
    _Row(("network.factor",), lambda p: p.network.kind.value != "lokr", "LoKr alone has a factor"),
    _Row(("network.use_cp",), lambda p: not _lycoris(p), "LyCORIS networks alone read it"),
    _Row(("network.conv_alpha",), lambda p: p.network.conv_rank.value is None, "no network.conv_rank is set"),
    _Row(("optimizer.scheduler_cycles",), _scheduler_not(*_CYCLIC), "this scheduler has no cycles"),
    _Row(("loss.huber_schedule",), lambda p: p.loss.kind.value == "l2", "squared error has no threshold"),
    _Row(("loss.discrete_flow_shift",), _sampling_not("shift", "sigma"), "timesteps are not sampled by a fixed shift"),
    _Row(("captions.keep_tokens",), lambda p: not p.captions.shuffle.value, "captions are not shuffled"),
    _Row(("memory.cache_to_disk",), _nothing_cached, "nothing is cached"),
    _Row(("optimizer.text_encoder_learning_rate",), _frozen, "the text encoder is frozen"),
    _Row(("text_encoder.learning_rate_ratio",), _frozen, "the text encoder is frozen"),
    _Row(("text_encoder.switch_at",), lambda p: p.text_encoder.switch_step.value is None, "there is one phase only"),
    _Row(
        ("sampling.guidance", "sampling.steps", "sampling.seed", "sampling.prompts"),
        lambda p: p.sampling.every.value is None,
        "no pictures are sampled",
    ),
)

_CACHED_CAPTIONS = "captions are encoded once, as their files say (text-encoder outputs are cached)"

_OPTIONS: tuple[_Row, ...] = (
    _Row(
        (
            *("caption_prefix", "caption_suffix", "enable_wildcard", "caption_dropout_every_n_epochs"),
            *("caption_separator", "secondary_separator", "keep_tokens_separator", "token_warmup_min"),
        ),
        lambda p: p.memory.cache_text_encoder_outputs.value,
        _CACHED_CAPTIONS,
    ),
    _Row(("huber_c", "huber_scale"), lambda p: p.loss.kind.value == "l2", "squared error has no threshold"),
    _Row(("lr_scheduler_power",), _scheduler_not("polynomial"), "only scheduler polynomial reads it"),
    _Row(("lr_scheduler_timescale",), _scheduler_not("inverse_sqrt"), "only scheduler inverse_sqrt reads it"),
    _Row(("lr_scheduler_min_lr_ratio",), _scheduler_not(*_CYCLIC[1:]), f"only {' and '.join(_CYCLIC[1:])} read it"),
    _Row(("lr_decay_steps",), _scheduler_not(_CYCLIC[2]), f"only scheduler {_CYCLIC[2]} reads it"),
    _Row(("noise_offset_random_strength",), lambda p: not p.loss.noise_offset.value, "there is no noise offset"),
    _Row(("ip_noise_gamma_random_strength",), lambda p: not _option(p, "ip_noise_gamma"), "there is no ip_noise_gamma"),
    _Row(
        ("multires_noise_discount",),
        lambda p: not _option(p, "multires_noise_iterations"),
        "there is no multires noise",
    ),
    _Row(("masked_loss",), lambda p: not _option(p, "alpha_mask"), "there are no masks (alpha_mask would read them)"),
    _Row(("prior_loss_weight",), lambda p: not p.data.reg_images.value, "there are no regularization images"),
    _Row(
        ("validation_seed", "max_validation_steps", "validate_every_n_steps", "validate_every_n_epochs"),
        lambda p: not _option(p, "validation_split"),
        "nothing is validated (no validation_split)",
    ),
    _Row(
        ("cpu_offload_checkpointing",),
        lambda p: not p.memory.gradient_checkpointing.value,
        "without gradient checkpointing there is nothing to offload",
    ),
    _Row(
        ("sample_at_first", "sample_sampler", "sample_every_n_epochs"),
        lambda p: p.sampling.every.value is None,
        "no pictures are sampled",
    ),
    _Row(
        ("text_encoder_batch_size",),
        lambda p: not p.memory.cache_text_encoder_outputs.value,
        "text-encoder outputs are not cached",
    ),
    _Row(("skip_cache_check",), lambda p: not p.memory.cache_to_disk.value, "nothing is cached on disk"),
    _Row(
        ("log_prefix", "log_config", "log_tracker_name", "log_tracker_config", "wandb_run_name"),
        lambda p: not (_option(p, "logging_dir") or _option(p, "log_with")),
        "nothing is logged (no logging_dir)",
    ),
    _Row(
        (
            *("zero_stage", "zero3_init_flag", "zero3_save_16bit_model", "fp16_master_weights_and_gradients"),
            *("offload_optimizer_device", "offload_optimizer_nvme_path"),
            *("offload_param_device", "offload_param_nvme_path"),
        ),
        lambda p: not _option(p, "deepspeed"),
        "only deepspeed reads it",
    ),
    _Row(("sigmoid_scale",), _sampling_not("sigmoid", "shift", "flux_shift"), "timesteps are not sampled by a sigmoid"),
    _Row(
        ("weighting_scheme", "logit_mean", "logit_std", "mode_scale"),
        _sampling_not("sigma"),
        "timesteps are not sampled by sigma",
    ),
    _Row(("split_mode",), lambda p: bool(p.memory.blocks_to_swap.value), "blocks_to_swap stands before it"),
)
