"""Fuzz: every text stays what it is, byte by byte, or is refused in words; and YAML that nobody would write."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import toml
from fault_tally import Tally
from fault_watching import peak_mb_of
from fault_world import FORGE
from typer.testing import CliRunner

from lora_forge.cli.app import app
from lora_forge.errors import DatasetError
from lora_forge.runs.directory import RunDir
from lora_forge.runs.staging import StagedImage, StagedSubset, stage_dataset
from lora_forge.settings import Source, Written
from lora_forge.workflow.gather import Gathered, gather
from lora_forge.workflow.invocation import Invocation
from lora_forge.workflow.planning import decide, render_run

NASTY = (
    *("'", '"', '"""', "'''", "\\", "\\x41", "\\u0041", "#", "=", "[", "]", "{", "}", ",", ";", "$", "`", "--", "-"),
    *("\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\ufeff", "\u202e", "\ud800", "\udcff", "\U0001f600"),
    *("e\u0301", "日本", "::error::", "##[x]", "../", "/", "~", "%s", "{trigger}", "$(id)", "&&", "|", "<lora:x:1>"),
)
PLAIN = re.compile(r"[^\W_][\w .,;:()<>$%&|~!?+/-]*")
"""What people write: never refused. The engine's TOML reader cannot hold some mixes of quotes and backslashes."""
SAFE_NAME = re.compile(r"[^\W.-][^\s\x00-\x1f\x7f<>:;/\\\"'`$&|*?!(){}\[\]]*")
ECHO = "import sys,json; print(json.dumps(sys.argv[1:]))"
ARGUMENTS_AT_ONCE = 1000


def texts(seed: int, count: int) -> Iterator[str]:
    """Words of nasty pieces and plain letters, the same on every machine."""
    draw = random.Random(seed)
    for _ in range(count):
        pieces = draw.choices((*NASTY, *string.ascii_letters, " "), k=draw.randrange(1, 9))
        yield "".join(pieces)


def draw_photos(folder: Path) -> Path:
    from PIL import Image

    photos = folder / "photos"
    photos.mkdir()
    for index in range(3):
        Image.new("RGB", (768, 768), (index * 40, 60, 120)).save(photos / f"{index}.png", compress_level=1)
        (photos / f"{index}.txt").write_text(f"a man in scene {index}\n")
    return photos


def rendered_texts(folder: Path, count: int) -> Tally:
    """Triggers, names, prompts and run directories through forge's own planner and renderer, then a real exec."""
    tally = Tally("fuzzed triggers, names, prompts, paths: TOML and argv byte-exact")
    flags = {"preset": "identity", "dataset": str(draw_photos(folder)), "trigger": "ohwx"}
    gathered = gather(Invocation(flags, (), {"FORGE_HOME": str(folder / "nowhere")}, folder))
    arguments: list[str] = []
    refused = 0
    for text in texts(5, count):
        problem, argv = _rendered(gathered, text)
        refused += argv is None
        tally.note(problem)
        arguments += argv or [] if _is_argument(text) else []
    for start in range(0, len(arguments), ARGUMENTS_AT_ONCE):
        part = arguments[start : start + ARGUMENTS_AT_ONCE]
        told = subprocess.run([sys.executable, "-c", ECHO, *part], capture_output=True, check=True)
        tally.wrong += [] if json.loads(told.stdout) == part else ["an argument list did not arrive as it was"]
    tally.note_said = f"{refused} refused"
    return tally


def _is_argument(text: str) -> bool:
    """What no argument list can hold never reached forge by one."""
    return "\0" not in text and "\ud800" not in text


