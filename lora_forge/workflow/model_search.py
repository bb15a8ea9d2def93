"""The use cases of ``forge models``: what lies on this machine, what a run would use, and setting it for good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_forge.errors import InvalidInput, ProjectError
from lora_forge.findings import Finding, error, warning
from lora_forge.settings import Value, Written

if TYPE_CHECKING:
    from lora_forge.families.family import Family, ModelFile
    from lora_forge.models.facts import ModelFacts
    from lora_forge.models.locating import Located
    from lora_forge.models.places import Roots
    from lora_forge.project.request import Request

TOKENIZERS = "tokenizers"


@dataclass(frozen=True)
class Report:
    """A result of ``forge models``, as plain data."""

    content: list[dict[str, object]]
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        return InvalidInput.exit_code if any(f.severity.value == "error" for f in self.findings) else 0

    def data(self) -> object:
        return self.content


def list_all(env: Mapping[str, str], cwd: Path, more: Sequence[Path] = ()) -> Report:
    """Every model file in the usual places, told by content, with the reason where one is refused."""
    from lora_forge.models.locating import THOROUGH, Budget, list_models
    from lora_forge.models.places import usual_roots

    budget = Budget(*THOROUGH)
    content = [
        {
            "path": str(listed.path),
            "found_in": listed.origin,
            **(_described(listed.facts) if listed.facts else {}),
            "usable": not listed.refused,
            "refused": listed.refused,
        }
        for listed in list_models(usual_roots(env, cwd, more), budget)
    ]
    findings = list(_missing_folders(cwd, more))
    if budget.parses <= 0:
        findings.append(warning("models-too-many", f"only the first {THOROUGH[1]} files are shown", "--in DIR"))
    return Report(content, tuple(findings))


def locate_all(
    family: str | None, flags: Mapping[str, Value], env: Mapping[str, str], cwd: Path, more: Sequence[Path] = ()
) -> Report:
    """For each family what every file would be and where it was said or found; the tokenizers too."""
    from lora_forge.models.places import usual_roots
    from lora_forge.project.request import gather_request

    request, _, findings = gather_request({**flags, "family": family}, env, cwd)
    roots = usual_roots(env, cwd, more)
    findings += _missing_folders(cwd, more)
    content = []
    for each in _families(request, findings):
        described, noticed = _locate_family(each, request, roots)
        content.append(described)
        findings += noticed
    return Report(content, tuple(findings))


def set_model(name: str, path: str, cwd: Path, user_file: Path | None = None) -> Report:
    """Remember a file for every project of this user, once its content suits the name.

    Raises:
        ProjectError: no such name, the wrong content, or a settings file that cannot be changed safely.
        InvalidModel: not a usable model file at all.
    """
    from lora_forge.models.user_file import set_in_file
    from lora_forge.presets.keys import printable
    from lora_forge.project.request import user_settings_file

    if printable(path) != path:
        raise ProjectError(f"{printable(path)!r} is not text in UTF-8, as a settings file must be", "rename the file")
    full = cwd.absolute() / Path(path).expanduser()
    described = _checked_tokenizers(full) if name == TOKENIZERS else _checked_model(name, full)
    file = user_file or user_settings_file()
    set_in_file(file, name, str(full))
    return Report([{"name": name, "path": str(full), "file": str(file), **described}])


def _missing_folders(cwd: Path, named: Sequence[Path]) -> Iterator[Finding]:
    for folder in named:
        if not (cwd / folder).is_dir():
            yield error("folder-missing", f"There is no folder {folder}.", "--in DIR, a folder that is there", "--in")


def _families(request: Request, findings: list[Finding]) -> list[Family]:
    from lora_forge.families import family_names, load_family
    from lora_forge.presets.keys import did_you_mean

    wanted = request.text("family")
    if wanted is None:
        return [load_family(name) for name in family_names()]
    if wanted in family_names():
        return [load_family(wanted)]
    hint = did_you_mean(wanted, family_names(), "Families are: " + ", ".join(family_names()) + ".")
    findings.append(error("family-unknown", f"There is no family {wanted!r}.", hint, "--family"))
    return []


def _locate_family(family: Family, request: Request, roots: Roots) -> tuple[dict[str, object], list[Finding]]:
    from lora_forge.models.locating import THOROUGH, Budget, locate_models, locate_tokenizers

    unnamed = [file for file in family.files if file.required and getattr(request, file.name) is None]
    located = locate_models(unnamed, roots, Budget(*THOROUGH))
    files = [_described_place(file, getattr(request, file.name), located) for file in family.files]
    missing = [str(f["flag"]) for f in files if f["required"] and f["path"] is None and not f["candidates"]]
    findings = [finding for finding in located.findings(family.files) if finding.code != "model-located"]
    if missing:
        message = f"{family.title} misses {', '.join(missing)}, and no file in the usual places is one."
        findings.append(
            warning("model-missing", message, f"forge models set {missing[0].lstrip('-')} FILE", family.name)
        )
    tokenizers = locate_tokenizers(family.tokenizers, request.path(TOKENIZERS), roots)
    described: dict[str, object] = {
        "family": family.name,
        "files": files,
        "tokenizers": [{"name": t.tokenizer, "path": t.path and str(t.path), "why": t.how} for t in tokenizers],
    }
    return described, findings


def _described_place(file: ModelFile, named: Written | None, located: Located) -> dict[str, object]:
    candidate = located.chosen.get(file.name)
    found = located.written().get(file.name)
    path = named or found
    facts, problem = (candidate.facts, "") if candidate else _read_named(file, named)
    return {
        "name": file.name,
        "flag": file.flag,
        "about": file.about,
        "required": file.required,
        "path": path and path.value,
        "source": path.source.value if path else None,
        "why": f"named in {named.where}" if named else (found.why if found else ""),
        **(_described(facts) if facts else {}),
        "problem": problem,
        "candidates": [str(one.path) for one in located.several.get(file.name, ())],
    }


def _read_named(file: ModelFile, named: Written | None) -> tuple[ModelFacts | None, str]:
    from lora_forge.models.facts import read_model
    from lora_forge.models.header import InvalidModel

    if named is None:
        return None, ""
    try:
        facts = read_model(Path(str(named.value)))
    except InvalidModel as wrong:
        return None, wrong.message
    return facts, _problem(file, facts)


def _problem(file: ModelFile, facts: ModelFacts) -> str:
    from lora_forge.models.suits import holds, what_it_holds, why_unusable

    unusable = why_unusable(facts)
    if unusable:
        return unusable
    return "" if holds(file, facts) else f"holds {what_it_holds(facts)}, not {file.about}"


def _described(facts: ModelFacts) -> dict[str, object]:
    return {
        "holds": facts.family or facts.role,
        "variant": facts.variant,
        "dtype": facts.dtype,
        "quantization": facts.quantization,
        "size_bytes": facts.size_bytes,
    }


def _checked_model(name: str, path: Path) -> dict[str, object]:
    from lora_forge.families import family_names, load_family
    from lora_forge.models.facts import read_model
    from lora_forge.models.suits import holds, what_it_holds, why_unusable
    from lora_forge.presets.keys import did_you_mean

    families = [load_family(each) for each in family_names()]
    places = [file for family in families for file in family.files if file.name == name]
    if not places:
        names = [*dict.fromkeys(file.name for family in families for file in family.files), TOKENIZERS]
        raise ProjectError(f"There is no model file called {name!r}.", did_you_mean(name, names, ", ".join(names)))
    facts = read_model(path)
    if unusable := why_unusable(facts):
        raise ProjectError(f"{path} {unusable}", "name a bf16 or e4m3fn .safetensors file")
    if not any(holds(file, facts) for file in places):
        wanted = " or ".join(dict.fromkeys(file.about for file in places))
        hint = "forge models ls shows what each file is"
        raise ProjectError(f"{path} holds {what_it_holds(facts)}; {name} is {wanted}", hint)
    return _described(facts)


def _checked_tokenizers(path: Path) -> dict[str, object]:
    from lora_forge.families import family_names, load_family
    from lora_forge.models.locating import tokenizer_folder

    folders = {tokenizer_folder(t): t for each in family_names() for t in load_family(each).tokenizers}
    present = [tokenizer for folder, tokenizer in folders.items() if (path / folder).is_dir()]
    if not present:
        hint = f"put each tokenizer's files in a folder of its own, such as {path / next(iter(folders))}"
        raise ProjectError(f"{path} holds none of the engine's tokenizers", hint)
    return {"holds": present}
