"""What a run was asked for, kept so that it can be asked for again: to go on with it, or to make it anew.

The preset is kept as it was resolved, with the policy's figures written out, so
that neither an edited preset nor an edited forge.yaml reaches a run that has begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput

if TYPE_CHECKING:
    from lora_forge.runs.directory import RunDir
    from lora_forge.runs.ledger import Json
    from lora_forge.runs.record import RunRecord
    from lora_forge.settings import Value
    from lora_forge.workflow.gather import Gathered
    from lora_forge.workflow.invocation import Invocation
    from lora_forge.workflow.planning import PlanResult

VERSION = 1
_RESUME = "forge train --resume --preset … --dataset …"
TEXT_KEYS = ("dataset", "trigger", "family", "reg", "tokenizers")
COUNT_KEYS = ("gpus", "vram")
PATH_KEYS = ("dataset", "reg", "tokenizers", "model", "clip_l", "t5xxl", "ae", "vae")


def write_request(call: Invocation, planned: PlanResult, run: RunDir) -> dict[str, Json]:
    """Write the request and its preset, each twice; the digests by which the ledger vouches for them."""
    from lora_forge.runs.twofold import write_twice

    request = {
        "version": VERSION,
        "flags": resolved_flags(planned),
        "trust_code": call.trust_code,
    }
    preset, told = preset_text(planned), json.dumps(request, indent=1) + "\n"
    return {
        run.preset_yaml.name: write_twice(run.preset_yaml, preset),
        run.request_json.name: write_twice(run.request_json, told),
    }


def read_request(call: Invocation, run: RunDir, record: RunRecord) -> Invocation:
    """The run's own request, as its last attempt took it, in the world of this call; what this call was given wins.

    Raises:
        InvalidInput: the run directory does not say any more what was asked for.
    """
    from lora_forge.project.request import without_requests
    from lora_forge.runs.twofold import sound_copy

    vouched = record.facts.get("request")
    digests = vouched if isinstance(vouched, dict) else {}
    try:
        request = json.loads(sound_copy(run.request_json, digests.get(run.request_json.name)).read_bytes())
        flags, trust_code = dict(request["flags"]), bool(request["trust_code"])
        preset = sound_copy(run.preset_yaml, digests.get(run.preset_yaml.name))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        message = f"what {run.path} was asked for cannot be read: {problem}"
        raise InvalidInput(message, f"name all of it again: {_RESUME} --run-dir {run.path}") from problem
    since, settings = _changed_since(record)
    kept: dict[str, Value] = {"preset": str(preset)}
    given = {key: _absolute(value, call) if key in PATH_KEYS else value for key, value in call.flags.items()}
    return replace(
        call,
        flags={**kept, **flags, **since, **given},
        settings=(*settings, *call.settings),
        prompts=call.prompts and call.cwd / call.prompts,
        run_dir=run.path,
        cwd=run.path,
        env=without_requests(call.env),
        trust_code=call.trust_code or trust_code,
    )


def _changed_since(record: RunRecord) -> tuple[dict[str, Value], tuple[str, ...]]:
    """Flags and settings that came after the request, such as the lever of a retry: the ledger's last plan has them."""
    from lora_forge.runs.resume import settings_since, vram_since

    begun = record.facts.get("plan")
    if not isinstance(begun, dict):
        return {}, ()
    vram = vram_since(begun, record.plan)
    return {} if vram is None else {"vram": vram}, settings_since(begun, record.plan)


def _absolute(value: Value, call: Invocation) -> Value:
    """A path, or the several folders of a dataset in words of their own, freed of the folder it was said in."""
    from lora_forge.project.datasets import read_folders
    from lora_forge.settings import Scalar, Source, Written

    folders = read_folders(Written(value, Source.CLI, "--dataset"), [])
    words: list[Scalar] = [folder._replace(path=str(call.cwd / folder.path)).words() for folder in folders]
    return words if len(words) > 1 else words[0] if words else value


def resolved_flags(planned: PlanResult) -> dict[str, Value]:
    """Every choice that is no preset key, as it was settled."""
    gathered = planned.gathered
    request = gathered.request
    texts = {**{key: request.text(key) for key in TEXT_KEYS}, "dataset": request.dataset_words()}
    counts = {key: request.count(key) for key in COUNT_KEYS}
    settled = {
        "name": planned.planned.plan.name.value,
        "trigger": texts["trigger"] or gathered.trigger.value,
        "family": gathered.family_choice.value,
        **{name: written.value for name, written in gathered.model_paths.items()},
    }
    return {key: value for key, value in {**texts, **counts, **settled}.items() if value is not None}


def preset_text(planned: PlanResult) -> str:
    """The resolved preset as YAML (its JSON form), the policy's figures as if they had been written in it."""
    from lora_forge.settings import nest

    return json.dumps(nest(settled_values(planned.gathered, planned)), indent=1) + "\n"


def settled_values(gathered: Gathered, planned: PlanResult) -> Mapping[str, Value]:
    plan = planned.planned.plan
    written = {key: origin.written.value for key, origin in gathered.origins.items()}
    figures: dict[str, Value] = {
        "network.rank": plan.network.rank.value,
        "network.alpha": plan.network.alpha.value,
        "schedule.steps": plan.schedule.steps.value,
        "schedule.checkpoint_every": plan.schedule.checkpoint_every.value,
    }
    repeats = plan.schedule.repeats.value
    if isinstance(repeats, int):
        figures["schedule.repeats"] = repeats
    return {**written, **figures, "name": gathered.preset.name}
