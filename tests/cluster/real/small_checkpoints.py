"""Checkpoints of two families, small and untrained: numbers that are drawn, the same at each making, and another model's tokenizer.

What such a model says means nothing, and depends on every one of its numbers: so two runs that agree to the digit computed the
same."""

import array
import json
import pathlib
import random
import shutil
import struct

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, INNER, CONTEXT = 64, 4, 2, 16, 96, 512
EXPERTS = 4

COMMON = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
          "head_dim": HEAD_DIM, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
          "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
CONFIGS = {
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 4, "attention_bias": False},
    "mixtral": {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_hidden_layers": 2,
                "num_local_experts": EXPERTS, "num_experts_per_tok": 2},
}


def layer_shapes(family):
    """Of one layer: name → rows and columns, or the length of a norm."""
    shapes = {"self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
              "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
              "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    if family == "qwen3":
        return shapes | {"self_attn.q_norm": (HEAD_DIM,), "self_attn.k_norm": (HEAD_DIM,), "mlp.gate_proj": (INNER, HIDDEN),
                         "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER)}
    shapes["block_sparse_moe.gate"] = (EXPERTS, HIDDEN)
    for expert in range(EXPERTS):
        of = f"block_sparse_moe.experts.{expert}"
        shapes |= {f"{of}.w1": (INNER, HIDDEN), f"{of}.w2": (HIDDEN, INNER), f"{of}.w3": (INNER, HIDDEN)}
    return shapes


def make(family, folder, like):
    """Writes the checkpoint into `folder`, with the tokenizer that lies in the folder `like`."""
    folder.mkdir(parents=True)
    for file in pathlib.Path(like).glob("*token*.json"):
        shutil.copy(file, folder)
    vocabulary = json.loads((like / "config.json").read_text())["vocab_size"]
    config = COMMON | CONFIGS[family] | {"vocab_size": vocabulary}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    shapes = {"model.embed_tokens": (vocabulary, HIDDEN), "model.norm": (HIDDEN,), "lm_head": (vocabulary, HIDDEN)}
    for layer in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in layer_shapes(family).items()}
    drawn = random.Random(family)
    header, data = {}, bytearray()
    for name, shape in sorted(shapes.items()):
        if len(shape) == 1:
            numbers = array.array("f", [1.0] * shape[0])
        else:
            spread = shape[1] ** -0.5
            numbers = array.array("f", [drawn.gauss(0, spread) for _ in range(shape[0] * shape[1])])
        at = len(data)
        data += numbers.tobytes()
        header[f"{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
