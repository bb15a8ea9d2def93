"""A plan in the engine's own words. The only place where kohya spellings appear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from lora_forge.errors import PlanError
from lora_forge.families.family import Family
from lora_forge.plan.ignored import ignored_arguments, ignored_options, ignored_settings
from lora_forge.plan.model import ArgValue, Plan

OptionValue = Union[str, int, float, bool, list[str], list[float]]

IN_PROCESS_LOADING = 0
LOADER_WORKERS = 2
VALIDATION_SEED = 42


@dataclass(frozen=True)
class SubsetFolder:
    """One folder the engine reads: staged links, never the person's own folder."""

    folder: Path
    repeats: int
    is_reg: bool = False
    class_tokens: str | None = None


@dataclass(frozen=True)
class RunFiles:
    """Every path the rendered text names."""

    train_toml: Path
    dataset_toml: Path
    prompts: Path
    output: Path
    subsets: tuple[SubsetFolder, ...]
    models: Mapping[str, Path]
    tokenizers: Path | None
    validation: Path | None = None
    """The staged folder of the images that are held out."""


def train_options(plan: Plan, family: Family, files: RunFiles) -> dict[str, OptionValue]:
    """Every option that is sent, by the engine's name; what does not apply is left out.

    Options of ``engine.options`` come last and so win over forge's own; those without effect stay out.
    """
    return {
        **_model_options(family, files),
        **_output_options(plan, files),
        **_network_options(plan, family),
        **_schedule_options(plan),
        **_optimizer_options(plan, family),
        **_precision_options(plan, family),
        **_memory_options(plan, family),
        **_loss_options(plan, family),
        **_sampling_options(plan, files),
        **_validation_options(plan, files),
        **family.always,
        **_own_options(plan, family),
    }


def missing_models(family: Family, files: RunFiles) -> tuple[str, ...]:
    """Flags of the model files that a run needs and nobody named."""
    return tuple(file.flag for file in family.files if file.required and file.name not in files.models)


def prompt_document(plan: Plan, family: Family) -> list[dict[str, ArgValue]]:
    """The sample prompts as JSON: in the engine's text form a prompt with ``--w`` in it would be read as an option."""
    sampling = plan.sampling
    side = plan.data.resolution.value
    return [
        {
            "prompt": prompt,
            "width": side,
            "height": side,
            "seed": sampling.seed.value or 0,
            "sample_steps": sampling.steps.value or 1,
            family.guidance_word: sampling.guidance.value or 1.0,
            **family.prompt_always,
        }
        for prompt in sampling.prompts.value
    ]


def _validation_options(plan: Plan, files: RunFiles) -> dict[str, OptionValue]:
    """At each checkpoint and at the end, where the last step is no checkpoint.

    Unsaid, the engine validates after every epoch. Its noise is drawn from a seed
    that stays the same, so that two runs with other training seeds compare.
    """
    if files.validation is None:
        return {}
    schedule = plan.schedule
    ends_between = schedule.steps.value % schedule.checkpoint_every.value != 0
    return {
        "validate_every_n_steps": schedule.checkpoint_every.value,
        "validate_every_n_epochs": schedule.epochs.value + (0 if ends_between else 1),
        "validation_seed": VALIDATION_SEED,
    }


def _own_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    ignored = ignored_options(plan, family)
    return {key: value for key, value in plan.engine_options.value.items() if key not in ignored}


def _model_options(family: Family, files: RunFiles) -> dict[str, OptionValue]:
    options: dict[str, OptionValue] = {
        file.option: str(files.models[file.name]) for file in family.files if file.name in files.models
    }
    if files.tokenizers is not None:
        options["tokenizer_cache_dir"] = str(files.tokenizers)
    return options


def _output_options(plan: Plan, files: RunFiles) -> dict[str, OptionValue]:
    return {
        "output_dir": str(files.output),
        "output_name": plan.name.value,
        "save_model_as": "safetensors",
        "save_precision": plan.precision.save.value,
        "save_every_n_steps": plan.schedule.checkpoint_every.value,
        "dataset_config": str(files.dataset_toml),
        "console_log_simple": True,
        "seed": plan.seed.value,
    }


def _network_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    network = plan.network
    options: dict[str, OptionValue] = {
        "network_module": _network_module(plan, family),
        "network_dim": network.rank.value,
        "network_alpha": float(network.alpha.value),
    }
    if network.dropout.value and "network.dropout" not in ignored_settings(plan, family):
        options["network_dropout"] = network.dropout.value
    ignored = ignored_arguments(plan, family)
    args = {**_conv_args(plan, family), **{key: v for key, v in network.args.value.items() if key not in ignored}}
    if args:
        options["network_args"] = [f"{key}={value}" for key, value in args.items()]
    if plan.text_encoder.mode.value == "frozen":
        options["network_train_unet_only"] = True
    return options


