"""docs/engine-rules.md, written from the rules themselves."""

from __future__ import annotations

from lora_forge.families import family_names, load_family
from lora_forge.families.family import NEVER_READ
from lora_forge.plan.rule import Rule
from lora_forge.plan.rules import all_rules

HEAD = """# What a plan is held to

Written by `scripts/show_rules --write`; do not edit. Sources name the engine at its pin: tn = train_network.py,
tu = library/train_util.py, fn = flux_train_network.py, sn = sdxl_train_network.py.

An **error** stops a run, a **warning** and an **info** only speak. The third column says what the engine does on its
own with a plan that breaks the rule: it *refuses* at the start, *fails* later, *ignores* what was asked, *misreads* it
(does something else), or *obeys* and gets what nobody wanted; it is empty where the rule is forge's own.
`scripts/show_rules --engine` shows the engine's own words for each.

| Rule | Severity | The engine | Setting | Source |
| --- | --- | --- | --- | --- |
"""

RESOLVED = """
## Resolved, and said

Where two wishes exclude each other and one can give way safely, forge decides and says so.

| Finding | What forge does | Source |
| --- | --- | --- |
| `latents-not-cached` | colour augmentation and random crop turn the latent cache off | tn:582 |
| `text-encoder-outputs-not-cached` | shuffled or dropped captions turn the text-encoder cache off | fn:65, tu:1102 |
| (in the plan's reasons) | a trained text encoder is not cached on SDXL | sn:39 |
| (in the plan's reasons) | LyCORIS over fp8 gets `bypass_mode` | lycoris-lora 3.4.0 |
| (in the plan's reasons) | a card's block swap is cut to what the base model's blocks allow | flux_models:972 |
| (in the plan's reasons) | regularization images stand in the training images' own dataset | tu:2112 |
| (in the plan's reasons) | a frozen text encoder is `network_train_unet_only`, never a rate of 0 | networks/lora.py |
| (in the plan's reasons) | warm-up is sent as whole steps, times the GPUs | tu:5274 |
| `no-bf16` | a card without bf16 trains in fp16 | the machine |
| `full-given-up` | full half-precision without mixed precision is left out | tn:814 |
"""

FOUND_ELSEWHERE = """
## Found while reading

Captions and pictures are judged where they are read (`lora_forge/datasets`), model files from their content
(`model-wrong-file`, `model-fp8-type`, `model-quantized`), and every rendered option against the engine's own table
(`engine-option-unknown`, `engine-option-type`, `engine-option-choice`), since the engine's TOML reader checks nothing.
"""

IGNORED = """
## Said to have no effect, and not sent

`no-effect` (a preset key), `option-no-effect` (a key of `engine.options`) and `argument-no-effect` (a key of
`network.args` that the network module never reads). Beyond what depends on the rest of the plan
(`lora_forge/plan/ignored.py`), these never have one:

| Family | `engine.options` |
| --- | --- |
"""


def document() -> str:
    rows = "".join(_row(rule) for rule in all_rules())
    return HEAD + rows + RESOLVED + IGNORED + _inert() + FOUND_ELSEWHERE


def _row(rule: Rule) -> str:
    return f"| `{rule.code}` | {rule.severity.value} | {rule.engine} | {rule.where} | {rule.source} |\n"


def _inert() -> str:
    rows = [("every family", sorted(NEVER_READ))]
    for name in family_names():
        family = load_family(name)
        if own := sorted(set(family.inert_options) - set(NEVER_READ)):
            rows.append((family.title, own))
    return "".join(f"| {title} | {', '.join(f'`{name}`' for name in names)} |\n" for title, names in rows)
