"""What scripts/record-models runs: small random models of every family, and what transformers computes with them.

A folder's config.json is written as the family's published ones are; config_written.json is the same as transformers
writes it today (rope_parameters, layer_types, …). Weights are numbers that bf16 holds exactly, and
are stored as such; transformers computes with them in fp32, and once in bf16. The reference is always computed with what
transformers read back from the folder, so that config.json and the names of tensors are held against it too.
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile
import zlib

import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/model/data/families"
VOCAB = 96
LENGTHS = [1, 17, 50]
GREEDY = 8

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}


def like(base, **more):
    return {**base, **more}


LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MISTRAL = like(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=12)
QWEN2 = like(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], rms_norm_eps=1e-6, rope_theta=1000000.0)
QWEN3 = like(QWEN2, model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=16, attention_bias=False)
QWEN3_MOE = like(
    QWEN3,
    model_type="qwen3_moe",
    architectures=["Qwen3MoeForCausalLM"],
    num_hidden_layers=3,
    moe_intermediate_size=16,
    num_experts=8,
    num_experts_per_tok=3,
    norm_topk_prob=True,
    decoder_sparse_step=1,
    mlp_only_layers=[1],
)
MIXTRAL = like(
    LLAMA,
    model_type="mixtral",
    architectures=["MixtralForCausalLM"],
    intermediate_size=24,
    num_local_experts=6,
    num_experts_per_tok=2,
    rope_theta=1000000.0,
    sliding_window=30,
)
GEMMA = like(
    LLAMA,
    model_type="gemma",
    architectures=["GemmaForCausalLM"],
    head_dim=16,
    num_key_value_heads=1,
    hidden_act="gelu_pytorch_tanh",
    hidden_activation="gelu_pytorch_tanh",
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)
GEMMA2 = like(
    GEMMA,
    model_type="gemma2",
    architectures=["Gemma2ForCausalLM"],
    num_hidden_layers=3,
    num_key_value_heads=2,
    query_pre_attn_scalar=24,
    sliding_window=12,
    attn_logit_softcapping=2.0,
    final_logit_softcapping=3.0,
    cache_implementation="hybrid",
)
PHI3 = like(
    LLAMA,
    model_type="phi3",
    architectures=["Phi3ForCausalLM"],
    sliding_window=20,
    rope_scaling=None,
    original_max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
FALCON = {
    "model_type": "falcon",
    "architectures": ["FalconForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCAB,
    "layer_norm_epsilon": 1e-5,
    "max_position_embeddings": 128,
    "rope_theta": 10000.0,
    "alibi": False,
    "bias": False,
    "multi_query": True,
    "parallel_attn": True,
    "new_decoder_architecture": False,
    "torch_dtype": "float32",
}
DEEPSEEK = like(
    LLAMA,
    model_type="deepseek_v3",
    architectures=["DeepseekV3ForCausalLM"],
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=4,
    rms_norm_eps=1e-6,
    q_lora_rank=24,
    kv_lora_rank=16,
    qk_nope_head_dim=16,
    qk_rope_head_dim=8,
    v_head_dim=12,
    moe_intermediate_size=16,
    n_routed_experts=8,
    n_shared_experts=2,
    num_experts_per_tok=3,
    n_group=4,
    topk_group=2,
    first_k_dense_replace=1,
    moe_layer_freq=1,
    norm_topk_prob=True,
    routed_scaling_factor=2.5,
    scoring_func="sigmoid",
    topk_method="noaux_tc",
    attention_bias=False,
    rope_scaling={
        "type": "yarn",
        "factor": 4,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 32,
    },
)
GPT = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": None,
    "n_positions": 64,
    "vocab_size": VOCAB,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "torch_dtype": "float32",
}
BIGCODE = like(
    GPT,
    model_type="gpt_bigcode",
    architectures=["GPTBigCodeForCausalLM"],
    activation_function="gelu_pytorch_tanh",
    multi_query=True,
    attention_softmax_in_fp32=True,
    scale_attention_softmax_in_fp32=True,
)
# transformers reads the base of DBRX's rotation from the root alone, published files have it in attn_config.
DBRX = {
    "model_type": "dbrx",
    "architectures": ["DbrxForCausalLM"],
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 2,
    "max_seq_len": 128,
    "vocab_size": VOCAB,
    "rope_theta": 500000.0,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 1.5, "rope_theta": 500000.0},
    "ffn_config": {
        "ffn_hidden_size": 24,
        "moe_num_experts": 6,
        "moe_top_k": 3,
        "moe_normalize_expert_weights": 1.0,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

# Each: a configuration, and how it is stored. `as`: the model_type under which transformers computes it.
MODELS = {
    "llama2": {"config": like(LLAMA, num_key_value_heads=4)},
    "llama_biases": {"config": like(LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=20)},
    "llama3": {"config": like(LLAMA, head_dim=16, rope_theta=500000.0, rope_scaling=LLAMA3_SCALING), "sharded": True},
    "llama_linear": {"config": like(LLAMA, head_dim=16, rope_scaling={"type": "linear", "factor": 2.5}, num_key_value_heads=1)},
    # Its input of 17 is shorter than what it was trained on and grows beyond it while it is continued; 50 is longer.
    "llama_dynamic": {
        "config": like(LLAMA, head_dim=16, max_position_embeddings=20, rope_scaling={"type": "dynamic", "factor": 2.0})
    },
    "llama_yarn": {
        "config": like(
            LLAMA,
            head_dim=16,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 4.0,
                "beta_fast": 4.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 32,
            },
        )
    },
    "llama_bf16": {"config": like(LLAMA, torch_dtype="bfloat16")},
    "llama_fp8_tensor": {"config": like(LLAMA), "fp8": "tensor"},
    "llama_fp8_channel": {"config": like(LLAMA), "fp8": "channel"},
    "llama_fp8_block": {
        "config": like(LLAMA, hidden_size=136, intermediate_size=132, num_hidden_layers=1, vocab_size=64),
        "fp8": "block",
    },
    "xverse": {"config": like(LLAMA, num_key_value_heads=4, rms_norm_eps=1e-6), "as": "llama", "type": "xverse"},
    "mistral": {"config": MISTRAL},
    "mistral_no_window": {"config": like(MISTRAL, sliding_window=None, head_dim=16, rope_theta=1000000.0)},
    "mixtral": {"config": MIXTRAL},
    "qwen2": {"config": like(QWEN2, use_sliding_window=False, sliding_window=12, max_window_layers=1)},
    "qwen2_window": {
        "config": like(
            QWEN2, use_sliding_window=True, sliding_window=12, max_window_layers=1, tie_word_embeddings=True
        )
    },
    "qwen3": {"config": like(QWEN3, tie_word_embeddings=True)},
    "qwen3_moe": {"config": QWEN3_MOE},
    "qwen3_moe_window": {
        "config": like(
            QWEN3_MOE,
            norm_topk_prob=False,
            decoder_sparse_step=2,
            mlp_only_layers=[],
            use_sliding_window=True,
            sliding_window=12,
            max_window_layers=1,
        )
    },
    "gemma": {"config": GEMMA},
    "gemma2": {"config": GEMMA2},
    "phi3": {"config": PHI3},
    "phi3_longrope": {
        "config": like(
            PHI3,
            hidden_size=48,
            num_attention_heads=3,
            num_key_value_heads=3,
            partial_rotary_factor=0.75,
            original_max_position_embeddings=32,
            sliding_window=None,
            rope_scaling={
                "type": "longrope",
                "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                "long_factor": [1.1, 1.6, 2.4, 3.0, 3.6, 4.0],
            },
        )
    },
    "falcon_40b": {"config": like(FALCON, new_decoder_architecture=True, num_kv_heads=2)},
    "falcon_7b": {"config": FALCON},
    # With attention of its own ("eager") transformers adds the bias of ALiBi twice; with torch's, which it takes unless it
    # is told otherwise, once.
    "falcon_rw": {
        "config": like(FALCON, alibi=True, multi_query=False, parallel_attn=False, bias=True),
        "attention": "sdpa",
    },
    "falcon_180b": {"config": like(FALCON, new_decoder_architecture=True, num_kv_heads=4, bias=True)},
    "falcon_11b": {
        "config": like(
            FALCON,
            new_decoder_architecture=True,
            num_kv_heads=2,
            num_ln_in_parallel_attn=1,
            ffn_hidden_size=160,
            tie_word_embeddings=False,
        )
    },
    "dbrx": {"config": DBRX},
    "deepseek_v3": {"config": DEEPSEEK},
    "deepseek_v3_no_q_rank": {
        "config": like(
            DEEPSEEK,
            q_lora_rank=None,
            rope_scaling=None,
            rope_interleave=False,
            norm_topk_prob=False,
            n_group=1,
            topk_group=1,
            n_shared_experts=1,
        )
    },
    # Heads enough for kv_b_proj to have blocks below each other.
    "deepseek_v3_fp8": {
        "config": like(DEEPSEEK, num_attention_heads=6, num_key_value_heads=6, num_hidden_layers=2),
        "fp8": "block",
    },
    "gpt2": {"config": GPT},
    "gpt2_bare": {"config": like(GPT, n_inner=80, activation_function="gelu"), "bare": True},
    "gpt_bigcode": {"config": BIGCODE},
    "gpt_bigcode_heads": {"config": like(BIGCODE, multi_query=False)},
}


def generator_of(text):
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


def held_by_bf16(values):
    return values.to(torch.bfloat16).to(torch.float32)


def fill(model, name):
    """Random numbers of the size that keeps every layer's results of order 1."""
    tied = model.config.tie_word_embeddings
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    persistent = set(model.state_dict())
    with torch.no_grad():
        for key, tensor in tensors.items():
            if key not in persistent or not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator_of(name + "/" + key))
            last = key.split(".")[-1]
            if "correction_bias" in key:
                values = 0.1 * noise
            elif last == "bias":
                values = 0.2 * noise
            elif tensor.dim() == 1:  # norms; Gemma's are stored less 1
                values = 0.2 * noise + (0.0 if "gemma" in model.config.model_type else 1.0)
            elif "embed" in key or "wte" in key or "wpe" in key:
                values = noise * (1.2 / math.sqrt(tensor.shape[-1]) if tied else 1.0)
            else:
                inputs = tensor.shape[0] if "Conv1D" in str(type(owner_of(model, key))) else tensor.shape[-1]
                sharper = 1.6 if any(part in key for part in ("q_", "k_", "query", "qkv", "c_attn")) else 1.0
                values = sharper * noise / math.sqrt(inputs)
            tensor.copy_(held_by_bf16(values))