def _rendered(gathered: Gathered, text: str) -> tuple[str, list[str] | None]:
    """What is wrong with one text, and the words of its command that hold it; None where it was refused."""
    word = Written(text, Source.CLI)
    given = replace(gathered, trigger=word, request=replace(gathered.request, name=word))
    planned = decide(given)
    prompts = planned.plan.sampling.prompts
    sampling = planned.plan.sampling.model_copy(update={"prompts": prompts.model_copy(update={"value": (text,)})})
    plan = planned.plan.model_copy(update={"sampling": sampling})
    run = Path("/runs") / f"of {text}".replace("/", "_")
    rendered, problems = render_run(given, replace(planned, plan=plan), run)
    if rendered is None:
        plain = PLAIN.fullmatch(text) is not None
        return (f"{text!r} was refused: {problems}" if plain or not problems else ""), None
    told, name = toml.loads(rendered.train_toml), planned.plan.name.value
    right = {
        "trigger": planned.plan.trigger.value == text,
        "output_name": told["output_name"] == name and SAFE_NAME.fullmatch(name) is not None,
        "output_dir": Path(told["output_dir"]).is_relative_to(run),
        "dataset": toml.loads(rendered.dataset_toml)["datasets"][0]["subsets"][0]["image_dir"].startswith(f"{run}/"),
        "prompt": json.loads(rendered.prompts)[0]["prompt"] == text,
        "argv": rendered.argv[-2:] == ("--config_file", f"{run}/attempts/01/train.toml"),
    }
    wrong = [what for what, is_right in right.items() if not is_right]
    return (f"{text!r}: {wrong}" if wrong else ""), list(rendered.argv[-2:])


def staged_captions(folder: Path, count: int) -> Tally:
    """Captions as the engine reads them back, or refused."""
    tally, kept = Tally("fuzzed captions: staged as the engine reads them, or refused"), 0
    image = folder / "1.png"
    image.write_bytes(b"x")
    run = RunDir(folder / "run")
    run.path.mkdir()
    for text in texts(3, count):
        try:
            (staged,) = stage_dataset(run, [StagedSubset("p", [StagedImage(image, text)])])
        except DatasetError as problem:
            tally.note("" if problem.exit_code == 3 and not PLAIN.fullmatch(text) else f"{text!r}: {problem}")
            continue
        (caption,) = staged.glob("*.txt")
        with caption.open(encoding="utf-8") as file:
            tally.note("" if [line.removesuffix("\n") for line in file] == [text] else repr(text))
        caption.unlink()
        caption.with_suffix(".png").unlink()
        kept += 1
    tally.note_said = f"{count - kept} refused"
    return tally


# YAML.

YAML_PIECES = (
    *("network:", "  rank: 16", "  rank: .nan", "rank: 1e999", "- a", "? x", "&a", "*a", "<<: *a", "{", "}", "[", "]"),
    *(
        "!!python/object:os.system x",
        "extends: identity",
        "extends: ../x",
        "name: x",
        "families: [flux]",
        "|",
        ">",
        "'",
    ),
    *(
        "families: flux",
        '"',
        "\t",
        "\0",
        "\U0001f600",
        "\ud800",
        "---",
        "...",
        "%YAML 1.1",
        "policy: tiers",
        "seed: -1",
    ),
    *("seed: -1", "seed: 0o7", "a: b: c", "schedule: {steps: 0}", "schedule: {steps: 10:30}", "no: no", "x: &x [*x]"),
    *("optimizer: {args: {x: [1, {y: 2}]}}", "trigger: [1]", "dataset: {}", "preset: 3", "models: {model: 1}"),
    *("preset: identity", "dataset: photos", "trigger: a"),
)
SOUND_YAML = ("extends: identity", "network: {rank: 16}", "schedule: {steps: 40}", "seed: 7", "# a remark", "")
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 300))
BOMB_S, BOMB_MB = 1.0, 100


def fuzz_yaml(folder: Path, seconds: float, seed: int = 1) -> Tally:
    """Random presets and project files through ``forge plan`` for so long: it answers, with 0, 2 or 3."""
    tally, draw = Tally(f"YAML fuzz for {seconds:g} s: exits 0, 2 or 3 only"), random.Random(seed)
    photos, codes, deadline = draw_photos(folder), set[int](), time.monotonic() + seconds
    before = Path.cwd()
    os.chdir(folder)
    try:
        while time.monotonic() < deadline:
            code, problem = _one_yaml(folder, photos, draw)
            codes.add(code)
            tally.note(problem)
    finally:
        os.chdir(before)
    tally.note_said = f"exit codes {sorted(codes)}"
    return tally


