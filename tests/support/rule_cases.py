"""For every rule a plan that breaks it, made by the real presets, loader and planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from lora_forge.datasets.facts import DatasetFacts, ImageFacts, SubsetFacts
from lora_forge.engine.render import OptionValue, RunFiles, SubsetFolder, train_options
from lora_forge.engine.render_dataset import dataset_document
from lora_forge.engine.toml_text import dump_toml
from lora_forge.families import load_family
from lora_forge.machine import Gpu, Machine
from lora_forge.models.facts import ModelFacts
from lora_forge.plan.make import Ingredients, Planned, make_plan
from lora_forge.plan.rule import Rule
from lora_forge.plan.rules import all_rules
from lora_forge.policies import load_policy
from lora_forge.presets.loader import load_preset_layers, shipped_folder
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Layer, Source, Value, Written

SHAPES = ((1024, 1024), (832, 1216), (1216, 832), (768, 1024))


@dataclass(frozen=True)
class Case:
    """One plan: a shipped preset and family, and what somebody wrote over it."""

    settings: Mapping[str, Value] = field(default_factory=dict)
    preset: str = "identity"
    family: str = "flux"
    images: int = 23
    reg: int = 0
    vram: float | None = None
    gpus: int = 1
    cards: int = 1
    disk: float = 500.0
    trigger: str | None = "ohwx"
    required: str = ""
    folders: tuple[tuple[str, int | None], ...] = ()
    """Kohya folders with their repeats, in place of one flat folder."""
    """What the preset itself would have to say: ``reg_images`` only a preset can write."""
    t5: str = ""


NEEDS_ITS_MACHINE = {"gpu-count", "cpu-processes", "disk-space"}
"""Shown by several processes or a full disk alone, which one small process cannot show."""


def options(**named: str | int | float | bool) -> dict[str, Value]:
    return {"engine.options": named}


def args(**named: str | int | float | bool) -> dict[str, Value]:
    return {"network.args": named}


def adam(**named: str | int | float | bool) -> dict[str, Value]:
    return {"optimizer.name": "AdamW", "optimizer.args": named, "optimizer.scheduler": "cosine"}


NO_CACHE: dict[str, Value] = {"memory.cache_text_encoder_outputs": False}
TWO_PHASE: dict[str, Value] = {"text_encoder.mode": "two-phase"}
SDXL = Case(family="sdxl")

BREAKS: dict[str, Case] = {
    "folder-repeats": Case(folders=(("10_ohwx", 10),)),
    "preset-family": Case(preset="face-loha"),
    "trigger-missing": Case(trigger=None),
    "no-steps": Case({"policy": "fixed", "schedule.steps": None}, preset="adaptive"),
    "reg-demanded": Case(required="reg_images"),
    "reg-recommended": Case(preset="high-fidelity"),
    "family-unverified": Case(family="unverified"),
    "network-kind": Case({"network.kind": "loha"}, family="no-loha"),
    "network-own-word": Case(args(conv_dim=4)),
    "network-reshaped": Case(args(train_blocks="single")),
    "network-argument": Case(args(rank_dropout="a lot")),
    "network-argument-name": Case({"network.args": {"rank dropout": 0.1}}),
    "split-qkv": Case(args(split_qkv=True)),
    "train-blocks": Case(args(train_blocks="both")),
    "t5-cached": Case({**args(train_t5xxl=True), "text_encoder.mode": "trained"}, reg=20),
    "t5-frozen": Case({**args(train_t5xxl=True), **NO_CACHE}),
    "lycoris-fp8": Case(args(bypass_mode=False), preset="face-loha", family="sdxl"),
    "lycoris-conv-rank": Case({"network.conv_rank": None}, preset="style-lokr", family="sdxl"),
    "rank-from-file": Case(options(dim_from_weights=True)),
    "rank-huge": Case({"network.rank": 2048}),
    "bucket-min": Case({"data.min_bucket": 896}),
    "bucket-max": Case({"data.max_bucket": 640}),
    "bucket-bounds": Case({"data.upscale": False}),
    "bucket-step": Case({"data.bucket_step": 32}),
    "resolution-low": Case({"data.resolution": 384}),
    "resolution-high": Case({"data.resolution": 1280, "data.max_bucket": 2048}, family="sd15"),
    "scheduler-unknown": Case({"optimizer.scheduler": "reduce_lr_on_plateau"}),
    "scheduler-min-rate": Case({"optimizer.scheduler": "cosine_with_min_lr"}),
    "scheduler-replaced": Case({**options(lr_scheduler_type="ConstantLR"), "schedule.warmup_steps": 0}),
    "scheduler-own-warmup": Case(options(lr_scheduler_type="ConstantLR")),
    "constant-warmup": Case({"optimizer.scheduler": "constant"}),
    "warmup-outlasts-run": Case({"schedule.warmup_steps": 5000}),
    "warmup-long": Case({"schedule.warmup_steps": 1500}),
    "warmup-only": Case({"schedule.steps": 1, "schedule.warmup_steps": 1}),
    "steps-too-many": Case({"policy": "epochs", "schedule.epochs": 1_000_000}),
    "unseen-images": Case({"schedule.steps": 20}),
    "epochs-overruled": Case({"schedule.epochs": 3, "schedule.steps": 900}),
    "no-checkpoints": Case({"schedule.checkpoint_every": 5000}),
    "optimizer-unknown": Case({"optimizer.name": "AdamW9bit", "optimizer.args": {}}),
    "optimizer-package": Case({"optimizer.name": "DAdaptAdam", "optimizer.args": {}}),
    "optimizer-argument": Case(adam(weight_decya=0.01)),
    "optimizer-equals": Case(adam(betas="b=1")),
    "optimizer-infinite": Case(adam(eps=float("inf"))),
    "adafactor-relative-step": Case({"optimizer.args": {"relative_step": True}, "schedule.warmup_steps": 0}),
    "adafactor-warmup-init": Case(
        {"optimizer.args": {"relative_step": False, "warmup_init": True}, "schedule.warmup_steps": 0}
    ),
    "schedule-free": Case({"optimizer.name": "AdamWScheduleFree", "optimizer.args": {}}),
    "rate-prodigy": Case({"optimizer.name": "Prodigy", "optimizer.args": {}}),
    "rate-extreme": Case({"optimizer.learning_rate": 1.0}),
    "blocks-to-swap": Case({"memory.blocks_to_swap": 36}),
    "swap-offload": Case({"memory.blocks_to_swap": 8, **options(cpu_offload_checkpointing=True)}),
    "offload-unknown": Case(options(cpu_offload_checkpointing=True), family="sd15"),
    "split-mode": Case(options(split_mode=True)),
    "fp8-mixed": Case({"precision.mixed": "no"}),
    "full-mixed": Case(options(full_fp16=True)),
    "full-given-up": Case({"precision.full": True, "precision.mixed": "no", "precision.fp8_base": False}),
    "cached-captions": Case(options(caption_dropout_rate=0.1)),
    "disk-cache": Case(options(cache_latents_to_disk=True), preset="style-lokr", family="sdxl"),
    "workers-persist": Case(options(persistent_data_loader_workers=True)),
    "option-package": Case(options(log_with="wandb")),
    "log-folder": Case(options(log_with="tensorboard")),
    "text-encoder-untrainable": Case({"text_encoder.mode": "trained"}, family="chroma", reg=20),
    "reg-missing": Case(TWO_PHASE),
    "switch-late": Case({**TWO_PHASE, "text_encoder.switch_at": 0.7}, reg=20),
    "switch-at-once": Case({**TWO_PHASE, "schedule.steps": 2, "text_encoder.switch_at": 0.3}, reg=20),
    "text-encoder-throughout": Case({"text_encoder.mode": "trained"}, reg=20),
    "text-encoder-rate-zero": Case({**TWO_PHASE, "optimizer.text_encoder_learning_rate": 0.0}, reg=20),
    "text-encoder-rate": Case({**TWO_PHASE, "text_encoder.learning_rate_ratio": 0.9}, reg=20),
    "text-encoder-few-images": Case(TWO_PHASE, images=9, reg=20),
    "text-encoder-prodigy": Case(
        {**TWO_PHASE, "optimizer.name": "Prodigy", "optimizer.args": {}, "optimizer.learning_rate": 1.0}, reg=20
    ),
    "reg-count": Case(reg=4),
    "huber-schedule": Case({"loss.kind": "huber"}),
    "shift-resolution": Case({"loss.timestep_sampling": "shift"}),
    "weighted-captions": Case({**options(weighted_captions=True), **NO_CACHE}),
    "adaptive-noise": Case(
        {**options(adaptive_noise_scale=0.01), "loss.noise_offset": None}, preset="adaptive", family="sdxl"
    ),
    "scale-v-pred": Case(options(scale_v_pred_loss_like_noise_pred=True), family="sdxl"),
    "v-pred-like": Case(options(v_pred_like_loss=1.0, v_parameterization=True), family="sdxl"),
    "zero-terminal-snr": Case(options(zero_terminal_snr=True), family="sdxl"),
    "chroma-mask": Case(options(model_type="chroma")),
    "sd2": Case(options(v2=True), family="sdxl"),
    "optimizer-twice": Case(options(use_8bit_adam=True)),
    "epochs-instead": Case(options(max_train_epochs=2)),
    "never-trains": Case(options(output_config=True)),
    "text-encoder-only": Case(options(network_train_text_encoder_only=True)),
    "validation-seed": Case(options(validation_split=0.1)),
    "validation-split": Case(options(validation_split=0.1, validation_seed=42)),
    "timestep-order": Case(options(min_timestep=800, max_timestep=200), family="sdxl"),
    "caption-dropout-range": Case({**options(caption_dropout_rate=5.0), **NO_CACHE}),
    "tag-dropout-range": Case({**options(caption_tag_dropout_rate=5.0), **NO_CACHE}),
    "validation-range": Case(options(validation_split=10.0, validation_seed=42)),
    "timestep-low": Case(options(min_timestep=-5), family="sdxl"),
    "timestep-high": Case(options(max_timestep=5000), family="sdxl"),
    "another-machine": Case(vram=8.0, cards=0),
    "gpu-count": Case(gpus=2),
    "cpu-processes": Case(gpus=2, cards=0),
    "cpu-offload": Case(options(cpu_offload_checkpointing=True), cards=0),
    "cpu-fp16": Case({"precision.mixed": "fp16"}, cards=0),
    "batch-card": Case({"schedule.batch_size": 4}),
    "lever-overruled": Case({"schedule.batch_size": 4}, vram=12.0),
    "optimizer-state": Case(adam(), vram=12.0),
    "t5-fp8": Case(vram=8.0, t5="BF16"),
    "rank-small-card": Case(preset="face-loha", family="sdxl", vram=8.0),
    "augment-small-card": Case(preset="style-lokr", family="sdxl", vram=8.0),
    "no-fp8-card": Case({"precision.fp8_base": False}),
    "disk-space": Case(disk=0.5),
    "identity-rank": Case({"network.rank": 48}),
    "identity-repeats": Case({"schedule.repeats": 20}),
    "alpha-rank": Case({"network.alpha": 1.0}),
    "conv-alpha-rank": Case({"network.conv_rank": 8, "network.conv_alpha": 1.0}, family="sdxl"),
    "image-count": Case(images=6),
    "style-diluted": Case(preset="style", images=90),
    "steps-per-image": Case({"schedule.steps": 4000}, preset="style", images=30),
    "style-strength": Case(preset="style", images=30),
    "fp16-overflow": Case({"precision.mixed": "fp16", "precision.full": True}),
    "trigger-shuffled": Case({"captions.shuffle": True}),
    "face-mirrored": Case({"augment.flip": True}),
    "no-effect": Case(),
    "option-no-effect": Case(options(max_timestep=900)),
    "argument-no-effect": Case(args(nonsense=1)),
}
"""Rule → a plan that breaks it."""

KEEPS: dict[str, Case] = {
    "no-effect": Case({"loss.noise_offset": None}),
    "style-strength": Case(),
    "lycoris-conv-rank": Case(preset="style-lokr", family="sdxl"),
}
"""A plan that keeps the rule, where the plain one (``Case()``) does not."""


def cases_for_engine() -> list[dict[str, object]]:
    """Every wrong case that the engine itself can be asked about, as ``scripts/dump_engine_rules`` takes it."""
    asked = []
    for code in asked_codes():
        case = BREAKS[code]
        sent, dataset = as_asked(case, Path("ROOT"))
        words = sorted(
            {key.rpartition(".")[2] for key in case.settings} | set(case.settings.get("engine.options") or ())
        )  # type: ignore[arg-type]
        script = family_of(case).script
        asked.append({"code": code, "script": script, "options": sent, "dataset": dump_toml(dataset), "words": words})
    return asked


def asked_codes() -> list[str]:
    """Rules whose breach the engine meets with something else than plain obedience."""
    rules = {rule.code: rule for rule in all_rules()}
    return [
        code
        for code in BREAKS
        if code not in NEEDS_ITS_MACHINE and (code not in rules or _is_engines(rules[code])) and code != "no-effect"
    ]


def _is_engines(rule: Rule) -> bool:
    return rule.engine not in ("", "obeys") or (rule.engine == "obeys" and rule.where == "engine.options")


def family_of(case: Case):  # type: ignore[no-untyped-def]
    """A family of the shipped ones, or one made up for a rule that no shipped family breaks."""
    flux = load_family("flux")
    if case.family == "unverified":
        return replace(flux, verified=False)
    if case.family == "no-loha":
        return replace(flux, network_modules={"lora": "networks.lora_flux"})
    return load_family(case.family)


def facts_of(case: Case) -> DatasetFacts:
    def picture(n: int) -> ImageFacts:
        return ImageFacts(f"{n:03d}.png", *SHAPES[n % 4], f"ohwx, scene {n}", f"{n:03d}.txt")

    pictures = tuple(map(picture, range(case.images)))
    if case.folders:
        kohya = (SubsetFacts(Path("/photos") / name, n, name, False, pictures) for name, n in case.folders)
        return DatasetFacts(Path("/photos"), tuple(kohya))
    train = SubsetFacts(Path("/photos"), None, None, False, pictures)
    reg = SubsetFacts(Path("/reg"), None, None, True, tuple(map(picture, range(case.reg))))
    return DatasetFacts(Path("/photos"), (train, reg) if case.reg else (train,))


def machine_of(case: Case) -> Machine:
    card = Gpu("test card", 24.0, bf16=True, capability=(8, 9))
    return Machine((card,) * case.cards, ram_gib=64.0, cpu_count=8, disk_free_gib=case.disk)


@cache
def shipped_layers(preset: str) -> tuple[Layer, ...]:
    layers, _ = load_preset_layers(preset, folders=[shipped_folder()], cwd=Path("/"))
    return tuple(layers)


def plan_case(case: Case, *between: Layer) -> Planned:
    """Plan a case; ``between`` are layers over the preset and under what the case writes."""
    layers = shipped_layers(case.preset)
    asked = {key: Written(value, Source.CLI, f"--set {key}") for key, value in case.settings.items()}
    preset, origins, findings = merge_layers([*layers, *between, Layer(Source.CLI, "--set", asked)])
    assert preset is not None, findings
    if case.required:
        preset = preset.model_copy(update={case.required: "required"})
    vram = Written(case.vram, Source.CLI, "--vram") if case.vram else Written(None, Source.MACHINE, why="no GPU")
    if case.cards and not case.vram:
        vram = Written(24.0, Source.MACHINE, why="test card")
    family = family_of(case)
    return make_plan(
        Ingredients(
            preset=preset,
            origins=origins,
            policy=load_policy(preset.policy),
            family=family,
            dataset=facts_of(case),
            models={"t5xxl": t5(case.t5)} if case.t5 else {},
            machine=machine_of(case),
            name=Written("lora", Source.DATASET, why="test"),
            family_choice=Written(family.name, Source.CLI, "--family"),
            trigger=Written(case.trigger, Source.CLI, "--trigger"),
            gpus=Written(case.gpus, Source.CLI, "--gpus"),
            vram=vram,
        )
    )


def t5(dtype: str) -> ModelFacts:
    return ModelFacts(Path("/models/t5.safetensors"), "t5xxl", None, None, "original", 0, 0, dtype, None, 1, None)


def as_asked(case: Case, root: Path) -> tuple[dict[str, OptionValue], dict[str, object]]:
    """The engine's options and dataset as they would go out if forge had checked nothing and left nothing out."""
    planned, family = plan_case(case), family_of(case)
    plan = planned.plan
    folders = [SubsetFolder(root / "photos", 1)] + [SubsetFolder(root / "reg", 1, is_reg=True)] * bool(case.reg)
    files = RunFiles(
        root / "train.toml", root / "dataset.toml", root / "prompts.json", root / "output", tuple(folders), {}, None
    )
    sent = {**train_options(plan, family, files), **plan.engine_options.value}
    own = [f"{key}={value}" for key, value in plan.network.args.value.items()]
    sent["network_args"] = [*sent.get("network_args", []), *own]  # type: ignore[misc]
    return sent, dataset_document(plan, files)
