"""Two hundred mistakes, drawn at random with a fixed seed: what forge says, and the file the engine would read."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rule_cases import BREAKS, Case, as_asked, asked_codes, family_of, plan_case, shipped_layers

from lora_forge.engine.options import check_options, load_options
from lora_forge.engine.render import OptionValue, RunFiles, SubsetFolder, train_options
from lora_forge.engine.toml_text import dump_toml
from lora_forge.errors import PresetError
from lora_forge.plan.rules import all_rules
from lora_forge.presets.loader import parse_set
from lora_forge.presets.merge import merge_layers
from lora_forge.settings import Layer, Source

COUNT, SEED = 200, 20240823
LETTERS = "abcdefghijklmnopqrstuvwxyz"

ENGINE_WORDS = {
    "network.rank": "network_dim",
    "network.alpha": "network_alpha",
    "network.dropout": "network_dropout",
    "schedule.steps": "max_train_steps",
    "schedule.batch_size": "train_batch_size",
    "schedule.grad_accum": "gradient_accumulation_steps",
    "schedule.warmup_steps": "lr_warmup_steps",
    "schedule.checkpoint_every": "save_every_n_steps",
    "optimizer.name": "optimizer_type",
    "optimizer.learning_rate": "learning_rate",
    "optimizer.scheduler": "lr_scheduler",
    "optimizer.max_grad_norm": "max_grad_norm",
    "data.min_bucket": "min_bucket_reso",
    "data.bucket_step": "bucket_reso_steps",
    "precision.mixed": "mixed_precision",
    "precision.fp8_base": "fp8_base",
    "precision.save": "save_precision",
    "memory.gradient_checkpointing": "gradient_checkpointing",
    "memory.cache_latents": "cache_latents",
    "memory.blocks_to_swap": "blocks_to_swap",
    "loss.noise_offset": "noise_offset",
    "loss.min_snr_gamma": "min_snr_gamma",
    "loss.kind": "loss_type",
    "augment.color": "color_aug",
    "captions.shuffle": "shuffle_caption",
    "captions.keep_tokens": "keep_tokens",
    "captions.dropout": "caption_dropout_rate",
    "seed": "seed",
}
RIGHT = {"int": 8, "float": 0.5, "bool": True, "str": "bf16"}
WRONG: dict[str, tuple[object, ...]] = {
    "int": ("16", "ten", 1.5, True, [4]),
    "float": ("0.1", "high", True, [1.0]),
    "bool": ("false", "yes", 1, "on"),
    "choice": ("banana", 3, True),
    "str": (3, True, 0.5),
}
KINDS = {
    **dict.fromkeys(("network.rank", "schedule.steps", "schedule.batch_size", "schedule.grad_accum", "seed"), "int"),
    **dict.fromkeys(("schedule.warmup_steps", "schedule.checkpoint_every", "data.min_bucket"), "int"),
    **dict.fromkeys(("data.bucket_step", "memory.blocks_to_swap", "captions.keep_tokens"), "int"),
    **dict.fromkeys(("precision.fp8_base", "memory.gradient_checkpointing", "memory.cache_latents"), "bool"),
    **dict.fromkeys(("augment.color", "captions.shuffle"), "bool"),
    **dict.fromkeys(("precision.mixed", "precision.save", "loss.kind"), "choice"),
    **dict.fromkeys(("optimizer.name", "optimizer.scheduler"), "str"),
}
"""What each key is; keys that are not named are numbers."""

OPTION_KINDS = {
    **dict.fromkeys(("ip_noise_gamma", "prior_loss_weight", "sigmoid_scale", "scale_weight_norms"), "float"),
    **dict.fromkeys(
        ("vae_batch_size", "text_encoder_batch_size", "t5xxl_max_token_length", "save_last_n_steps"), "int"
    ),
    **dict.fromkeys(("apply_t5_attn_mask", "highvram", "lowram", "no_metadata", "save_state"), "bool"),
}


class Mistake(NamedTuple):
    """``settings`` are ``--set`` arguments; ``toml`` is what somebody would write for the engine instead."""

    kind: str
    settings: tuple[str, ...]
    toml: str
    case: Case | None = None


def mistakes() -> list[Mistake]:
    dice = random.Random(SEED)
    makers = (_misspelt_key, _wrong_value, _misspelt_option, _wrong_option, _conflict)
    return [makers[number % len(makers)](dice) for number in range(COUNT)]


def caught(mistake: Mistake) -> list[str]:
    """The codes of what forge says about the mistake itself; empty where it slips through."""
    if mistake.case is not None:
        wanted = mistake.settings[0]
        return [finding.code for finding in plan_case(mistake.case).findings if finding.code == wanted]
    layers = shipped_layers("identity")
    try:
        asked = dict(parse_set(text) for text in mistake.settings)
    except PresetError as refused:
        return [type(refused).__name__]
    preset, _, findings = merge_layers([*layers, Layer(Source.CLI, "--set", asked)])
    codes = [finding.code for finding in findings]
    if preset is None or codes:
        return codes
    case = Case({key: written.value for key, written in asked.items()})
    said = {finding.code for finding in plan_case(case).findings} - _usual_codes()
    return [*sorted(said), *(finding.code for finding in _rendered_findings(case))]


def _rendered_findings(case: Case):  # type: ignore[no-untyped-def]
    run, family = Path("/run"), family_of(case)
    files = RunFiles(run / "t", run / "d", run / "p", run / "o", (SubsetFolder(run / "x", 1),), {}, None)
    return check_options(load_options(family.script), train_options(plan_case(case).plan, family, files))


def _kind(key: str) -> str:
    return KINDS.get(key, "float")


@cache
def _sent() -> dict[str, OptionValue]:
    return as_asked(Case(), Path("/run"))[0]


@cache
def _usual_codes() -> frozenset[str]:
    return frozenset(finding.code for finding in plan_case(Case()).findings)


def _toml(**wrong: object) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in {**_sent(), **wrong}.items())


def _misspell(word: str, dice: random.Random) -> str:
    """Drop, double, swap or change one letter of the last part."""
    head, dot, tail = word.rpartition(".")
    place = dice.randrange(1, len(tail) - 1)
    letter = dice.choice([c for c in LETTERS if c != tail[place]])
    ways = (
        tail[:place] + tail[place + 1 :],
        tail[:place] + tail[place] + tail[place:],
        tail[:place] + letter + tail[place + 1 :],
        tail.replace("_", "-") if "_" in tail else tail.upper(),
        tail.capitalize(),
    )
    return head + dot + dice.choice(ways)


def _misspelt_key(dice: random.Random) -> Mistake:
    key = dice.choice(sorted(ENGINE_WORDS))
    value = RIGHT.get(_kind(key), "bf16")
    wrong = {_misspell(ENGINE_WORDS[key], dice): value}
    return Mistake("misspelt key", (f"{_misspell(key, dice)}={json.dumps(value)}",), _toml(**wrong))


def _wrong_value(dice: random.Random) -> Mistake:
    key = dice.choice(sorted(ENGINE_WORDS))
    value = dice.choice(WRONG[_kind(key)])
    return Mistake("wrong value", (f"{key}={json.dumps(value)}",), _toml(**{ENGINE_WORDS[key]: value}))


def _misspelt_option(dice: random.Random) -> Mistake:
    option = dice.choice(sorted(OPTION_KINDS))
    name, value = _misspell(option, dice), RIGHT[OPTION_KINDS[option]]
    return Mistake(
        "misspelt engine option", (f"engine.options={{{name}: {json.dumps(value)}}}",), _toml(**{name: value})
    )


def _wrong_option(dice: random.Random) -> Mistake:
    option = dice.choice(sorted(OPTION_KINDS))
    value = dice.choice([wrong for wrong in WRONG[OPTION_KINDS[option]] if not isinstance(wrong, list)])
    text = f"engine.options={{{option}: {json.dumps(value)}}}"
    return Mistake("wrong engine option", (text,), _toml(**{option: value}))


def _conflict(dice: random.Random) -> Mistake:
    code = dice.choice(_conflicts())
    sent, _ = as_asked(BREAKS[code], Path("/run"))
    return Mistake("conflict", (code,), dump_toml({k: v for k, v in sent.items() if v != float("inf")}), BREAKS[code])


def _conflicts() -> list[str]:
    """Rules that the engine answers with a refusal, a failure or something else than was asked."""
    obeyed = {rule.code for rule in all_rules() if rule.engine == "obeys"}
    return [code for code in asked_codes() if code not in obeyed]
