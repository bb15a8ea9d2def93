"""The use case behind ``forge dataset check``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput
from lora_forge.findings import Finding, Severity, info
from lora_forge.workflow.checking import Checked, Eye, check_facts, plan_advice, uncollected, usual_advice

if TYPE_CHECKING:
    from lora_forge.datasets.advice import Advice
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.datasets.look import Watch
    from lora_forge.datasets.pixels import PixelFacts
    from lora_forge.project.request import Request
    from lora_forge.workflow.invocation import Invocation

DEFAULT_EXTENSION = ".txt"
_ABOUT_THE_SET = frozenset(
    {"image-count", "style-diluted", "steps-per-image", "identity-repeats", "trigger-missing"}
    | {"reg-count", "reg-demanded", "reg-recommended", "reg-missing"}
)
"""Rules of the plan that are about the dataset; they are said there, and here in the same words."""
_ABOUT_THE_TRIGGER = frozenset({"trigger-from-captions", "trigger-several", "caption-none"})


@dataclass(frozen=True)
class CheckResult:
    """A dataset, everything that is wrong with it, and what its pixels came to.

    ``pixels`` has every image that was looked at; ``measured`` of them were decoded
    just now, the others were known from an earlier time.
    """

    facts: DatasetFacts
    findings: tuple[Finding, ...]
    pixels: Mapping[Path, PixelFacts] = field(default_factory=dict)
    measured: int = 0
    strict: bool = False

    @property
    def exit_code(self) -> int:
        grave = {Severity.ERROR, Severity.WARNING} if self.strict else {Severity.ERROR}
        return InvalidInput.exit_code if any(one.severity in grave for one in self.findings) else 0

    def counts(self) -> dict[str, int]:
        """How many findings of each severity."""
        return {each.value: sum(one.severity is each for one in self.findings) for each in Severity}

    def data(self) -> dict[str, object]:
        return {
            "dataset": str(self.facts.root),
            "images": self.facts.images,
            "reg_images": self.facts.reg_images,
            "looked_at": len(self.pixels),
            "decoded": self.measured,
            "strict": self.strict,
            "counts": self.counts(),
            "subsets": [
                {
                    "folder": str(subset.folder),
                    "images": len(subset.images),
                    "repeats": subset.repeats,
                    "class_tokens": subset.class_tokens,
                    "is_reg": subset.is_reg,
                }
                for subset in self.facts.subsets
            ],
        }


def check_dataset(
    root: Path,
    *,
    advice: Advice | None = None,
    reg: Path | None = None,
    pixels: bool = True,
    cache_file: Path | None = None,
    watch: Watch | None = None,
    strict: bool = False,
) -> CheckResult:
    """Check one folder by itself; without ``advice`` against what most presets ask for."""
    from lora_forge.datasets.scan import scan_dataset
    from lora_forge.datasets.set_checks import check_reg

    extension = advice.caption_extension if advice else DEFAULT_EXTENSION
    facts, findings = scan_dataset(root, caption_extension=extension, reg=reg, per_file=True)
    eye = _eye(pixels, cache_file, watch)
    checked = check_facts(facts, findings, advice or _advice_from_captions(facts), eye=eye)
    return _result(checked, check_reg(checked.facts), strict)


def check_asked(
    call: Invocation, *, pixels: bool = True, watch: Watch | None = None, strict: bool = False
) -> CheckResult:
    """Check what a training would measure: one folder, several, or those of a dataset TOML.

    Against the preset, where one is named.

    Raises:
        DatasetError: nobody named a dataset.
        InvalidInput: the preset that was named cannot be used.
    """
    from lora_forge.datasets.cache_place import default_cache_file
    from lora_forge.project.request import gather_request
    from lora_forge.workflow.gather_dataset import import_dataset_file, unnamed

    request, _, spoken = gather_request({**call.flags, "set": list(call.settings)}, call.env, call.cwd)
    imported: list[Finding] = []
    request, _ = import_dataset_file(request, [], call, imported)
    root = request.path("dataset")
    if root is None:
        raise unnamed(request, spoken)
    eye = _eye(pixels, default_cache_file(call.env), watch)
    if request.text("preset") is None or not root.is_dir():
        return _check_plainly(root, request, eye, [*imported, *spoken], strict)
    return _check_for_plan(request, call, eye, imported, strict)


def _check_plainly(root: Path, request: Request, eye: Eye | None, findings: list[Finding], strict: bool) -> CheckResult:
    from lora_forge.datasets.facts import DatasetFacts
    from lora_forge.datasets.set_checks import check_reg

    scanned: list[Finding] = []
    facts = _scan(request, DEFAULT_EXTENSION, scanned) or DatasetFacts(root, ())
    advice = usual_advice(request.text("trigger")) if request.trigger else _advice_from_captions(facts)
    checked = check_facts(facts, scanned, advice, eye=eye)
    if checked.facts.images:
        message = f"Checked against what most presets ask for, {advice.resolution} pixels."
        findings = [*findings, info("preset-none", message, "--preset NAME checks for that one.")]
    return _result(checked, [*check_reg(checked.facts), *findings], strict)


def _check_for_plan(
    request: Request, call: Invocation, eye: Eye | None, imported: list[Finding], strict: bool
) -> CheckResult:
    """The plan's own sizes and trigger, and its rules about the set, said once."""
    from lora_forge.datasets.set_checks import check_exposures
    from lora_forge.workflow.gather import gather
    from lora_forge.workflow.planning import decide

    gathered = gather(call, purpose="the dataset can be checked against a preset", hint=_way_out(call))
    planned = decide(gathered)
    plan = planned.plan
    advice = plan_advice(plan, gathered.preset.subject, gathered.family)
    scanned: list[Finding] = []
    facts = _scan(request, advice.caption_extension, scanned) or gathered.dataset
    checked = check_facts(facts, scanned, advice, eye=eye)
    about = [one for one in gathered.findings if one.code in _ABOUT_THE_TRIGGER]
    about += [one for one in planned.findings if one.code in _ABOUT_THE_SET]
    about += check_exposures(checked.facts, plan.schedule.exposures_per_image.value, plan.schedule.steps.value)
    return _result(checked, [*about, *imported], strict)


def _way_out(call: Invocation) -> str:
    """A dataset can be checked without the preset that cannot be used, if a flag named it."""
    if "preset" not in call.flags:
        return "mend what is named above"
    return "mend what is named above, or leave --preset out to check for what most presets ask"


def _scan(request: Request, extension: str, findings: list[Finding]) -> DatasetFacts | None:
    from lora_forge.workflow.gather_dataset import read_dataset

    with uncollected():
        return read_dataset(request, extension, findings, per_file=True)


def _advice_from_captions(facts: DatasetFacts) -> Advice:
    from lora_forge.datasets.trigger import find_trigger

    written, _ = find_trigger(facts, None)
    return usual_advice(str(written.value) if written else None)


def _eye(pixels: bool, cache_file: Path | None, watch: Watch | None) -> Eye | None:
    from lora_forge.datasets.cache_place import default_cache_file

    return Eye(cache_file or default_cache_file(), watch) if pixels else None


def _result(checked: Checked, about: list[Finding], strict: bool) -> CheckResult:
    return CheckResult(checked.facts, (*checked.findings, *about), checked.pixels, checked.measured, strict)