def _network_module(plan: Plan, family: Family) -> str:
    kind = plan.network.kind.value
    if kind not in family.network_modules:
        raise PlanError(f"the engine has no {kind} for {family.title}", "--set network.kind=lora")
    return family.network_modules[kind]


def _conv_args(plan: Plan, family: Family) -> dict[str, ArgValue]:
    network = plan.network
    args: dict[str, ArgValue] = {}
    if network.conv_rank.value is not None and "network.conv_rank" not in family.inert:
        args["conv_dim"] = network.conv_rank.value
        if network.conv_alpha.value is not None:
            args["conv_alpha"] = network.conv_alpha.value
    if network.kind.value == "lokr" and network.factor.value is not None:
        args["factor"] = network.factor.value
    return args


def _schedule_options(plan: Plan) -> dict[str, OptionValue]:
    """``lr_warmup_steps`` is an integer (a float would be a ratio), and the engine divides it by the processes."""
    schedule = plan.schedule
    return {
        "max_train_steps": schedule.steps.value,
        "gradient_accumulation_steps": schedule.grad_accum.value,
        "lr_warmup_steps": schedule.warmup_steps.value * plan.gpus.value,
    }


def _optimizer_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    optimizer = plan.optimizer
    options: dict[str, OptionValue] = {
        "optimizer_type": optimizer.name.value,
        "learning_rate": optimizer.learning_rate.value,
        "unet_lr": optimizer.learning_rate.value,
        "lr_scheduler": optimizer.scheduler.value,
        "max_grad_norm": float(optimizer.max_grad_norm.value),
    }
    if optimizer.args.value:
        options["optimizer_args"] = [f"{key}={_literal(value)}" for key, value in optimizer.args.value.items()]
    if optimizer.text_encoder_learning_rate.value is not None:
        options["text_encoder_lr"] = [optimizer.text_encoder_learning_rate.value]
    if optimizer.scheduler_cycles.value is not None and "optimizer.scheduler_cycles" not in ignored_settings(
        plan, family
    ):
        options["lr_scheduler_num_cycles"] = optimizer.scheduler_cycles.value
    return options


def _literal(value: ArgValue) -> str:
    """A Python literal for the engine; text that is one, such as ``(0.9, 0.99)``, stands as it is."""
    import ast

    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return repr(value)
    return value


def _precision_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    precision = plan.precision
    options: dict[str, OptionValue] = {"mixed_precision": precision.mixed.value}
    if precision.full.value:
        options[f"full_{precision.mixed.value}"] = True
    if precision.fp8_base.value:
        options[family.fp8_option] = True
    return options


def _memory_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    """Loader workers only where there is something to load: cached pictures are cheaper read in place.

    In place the engine also shuffles every epoch exactly; its workers see the new epoch one batch late.
    """
    memory = plan.memory
    options: dict[str, OptionValue] = {}
    if memory.gradient_checkpointing.value:
        options["gradient_checkpointing"] = True
    if memory.cache_latents.value:
        options["cache_latents"] = True
        options["max_data_loader_n_workers"] = IN_PROCESS_LOADING
    else:
        options["max_data_loader_n_workers"] = LOADER_WORKERS
        options["persistent_data_loader_workers"] = True
    if memory.cache_text_encoder_outputs.value:
        options["cache_text_encoder_outputs"] = True
    if memory.cache_to_disk.value:
        options.update(
            {f"{key}_to_disk": True for key in ("cache_latents", "cache_text_encoder_outputs") if key in options}
        )
    if memory.blocks_to_swap.value and "memory.blocks_to_swap" not in family.inert:
        options["blocks_to_swap"] = memory.blocks_to_swap.value
    return options


_LOSS_OPTIONS: Mapping[str, str] = {
    "noise_offset": "noise_offset",
    "min_snr_gamma": "min_snr_gamma",
    "guidance_scale": "guidance_scale",
    "timestep_sampling": "timestep_sampling",
    "model_prediction_type": "model_prediction_type",
    "discrete_flow_shift": "discrete_flow_shift",
    "kind": "loss_type",
    "huber_schedule": "huber_schedule",
}


def _loss_options(plan: Plan, family: Family) -> dict[str, OptionValue]:
    """What has a value and an effect. Chroma's guidance of 0 is a value."""
    ignored = ignored_settings(plan, family)
    options: dict[str, OptionValue] = {}
    for key, option in _LOSS_OPTIONS.items():
        value = getattr(plan.loss, key).value
        if value is not None and f"loss.{key}" not in ignored:
            options[option] = value
    return options


def _sampling_options(plan: Plan, files: RunFiles) -> dict[str, OptionValue]:
    if plan.sampling.every.value is None or not plan.sampling.prompts.value:
        return {}
    return {"sample_every_n_steps": plan.sampling.every.value, "sample_prompts": str(files.prompts)}