def owner_of(model, key):
    return model.get_submodule(key.rsplit(".", 1)[0]) if "." in key else model


def scales_of(weight, kind):
    """fp8's scales: the largest number of each part becomes 448, the largest of e4m3."""
    rows, cols = weight.shape
    if kind == "tensor":
        return (weight.abs().max() / 448).reshape(1), lambda s: s.expand(rows, cols)
    if kind == "channel":
        return weight.abs().amax(dim=1, keepdim=True) / 448, lambda s: s.expand(rows, cols)
    down, across = (rows + 127) // 128, (cols + 127) // 128
    scales = torch.empty(down, across)
    for i in range(down):
        for j in range(across):
            scales[i, j] = weight[i * 128 : i * 128 + 128, j * 128 : j * 128 + 128].abs().max() / 448
    return scales, lambda s: s.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]


def store_fp8(folder, kind):
    """The layers' matrices as fp8 with scales, as published checkpoints have them; returns all tensors multiplied out."""
    path = folder / "model.safetensors"
    tensors, whole = {}, {}
    for key, weight in safetensors.torch.load_file(path).items():
        if "_proj" not in key or not key.endswith(".weight"):
            tensors[key] = whole[key] = weight
            continue
        scales, spread = scales_of(weight.float(), kind)
        stored = (weight.float() / spread(scales)).to(torch.float8_e4m3fn)
        tensors[key] = stored
        tensors[key + ("_scale_inv" if kind == "block" else "_scale")] = scales
        if kind == "tensor":
            tensors[key.replace(".weight", ".input_scale")] = torch.ones(1)
        whole[key] = stored.float() * spread(scales)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    return whole