def _some_yaml(draw: random.Random) -> str:
    """Mostly sound lines with a nasty one among them, or a heap of anything."""
    if draw.random() < 0.4:
        return "\n".join(draw.choices(YAML_PIECES, k=draw.randrange(1, 8)))
    lines = draw.sample(SOUND_YAML, k=draw.randrange(1, len(SOUND_YAML)))
    if draw.random() < 0.7:
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(YAML_PIECES))
    return "\n".join(lines)


def _one_yaml(folder: Path, photos: Path, draw: random.Random) -> tuple[int, str]:
    file = draw.choice(("forge.yaml", "mine.yaml"))
    text = _some_yaml(draw)
    (folder / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    preset = "./mine.yaml" if file == "mine.yaml" else "identity"
    result = CliRunner().invoke(app, ["plan", "--preset", preset, "--dataset", str(photos), "--json"])
    (folder / file).unlink()
    answer: dict[str, Any] = json.loads(result.stdout) if result.stdout.strip() else {}
    right = result.exit_code in (0, 2, 3) and answer.get("ok") == (result.exit_code == 0)
    return result.exit_code, "" if right else f"{text!r}: exit {result.exit_code}, {result.exception!r}"


def alias_bomb(folder: Path) -> Tally:
    """An alias bomb as project file and as preset is refused in a second and in 100 MB, the program itself included."""
    tally = Tally(f"alias bomb: refused in {BOMB_S:g} s and {BOMB_MB} MB")
    (folder / "bomb.yaml").write_text(BOMB)
    figures = []
    for file, arguments in (("forge.yaml", ["plan"]), ("bomb.yaml", ["plan", "--preset", "./bomb.yaml"])):
        (folder / file).write_text(BOMB)
        out, began = folder / "out", _children_s()
        with out.open("wb") as answer:
            process = subprocess.Popen([str(FORGE), *arguments, "--json"], cwd=folder, stdout=answer)
            megabytes = peak_mb_of(process)
        seconds = _children_s() - began
        figures.append(f"{seconds:.2f} s, {megabytes:.0f} MB")
        right = process.returncode == 3 and b"yaml-alias" in out.read_bytes()
        right = right and seconds <= BOMB_S and megabytes <= BOMB_MB
        tally.note("" if right else f"{file}: exit {process.returncode}, {figures[-1]}")
        (folder / file).unlink()
    tally.note_said = "; ".join(figures)
    return tally


def _children_s() -> float:
    """Processor time of all children that have ended: a busy machine stretches any other."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# A log of any size.

LOG_SLACK_MB = 16


def big_log(world: Any, megabytes: int) -> Tally:
    """A training that prints that much, and a diagnosis of its log, need no more memory than with a short one."""
    tally = Tally(f"an engine log of {megabytes} MB: memory constant")
    peaks: dict[int, tuple[float, float]] = {}
    for size in (0, megabytes):
        run = world.project / "runs" / f"log-{size}"
        process = world.train("--run-dir", str(run), FAKE_LOG_MB=str(size), FAKE_STEP_S="0.05")
        training = peak_mb_of(process)
        tally.note("" if process.returncode == 0 else f"exit {process.returncode}")
        reading = peak_mb_of(world.start("diagnose", str(run / "engine.log"), "--json"))
        peaks[size] = (training, reading)
    written = (world.project / "runs" / f"log-{megabytes}" / "engine.log").stat().st_size >> 20
    tally.note("" if written >= megabytes * 0.98 else f"the log is only {written} MB")
    for index, what in enumerate(("training", "diagnosing")):
        small, big = peaks[0][index], peaks[megabytes][index]
        tally.note("" if big - small <= LOG_SLACK_MB else f"{what}: {small:.0f} MB, then {big:.0f} MB")
    tally.note_said = f"peaks {peaks[0][0]:.0f} and {peaks[megabytes][0]:.0f} MB, diagnosing " + (
        f"{peaks[0][1]:.0f} and {peaks[megabytes][1]:.0f} MB"
    )
    return tally
