"""Makes the engine's models small, from outside: widths shrink as its modules are imported.

Python imports this file at start-up where its folder is on PYTHONPATH. Without
FORGE_TEST_TINY=1 it does nothing; with it, only the engine's own modules are
touched, so forge's Python may see it too. Names and numbers of blocks and
layers stay the true ones: a LoRA has as many modules as on the real model.

FORGE_TEST_CUDA_NORMS=1, beside it, lets fp8 SD 1.5 and SDXL run without a GPU:
CUDA's autocast runs norms in float32, whatever their weights; the CPU's does
not, and fails on fp8 ones. Without this switch the tests see that failure.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from dataclasses import replace

SWITCH = "FORGE_TEST_TINY"
CUDA_NORMS_SWITCH = "FORGE_TEST_CUDA_NORMS"

FLUX = {"hidden_size": 64, "num_heads": 4, "axes_dim": [4, 6, 6], "vec_in_dim": 64, "context_in_dim": 48}
T5 = {"d_model": 48, "d_ff": 96, "d_kv": 12, "num_heads": 4, "num_layers": 2}
CLIP_WIDTHS = {768: 64, 1280: 80}  # CLIP-L and bigG stay different, so that a mix-up shows
CHANNELS = 32  # the least that 32 norm groups allow
SIZE_EMBEDDING = 6 * 256  # SDXL's sizes and crops, beside the pooled text


def _flux_models(module):
    for spec in module.configs.values():
        spec.params = replace(spec.params, **FLUX)
        spec.ae_params = replace(spec.ae_params, ch=CHANNELS)


def _flux_utils(module):
    module.CLIPConfig = _small_clip(module.CLIPConfig)
    t5_config = module.T5Config
    module.T5Config = lambda **settings: t5_config(**{**settings, **T5})


def _original_unet(module):
    _norms_as_on_cuda()
    module.BLOCK_OUT_CHANNELS = (CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS)
    module.TIMESTEP_INPUT_DIM = CHANNELS
    module.TIME_EMBED_DIM = 4 * CHANNELS


def _model_util(module):
    module.UNET_PARAMS_MODEL_CHANNELS = CHANNELS
    module.UNET_PARAMS_CONTEXT_DIM = CLIP_WIDTHS[768]
    module.VAE_PARAMS_CH = CHANNELS
    module.CLIPTextConfig = _small_clip(module.CLIPTextConfig)


def _sdxl_original_unet(module):
    _norms_as_on_cuda()
    module.MODEL_CHANNELS = CHANNELS
    module.TIME_EMBED_DIM = 4 * CHANNELS
    module.ADM_IN_CHANNELS = CLIP_WIDTHS[1280] + SIZE_EMBEDDING
    module.CONTEXT_DIM = sum(CLIP_WIDTHS.values())
    true_init = module.Transformer2DModel.__init__

    def small_init(self, *args, **settings):  # the class stays itself: networks find it by its name
        true_init(self, *args, **{**settings, "cross_attention_dim": module.CONTEXT_DIM})

    module.Transformer2DModel.__init__ = small_init


def _sdxl_model_util(module):
    module.CLIPTextConfig = _small_clip(module.CLIPTextConfig)


def _small_clip(config_class):
    def make(**settings):
        width = CLIP_WIDTHS[settings["hidden_size"]]
        small = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
        return config_class(**{**settings, **small, "num_attention_heads": 4})

    return make


def _norms_as_on_cuda():
    from torch.nn import functional

    for name in ("group_norm", "layer_norm") if os.environ.get(CUDA_NORMS_SWITCH) == "1" else ():
        norm = getattr(functional, name)
        if norm.__module__ != __name__:  # SDXL imports the SD 1.5 module too
            setattr(functional, name, _in_float32(norm))


def _in_float32(norm):
    def run(x, shape, weight=None, bias=None, eps=1e-5):
        if weight is None or not str(weight.dtype).startswith("torch.float8"):
            return norm(x, shape, weight, bias, eps)
        return norm(x.float(), shape, weight.float(), None if bias is None else bias.float(), eps)

    return run


PATCHES = {
    "library.flux_models": _flux_models,
    "library.flux_utils": _flux_utils,
    "library.original_unet": _original_unet,
    "library.model_util": _model_util,
    "library.sdxl_original_unet": _sdxl_original_unet,
    "library.sdxl_model_util": _sdxl_model_util,
}


class TinyFinder:
    """Lets Python find the engine's modules as always, and patches each right after it has run."""

    def find_spec(self, name, path=None, target=None):
        patch = PATCHES.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if patch else None
        if patch is None or spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_then_patch(module):
            run(module)
            patch(module)

        spec.loader.exec_module = run_then_patch
        return spec


def install():
    """Idempotent: a second installation would shrink what is small already.

    One thread, whatever accelerate asks for: on tensors this small a second one only waits,
    and on a busy machine it turns seconds into minutes.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if not any(type(finder).__name__ == TinyFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, TinyFinder())


if os.environ.get(SWITCH) == "1":
    install()
