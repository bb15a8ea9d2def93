"""Makes tiny FLUX, SD 1.5 and SDXL base models for the engine tests, by the engine's own classes.

Run by the engine's Python with the engine's checkout as working directory:

    python make_tiny_models.py FOLDER [--seed 7] [--family flux --family sd15 --family sdxl]

FOLDER then holds tiny-flux.safetensors with tiny-clip-l, tiny-t5xxl and tiny-ae,
tiny-sd15.safetensors, tiny-sdxl.safetensors, and tokenizers/. They load only in
an engine with the same small widths (see sitecustomize.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUEST = HERE.parents[2] / "lora_forge" / "guest" / "demo_models.py"
FLUX_BLOCKS = {"double_blocks": 2, "single_blocks": 2}


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--family", action="append", choices=sorted(MAKERS))
    args = parser.parse_args(argv)
    sys.path.insert(0, str(Path.cwd()))
    load("sitecustomize_tiny", HERE / "sitecustomize.py").install()
    guest = load("demo_models", GUEST)
    args.folder.mkdir(parents=True, exist_ok=True)
    guest.write_tokenizers(args.folder / "tokenizers")
    for family in args.family or MAKERS:
        MAKERS[family](args.folder, args.seed, guest)


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make_flux(folder, seed, guest):
    random = guest.random_weights(seed)
    guest.write_weights(folder / "tiny-flux.safetensors", guest.flux_shapes(**FLUX_BLOCKS), random)
    guest.write_weights(folder / "tiny-clip-l.safetensors", guest.clip_l_shapes(), random)
    guest.write_weights(folder / "tiny-t5xxl.safetensors", guest.t5xxl_shapes(), random)
    guest.write_weights(folder / "tiny-ae.safetensors", guest.ae_shapes(), random)


def make_sd15(folder, seed, _guest):
    import torch
    from diffusers import AutoencoderKL
    from library import model_util, original_unet
    from transformers import CLIPTextModel

    torch.manual_seed(seed)
    unet = original_unet.UNet2DConditionModel(**model_util.create_unet_diffusers_config(False))
    text_encoder = CLIPTextModel(text_settings(model_util, 768, 12))
    vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
    path = str(folder / "tiny-sd15.safetensors")
    model_util.save_stable_diffusion_checkpoint(False, path, text_encoder, unet, None, 0, 0, None, torch.float16, vae)


def make_sdxl(folder, seed, _guest):
    import torch
    from diffusers import AutoencoderKL
    from library import model_util, sdxl_model_util, sdxl_original_unet
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    unet = sdxl_original_unet.SdxlUNet2DConditionModel()
    one = CLIPTextModel(text_settings(sdxl_model_util, 768, 12))
    two = CLIPTextModelWithProjection(text_settings(sdxl_model_util, 1280, 32))
    vae = AutoencoderKL(**model_util.create_vae_diffusers_config())
    path = str(folder / "tiny-sdxl.safetensors")
    scale = torch.tensor(4.6)
    sdxl_model_util.save_stable_diffusion_checkpoint(path, one, two, unet, 0, 0, None, vae, scale, None, torch.float16)


def text_settings(module, width, layers):
    """True width and layers in; the patched class makes the width small."""
    return module.CLIPTextConfig(
        vocab_size=49408, hidden_size=width, num_hidden_layers=layers, max_position_embeddings=77
    )


MAKERS = {"flux": make_flux, "sd15": make_sd15, "sdxl": make_sdxl}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
