"""Causes that lie in what the engine was given: pictures, captions, caches, models, options, environment."""

from __future__ import annotations

from lora_forge.errors import DatasetError, Diverged, EngineError, InvalidInput, NoUsableLora, PlanError, Transient
from lora_forge.runs.diagnosis_row import cause

VERIFY = "forge engine verify, then forge engine install --force"
PICTURE = r"(?P<file>\S.*?\.(?i:png|jpe?g|webp|bmp))"
HUB = "--tokenizers DIR that holds openai_clip-vit-large-patch14 and the family's others, or go online once"
LDM_KEYS = (
    "time_embed|double_blocks|single_blocks|input_blocks|conditioner|cond_stage_model|first_stage_model|text_model"
)
DISTINCT = "a base model of the plan's family: `forge models locate` shows what each file is"

INPUT_CAUSES = (
    cause(
        "latents-nan", Diverged, "the autoencoder made NaN of a picture: {file}",
        "--set engine.options.no_half_vae=true (SDXL), or --set precision.mixed=bf16",
        r"NaN detected in latents: (?P<file>.+)",
        seen="S", source="train_util.py:3098",
    ),
    cause(
        "captions-nan", Diverged, "the text encoder made NaN of a caption: {file}", "--set precision.mixed=bf16",
        r"NaN detected in text encoder outputs: (?P<file>.+)",
        seen="S", source="train_util.py:3170",
    ),
    cause(
        "diverged", Diverged, "the training diverged (NaN or Inf)",
        "--set optimizer.learning_rate at half the value, or --set precision.mixed=bf16",
        r"the loss is (?:nan|-?inf)|\bavr_loss=(?:nan|inf)|\bloss[=: ]+(?:nan|inf)\b", r"returned nan values",
        seen="R", source="lora_forge/guest, the engine's progress bar",
    ),
    cause(
        "cache-damaged", Transient, "a cache file is damaged: {file}",
        "forge diagnose RUN --mend removes it, and the next start makes it anew",
        r"Error loading file: (?P<file>.+?\.npz)\b", r"(?:latents|clip_l)\S* not found in (?P<file>.+?\.npz)\b",
        r"(?P<file>/[^'\"]*\.npz)\b.*(?:not a zip|pickle|CRC|corrupt)",
        r"(?:zipfile\.)?BadZipFile:|EOFError: No data left in file|zlib\.error: Error",
        r"ValueError: This file contains pickled \(object\) data|Cannot load file containing pickled",
        seen="R", source="strategy_base.py:469 and 589, numpy, zipfile",
    ),
    cause(
        "bad-image", DatasetError, "a picture cannot be read: {file}",
        "forge dataset check; save the picture anew or remove it",
        rf"Error loading file: {PICTURE}\b", rf"cannot identify image file '?{PICTURE}'?",
        rf"Could not load image path[^:]*: {PICTURE}, error",
        r"image file is truncated|broken data stream when reading image|DecompressionBombError",
        r"cannot identify image file|broken PNG file|Truncated File Read",
        seen="R", source="train_util.py:2960 and 6638, Pillow",
    ),
    cause(
        "caption-empty", DatasetError, "a caption file is empty: {file}",
        "forge dataset check; write the caption or remove the file",
        r"caption file is empty[^:]*: (?P<file>.+)",
        seen="R", source="train_util.py:1964",
    ),
    cause(
        "caption-encoding", DatasetError, "a caption is not UTF-8: {file}", "save it as UTF-8",
        r"illegal char in file \(not UTF-8\)[^:]*: (?P<file>.+)", r"UnicodeDecodeError: 'utf-?8'",
        seen="S", source="train_util.py:1960",
    ),
    cause(
        "no-data", NoUsableLora, "the engine found no images to train on", "run `forge dataset check`",
        r"No data found|found no images to train on",
        seen="R", source="train_network.py:576",
    ),
    cause(
        "xformers-missing", EngineError, "xformers was asked for and is not installed",
        "leave `xformers` out of engine.options: torch's own attention (sdpa) is as fast",
        r"No xformers /|No module named 'xformers'|xformers is not available", r"package `?xformers`? .*not installed",
        seen="R", source="train_util.py:3371",
    ),
    cause(
        "bitsandbytes", EngineError, "bitsandbytes does not work here",
        "--set optimizer.name=AdamW needs none of it; forge engine verify looks at the environment",
        r"No bitsandbytes /|No module named 'bitsandbytes'|CUDA Setup failed despite|libbitsandbytes_\w+\.so",
        r"use bitsandbytes native library functionality|bitsandbytes was compiled without GPU",
        r"NoneType' object has no attribute 'c\w+'",
        r"undefined symbol: c(?:quantize|adam|get_managed)\w*|Configured (?:CUDA|ROCm) binary not found",
        r"Error named symbol not found",
        seen="S", source="train_util.py:4894, bitsandbytes/cextension.py",
    ),
    cause(
        "tokenizer-missing", InvalidInput, "a tokenizer or model is not on this machine and the hub cannot be reached",
        HUB,
        r"couldn't connect to 'https?://huggingface|We couldn't connect to|OfflineModeIsEnabled",
        r"LocalEntryNotFoundError",
        r"Can't load tokenizer for|Max ?[Rr]etr\w+.*huggingface\.co|Failed to resolve \\?'huggingface",
        r"outgoing traffic has been disabled",
        r"model is not cached locally and an error occurred while trying to fetch",
        r"Cannot find the requested files in the (?:disk )?cache",
        seen="R", source="transformers, huggingface_hub, diffusers",
    ),
    cause(
        "hub-refused", InvalidInput, "the model hub asks for a permission that this account lacks",
        "accept the model's terms on its page and set HF_TOKEN, or name local files",
        r"GatedRepoError|access to model .* is restricted|401 Client Error.*huggingface|RepositoryNotFoundError",
        seen="I", source="huggingface_hub",
    ),
    cause(
        "model-missing", InvalidInput, "a model file is not there: {file}", "forge models locate",
        r"FileNotFoundError: No such file or directory: \"?(?P<file>[^\"]+\.(?:safetensors|ckpt|pt|bin|sft))",
        r"\[Errno 2\] No such file or directory: '(?P<file>[^']+\.(?:safetensors|ckpt|pt|bin|sft))'",
        r"\"(?P<file>[^\"]+)\" is neither a valid local path nor a valid repo id",
        r"Error no file named (?P<file>\S+) found in directory",
        seen="R", source="safetensors, diffusers",
    ),
    cause(
        "model-damaged", InvalidInput, "a model file is cut off or no safetensors file at all",
        "download it again; `forge models locate` says which file is broken",
        r"Error while deserializing header|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader\w*|HeaderTooSmall",
        r"PytorchStreamReader failed|UnpicklingError|Weights only load failed|invalid load key",
        seen="R", source="safetensors, torch.load",
    ),
    cause(
        "model-wrong", InvalidInput, "a model file is of another family than the plan's", DISTINCT,
        r"size mismatch for \S+: copying a param|Error\(s\) in loading state_dict for|Unsupported fp8 model dtype",
        rf"KeyError: '(?:{LDM_KEYS}|encoder\.)[\w.]*'",
        r"max\(\) (?:arg|iterable argument) is (?:an )?empty(?: sequence)?|unexpected key in (?:SD|DiffUsers model): ",
        r"(?:Missing|Unexpected) key\(s\) in state_dict",
        seen="R", source="flux_utils.py:67, model_util.py:270, torch",
    ),
    cause(
        "state-mismatch", PlanError, "the saved state belongs to another network or optimizer",
        "start a new run: rank, kind and text-encoder mode must stay as they were to resume",
        r"loaded state dict has a different number of parameter groups",
        r"loaded state dict contains a parameter group that",
        seen="R", source="torch.optim",
    ),
    cause(
        "options-refused", PlanError, "the engine refused its options: {said}",
        "forge plan --rendered shows what was sent",
        r": error: (?P<said>(?:unrecognized arguments|argument |ambiguous option|the following arguments).*)",
        r"(?:MultipleInvalid|voluptuous\.error\.\w+): (?P<said>.+)", r"TomlDecodeError: (?P<said>.+)",
        r"(?P<said>\S+\.toml not found\.)",
        seen="R", source="argparse, voluptuous (config_util.py), toml",
    ),
    cause(
        "environment-broken", EngineError, "the engine's Python environment is damaged: {said}", VERIFY,
        r"^\s*ModuleNotFoundError: (?P<said>No module named .+)", r"^\s*ImportError: (?P<said>.+)",
        r"(?P<said>undefined symbol: \S+|version `GLIBC\w*_[\d.]+' not found)",
        r"(?P<said>numpy\.dtype size changed|_ARRAY_API not found)",
        r"(?P<said>can't open file '[^']*(?:guest|accelerate|_train_network)[^']*')",
        seen="R", source="Python",
    ),
)  # fmt: skip
