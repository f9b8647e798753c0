"""How record_adapters.py and check_adapter.py have PEFT read adapters of mixtures of experts."""

import contextlib

import peft.utils.transformers_weight_conversion as conversion


@contextlib.contextmanager
def without_conversion(wanted=True):
    """PEFT as it is with transformers 4, where every name in an adapter is that of a linear layer.

    With transformers 5, which has the routed experts of a layer in one parameter, PEFT takes `gate_proj`, `up_proj` and
    `down_proj` of DeepSeek and Qwen3 for these parameters, and no longer for the dense layers and shared experts that
    have the same names.
    """
    kept = conversion.get_checkpoint_conversion_mapping
    if wanted:
        conversion.get_checkpoint_conversion_mapping = lambda model_type: None
    try:
        yield
    finally:
        conversion.get_checkpoint_conversion_mapping = kept
