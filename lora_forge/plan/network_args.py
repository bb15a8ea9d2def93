"""Which ``network.args`` each network module of the engine reads, and as what.

Read off ``create_network`` of networks/lora_flux.py, networks/lora.py and of
lycoris-lora 3.4.0 (lycoris/kohya.py); any other key is swallowed without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lora_forge.plan.model import ArgValue

Kind = Literal["number", "whole", "switch", "text"]

_EVERY: Mapping[str, Kind] = {
    "rank_dropout": "number",
    "module_dropout": "number",
    "loraplus_lr_ratio": "number",
    "loraplus_unet_lr_ratio": "number",
    "loraplus_text_encoder_lr_ratio": "number",
}
_FLUX: Mapping[str, Kind] = {
    **_EVERY,
    **dict.fromkeys(("img_attn_dim", "txt_attn_dim", "img_mlp_dim", "txt_mlp_dim"), "whole"),
    **dict.fromkeys(("img_mod_dim", "txt_mod_dim", "single_dim", "single_mod_dim"), "whole"),
    **dict.fromkeys(("ggpo_beta", "ggpo_sigma"), "number"),
    **dict.fromkeys(("split_qkv", "train_t5xxl", "verbose"), "switch"),
    **dict.fromkeys(("in_dims", "train_blocks", "train_double_block_indices"), "text"),
    **dict.fromkeys(("train_single_block_indices", "network_reg_dims", "network_reg_lrs"), "text"),
}
_SD: Mapping[str, Kind] = {
    **_EVERY,
    "conv_dim": "whole",
    "conv_alpha": "number",
    "block_lr_zero_threshold": "number",
    **dict.fromkeys(("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"), "text"),
    **dict.fromkeys(("down_lr_weight", "mid_lr_weight", "up_lr_weight"), "text"),
}
_LYCORIS: Mapping[str, Kind] = {
    **_EVERY,
    "dropout": "number",
    "conv_dim": "whole",
    "conv_alpha": "number",
    "factor": "whole",
    "block_size": "whole",
    "constraint": "number",
    "algo": "text",
    "preset": "text",
    **dict.fromkeys(("use_tucker", "use_cp", "use_conv_cp", "disable_conv_cp", "use_scalar"), "switch"),
    **dict.fromkeys(("train_norm", "dora_wd", "wd_on_output", "full_matrix", "bypass_mode"), "switch"),
    **dict.fromkeys(("rescaled", "rs_lora", "unbalanced_factorization", "train_t5xxl", "decompose_both"), "switch"),
}

READ: Mapping[str, Mapping[str, Kind]] = {
    "networks.lora_flux": _FLUX,
    "networks.lora": _SD,
    "lycoris.kohya": _LYCORIS,
}

OWN_WORD: Mapping[str, str] = {
    "conv_dim": "network.conv_rank",
    "conv_alpha": "network.conv_alpha",
    "factor": "network.factor",
    "dropout": "network.dropout",
    "algo": "network.kind",
    "use_cp": "network.use_cp",
    "use_conv_cp": "network.use_cp",
    "disable_conv_cp": "network.use_cp",
}
"""Arguments that forge has a word for, and counts the LoRA's size by."""

RESHAPES: frozenset[str] = frozenset(
    {
        *("img_attn_dim", "txt_attn_dim", "img_mlp_dim", "txt_mlp_dim", "img_mod_dim", "txt_mod_dim"),
        *("single_dim", "single_mod_dim", "in_dims", "train_blocks", "train_double_block_indices"),
        *("train_single_block_indices", "network_reg_dims", "train_t5xxl", "block_dims", "conv_block_dims"),
        *("block_alphas", "conv_block_alphas", "preset", "train_norm", "dora_wd", "full_matrix", "use_scalar"),
        *("unbalanced_factorization", "decompose_both", "rs_lora"),
    }
)
"""Arguments that change which tensors the LoRA has, or the alphas stored in it."""


def kind_fault(kind: Kind, value: ArgValue) -> str:
    """What a value has to be, where it is not; empty where it is.

    >>> kind_fault("number", "0.1"), kind_fault("whole", 1.5), kind_fault("switch", "yes")
    ('', 'a whole number', 'true or false')
    """
    if kind == "switch":
        return "" if isinstance(value, bool) else "true or false"
    if kind == "text":
        return "" if isinstance(value, str) and value else "text"
    if isinstance(value, bool):
        return "a number"
    try:
        number = float(value)
    except ValueError:
        return "a number"
    return "a whole number" if kind == "whole" and not number.is_integer() else ""