def inputs_of(name, vocab):
    generator = generator_of(name + "/ids")
    return [torch.randint(1, vocab, (length,), generator=generator).tolist() for length in LENGTHS]


def positions_of(length):
    return sorted({0, length // 3, length // 2, length - 2, length - 1} & set(range(length)))


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


class Choices:
    """What the routers choose: what the experts behind them are given."""

    def __init__(self, model):
        self.layers = []
        for name, module in model.named_modules():
            if type(module).__name__.endswith("Experts"):
                module.register_forward_pre_hook(self.keep, with_kwargs=True)

    def keep(self, module, args, kwargs):
        self.layers.append((args[1] if len(args) > 1 else kwargs["top_k_index"]).tolist())


def digits(rows):
    return [[float(f"{value:.7g}") for value in row] for row in rows.tolist()]


def record(name, model_of):
    config = model_of["config"]
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def write_config(model_type):
        text = json.dumps({**config, "model_type": model_type}, indent=1) + "\n"
        (folder / "config.json").write_text(text)

    known_as = model_of.get("as", config["model_type"])
    write_config(known_as)
    made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    fill(made, name)
    stored = made.to(torch.bfloat16)
    size = sum(tensor.numel() * 2 for tensor in stored.state_dict().values())
    stored.save_pretrained(folder, max_shard_size=size // 3 if model_of.get("sharded") else "1GB")
    (folder / "config.json").rename(folder / "config_written.json")
    write_config(known_as)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "model.safetensors"
    if model_of.get("bare"):
        tensors = safetensors.torch.load_file(path)
        tensors = {key.removeprefix("transformer."): tensor for key, tensor in tensors.items()}
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    whole = store_fp8(folder, model_of["fp8"]) if "fp8" in model_of else {}

    attention = model_of.get("attention", "eager")

    def read_back(dtype):
        with tempfile.TemporaryDirectory() as other:
            if whole:
                shutil.copy(folder / "config.json", other)
                safetensors.torch.save_file(whole, pathlib.Path(other) / "model.safetensors", metadata={"format": "pt"})
            read = other if whole else folder
            model = AutoModelForCausalLM.from_pretrained(read, dtype=dtype, attn_implementation=attention)
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        return model.eval()

    model = read_back(torch.float32)
    head = {
        "model": name,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "attention": attention,
        "parameters": model.num_parameters(),
    }
    entries = []
    choices = Choices(model)
    inputs = inputs_of(name, config["vocab_size"])
    rough = read_back(torch.bfloat16)
    for ids in inputs:
        choices.layers.clear()
        logits = logits_of(model, ids)
        positions = positions_of(len(ids))
        entry = {"ids": ids, "positions": positions, "logits": digits(logits[positions])}
        if choices.layers:
            entry["experts"] = [[sorted(row) for row in layer] for layer in choices.layers]
        if len(ids) == 17:
            in_bf16 = logits_of(rough, ids)
            entry["bf16_error"] = float((in_bf16 - logits).norm() / logits.norm())
        if len(ids) > 1:
            made = model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                max_new_tokens=GREEDY,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            steps = torch.stack([step[0] for step in made.logits])
            best = steps.topk(2, dim=-1).values
            entry["greedy"] = made.sequences[0, len(ids) :].tolist()
            entry["greedy_gap"] = float((best[:, 0] - best[:, 1]).min())
            entry["greedy_last_logits"] = digits(steps[-1:])[0]
        entries.append(entry)
    for file in folder.iterdir():
        file.chmod(0o644)
    if "type" in model_of:
        write_config(model_of["type"])
        written = json.loads((folder / "config_written.json").read_text())
        (folder / "config_written.json").write_text(json.dumps({**written, "model_type": model_of["type"]}, indent=1))
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    head = json.dumps(head)[:-1]
    (folder / "reference.json").write_text(f'{head}, "inputs": [\n{lines}\n]}}\n')
    size = sum(file.stat().st_size for file in folder.iterdir())
    spread = max(abs(value) for entry in entries for row in entry["logits"] for value in row)
    gap = min(entry.get("greedy_gap", math.inf) for entry in entries)
    print(f"{name}: {size // 1024} KiB, logits up to {spread:.1f}, least gap of two best tokens {gap:.4f}", flush=True)


def main():
    names = sys.argv[1:] or list(MODELS)
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        sys.exit(f"record-models: no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    torch.set_num_threads(1)
    for name in names:
        record(name, MODELS[name])


if __name__ == "__main__":
    main()
