"""What scripts/record-adapters runs: LoRA adapters as PEFT writes them, and what PEFT and transformers compute with them.

A folder of tests/model/data/adapters has adapter_config.json and adapter_model.safetensors as PEFT's save_pretrained wrote
them, with random A and B that bf16 holds exactly, and expected.json. That is computed in float64 with what PEFT reads back
from the folder, so that its configuration and names are held against PEFT too:

    sequences   two texts: what each token counts in the loss, its log-probability, and rows of logits at `positions`
    modules     what is adapted: the rank, and what B A x is multiplied with
    tensors     of each A and B, by its name in adapter_model.safetensors, what in_double.py says is written down of a
                gradient; the loss is the one of gradients.json
    merged      of each tensor that merging changes, by its name in the base's checkpoint and in that layout, norm and
                projections of its new numbers

Experts of which each token has some are parameters to transformers 5, and PEFT writes A and B of all of a layer's experts
together (target_parameters). Where `single` is asked for the file is as PEFT wrote it over transformers 4, with an A and a B
for each expert's linear layers; PEFT reads that too, and what it makes of it is recorded but for gradients, since it then
trains something else.

Dropout is off. Folders refused_* have an adapter_config.json alone: more than LoRA of linear layers.
"""

import json
import pathlib
import shutil
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from transformers import AutoModelForCausalLM

from in_double import (
    FOLDER,
    MODELS,
    Places,
    attention_of,
    gradients_of,
    in_double,
    load,
    log_probabilities,
    logits_of,
    loss_of,
    measures,
    named_as_stored,
    read_tensors,
    readable,
    rounded,
    sequences_of,
    versions,
    write,
)
from peft_names import without_conversion
from record_models import digits, generator_of, held_by_bf16, positions_of

ADAPTERS = FOLDER.parent / "adapters"
QKVO = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

# Each: the base's folder, and the configuration that PEFT is given. `dtype`: how the tensors are stored.
MADE = {
    "llama3": {"base": "llama3", "config": {"r": 4, "lora_alpha": 8, "target_modules": QKVO + MLP}, "merged_logits": True},
    "qwen2_rslora": {
        "base": "qwen2",
        "config": {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    },
    "gpt2": {
        "base": "gpt2",
        "config": {"r": 2, "lora_alpha": 4, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
    },
    "gpt2_bare": {"base": "gpt2_bare", "config": {"r": 2, "lora_alpha": 2, "target_modules": ["attn.c_attn", "mlp.c_proj"]}},
    "gemma2": {"base": "gemma2", "config": {"r": 2, "lora_alpha": 3, "target_modules": "all-linear"}},
    "phi3": {
        "base": "phi3",
        "config": {
            "r": 3,
            "lora_alpha": 6,
            "lora_dropout": 0.1,
            "target_modules": ["qkv_proj", "gate_up_proj", "o_proj", "down_proj"],
        },
    },
    "falcon_40b": {
        "base": "falcon_40b",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
        },
    },
    "gpt_bigcode": {
        "base": "gpt_bigcode",
        "config": {"r": 2, "lora_alpha": 4, "target_modules": ["c_attn", "c_proj", "c_fc"]},
    },
    # Dense layers and shared experts, not the routed ones.
    "deepseek_v3": {
        "base": "deepseek_v3",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": r".*\.(q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)"
            r"|.*\.(mlp|shared_experts)\.(gate|up|down)_proj",
        },
        "as_with_transformers_4": True,
    },
    "mixtral": {"base": "mixtral", "config": {"r": 2, "lora_alpha": 4, "target_modules": QKVO}},
    "mixtral_experts": {
        "base": "mixtral",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["q_proj", "v_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
            "rank_pattern": {"experts.down_proj": 3},
            "alpha_pattern": {"experts.gate_up_proj": 6},
        },
    },
    "qwen3_moe_experts": {
        "base": "qwen3_moe",
        "config": {
            "r": 3,
            "lora_alpha": 5,
            "use_rslora": True,
            "target_modules": ["o_proj"],
            "target_parameters": ["gate_up_proj"],
        },
    },
    "deepseek_v3_experts": {
        "base": "deepseek_v3",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["kv_b_proj", "o_proj"],
            "target_parameters": ["mlp.experts.gate_up_proj", "model.layers.2.mlp.experts.down_proj"],
        },
    },
    "mixtral_single": {
        "base": "mixtral",
        "config": {"r": 2, "lora_alpha": 3, "target_modules": ["k_proj", "w1", "w2", "w3"]},
        "single": ["w1", "w2", "w3"],
    },
    "qwen3_moe_single": {
        "base": "qwen3_moe",
        "config": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
        "single": ["gate_proj", "up_proj", "down_proj"],
    },
    "dbrx": {"base": "dbrx", "config": {"r": 4, "lora_alpha": 2, "target_modules": ["Wqkv", "out_proj"]}},
    # Of several patterns that the end of a module's name matches the first in the file counts, and PEFT writes them
    # sorted: layer 1's values had 12 when this was made, and have 6 when it is read.
    "llama_patterns": {
        "base": "llama2",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["q_proj", "v_proj", "o_proj", "down_proj"],
            "rank_pattern": {"q_proj": 3, "model.layers.1.self_attn.v_proj": 4, r"layers\.\d+\.mlp\.down_proj": 1},
            "alpha_pattern": {
                "model.layers.1.self_attn.v_proj": 12,
                "o_proj": 16,
                "^model.layers.0.self_attn.o_proj": 10,
                "layers.1.self_attn.(q|v)_proj": 6,
                "proj": 100,
            },
        },
    },
    "qwen3_layers": {
        "base": "qwen3",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": QKVO + MLP,
            "layers_to_transform": [1],
            "layers_pattern": "layers",
        },
    },
    "mistral_regex": {
        "base": "mistral",
        "config": {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": r"model\.layers\.0\.(self_attn\.(q|o)_proj|mlp\.up_proj)|.*\.1\.mlp\.down_proj",
        },
    },
    "llama_bf16": {
        "base": "llama_bf16",
        "config": {"r": 4, "lora_alpha": 8, "target_modules": QKVO},
        "dtype": torch.bfloat16,
    },
    "llama_fp8": {"base": "llama_fp8_channel", "config": {"r": 2, "lora_alpha": 4, "target_modules": QKVO + MLP}},
}

PLAIN = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
REFUSED = {
    "refused_dora": LoraConfig(**PLAIN, use_dora=True),
    "refused_bias": LoraConfig(**PLAIN, bias="all"),
    "refused_lora_bias": LoraConfig(**PLAIN, lora_bias=True),
    "refused_modules_to_save": LoraConfig(**PLAIN, modules_to_save=["lm_head"]),
    "refused_token_indices": LoraConfig(**PLAIN, trainable_token_indices=[1, 2]),
    "refused_parameters": LoraConfig(**PLAIN, target_parameters=["mlp.gate.weight"]),
    "refused_replication": LoraConfig(**PLAIN, layer_replication=[(0, 1), (0, 2)]),
    # Such adapters belong to base weights that PEFT changes when it reads them.
    "refused_pissa": LoraConfig(**PLAIN, init_lora_weights="pissa"),
    "refused_prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}


def fill(model, name):
    """Random A and B that change what a layer gives by about a third of its size."""
    with torch.no_grad():
        for key, module in model.named_modules():
            if not isinstance(module, LoraLayer):
                continue
            rank, inputs = module.r["default"], module.lora_A["default"].weight.shape[1]
            sizes = {"lora_A": inputs**-0.5, "lora_B": 0.35 * rank**-0.5 / module.scaling["default"]}
            for part, size in sizes.items():
                tensor = getattr(module, part)["default"].weight
                noise = torch.randn(tensor.shape, generator=generator_of(f"{name}/{key}.{part}"))
                tensor.copy_(held_by_bf16(noise * size))


def make(name, made, base_folder):
    """What PEFT writes, less its README.md, which says nothing."""
    folder = ADAPTERS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    dtype = made.get("dtype", torch.float32)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=dtype)
    base.name_or_path = made["base"]  # no path of this machine
    config = dict(made["config"])
    single = made.get("single")
    if single:
        config["target_modules"] = [target for target in config["target_modules"] if target not in single]
    model = get_peft_model(base, LoraConfig(**config, task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
    fill(model, name)
    save(model, folder)
    if single:
        add_single(name, made, base_folder, folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def add_single(name, made, base_folder, folder):
    """An A and a B for each expert's linear layers, in the file and in the configuration."""
    tensors = read_tensors(folder)
    rank, scale = made["config"]["r"], made["config"]["lora_alpha"] / made["config"]["r"]
    for key, weight in sorted(read_tensors(base_folder).items()):
        if ".experts." not in key:
            continue
        outputs, inputs = weight.shape
        path = f"base_model.model.{key.removesuffix('.weight')}"
        for part, shape, size in (
            ("lora_A", (rank, inputs), inputs**-0.5),
            ("lora_B", (outputs, rank), 0.35 * rank**-0.5 / scale),
        ):
            noise = torch.randn(shape, generator=generator_of(f"{name}/{path}.{part}"))
            tensors[f"{path}.{part}.weight"] = held_by_bf16(noise * size)
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    written = json.loads((folder / "adapter_config.json").read_text())
    written["target_modules"] = made["config"]["target_modules"]
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True))


def save(model, folder):
    model.save_pretrained(folder, save_embedding_layers=False)
    (pathlib.Path(folder) / "README.md").unlink()


def record_rows(model, sequences):
    """The logits of every sequence at its positions."""
    rows = []
    with in_double(), torch.no_grad():
        for sequence in sequences:
            logits = logits_of(model, sequence["ids"])
            sequence["positions"] = positions_of(len(sequence["ids"]))
            found = log_probabilities(logits, sequence["ids"])
            sequence["log_probabilities"] = [rounded(value) for value in found]
            rows.append(logits[sequence["positions"]])
    return rows


def modules_of(model, file, made):
    """By the names that the worker knows: of modules, of parameters, and of what older versions had as modules."""
    modules = {}
    for key, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        path = key.removeprefix("base_model.model.")
        if isinstance(module, ParamWrapper):
            if made.get("single"):
                continue
            path = f"{path.removesuffix('.base_layer')}.{module.parameter_name}"
        modules[path] = {"rank": module.r["default"], "scale": rounded(module.scaling["default"])}
    if made.get("single"):
        rank = made["config"]["r"]
        for key, tensor in file.items():
            if ".experts." in key and key.endswith(".lora_A.weight"):
                path = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                modules[path] = {"rank": rank, "scale": rounded(made["config"]["lora_alpha"] / rank)}
    return modules


def tensors_of(path, stored):
    """Those of the base that a module or a parameter changes."""
    whole = {"gate_up_proj": ("gate_proj", "up_proj", "w1", "w3"), "down_proj": ("down_proj", "w2")}
    layer, _, parameter = path.partition(".mlp.experts.")
    if parameter not in whole:
        return [path]
    return [
        key
        for key in stored
        if key.startswith(layer + ".") and ".experts." in key and key.split(".")[-2] in whole[parameter]
    ]


def record(name, made):
    base_name = made["base"]
    with readable(base_name) as base_folder, without_conversion(made.get("as_with_transformers_4")):
        make(name, made, base_folder)
        base = load(base_name, base_folder)
        stored = read_tensors(base_folder)
        sequences = sequences_of(base_name, MODELS[base_name]["config"])
        plain = record_rows(base, sequences)
        model = PeftModel.from_pretrained(base, ADAPTERS / name, is_trainable=True).eval()

    file = read_tensors(ADAPTERS / name)
    modules = modules_of(model, file, made)
    if 2 * len(modules) != len(file):
        sys.exit(f"{name}: {len(modules)} modules are adapted, and the file has {len(file)} tensors")
    if made.get("single"):
        with in_double(), torch.no_grad():
            loss, entries, worst = loss_of(model, sequences).item(), {}, 0.0
    else:
        parts = [tensor for key, tensor in model.named_parameters() if ".lora_" in key]
        places = Places(parts, lambda folder: save(model, folder))
        places.hold_against(file)
        loss, entries, worst = gradients_of(model, places, sequences)
    rows = record_rows(model, sequences)

    with in_double():
        merged = model.merge_and_unload()
    again = record_rows(merged, sequences)
    apart = max((ours - theirs).abs().max().item() for ours, theirs in zip(rows, again))
    if apart > 1e-10:
        sys.exit(f"{name}: merging changes logits by {apart:.1e}")
    with tempfile.TemporaryDirectory() as folder:
        merged.save_pretrained(folder)
        whole = named_as_stored(read_tensors(folder), merged, stored)
    differ = [key for key in sorted(stored) if not torch.equal(whole[key], stored[key].double())]
    changed = {key: measures(key, whole[key]) for key in differ}
    expected = sum(len(tensors_of(path, stored)) for path in modules)
    if len(changed) != expected:
        sys.exit(f"{name}: {expected} tensors are adapted, and merging changes {len(changed)}")

    for sequence, logits in zip(sequences, rows):
        sequence["logits"] = digits(logits)
    more = {"merged_logits": [digits(logits) for logits in again]} if made.get("merged_logits") else {}
    head = {"base": base_name, **versions(), "peft": peft.__version__}
    head |= {"attention": attention_of(base_name), "loss": rounded(loss)}
    path = ADAPTERS / name / "expected.json"
    write(path, head, sequences=sequences, modules=modules, tensors=entries, merged=changed, **more)
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    effect = max((ours - theirs).abs().max().item() for ours, theirs in zip(rows, plain))
    print(
        f"{name}: {size / 1024:.0f} KiB, {len(modules)} modules, changes logits by up to {effect:.2f}, finite differences "
        f"within {worst:.1e}",
        flush=True,
    )


def refuse(name):
    folder = ADAPTERS / name
    shutil.rmtree(folder, ignore_errors=True)
    config = REFUSED[name]
    config.base_model_name_or_path = "llama3"
    config.inference_mode = True
    config.save_pretrained(folder)


def main():
    names = sys.argv[1:] or [*MADE, *REFUSED]
    unknown = [name for name in names if name not in MADE and name not in REFUSED]
    if unknown:
        sys.exit(f"record-adapters: no adapter {', '.join(unknown)}; there are {', '.join([*MADE, *REFUSED])}")
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")  # what would matter is held against the file
    for name in names:
        if name in MADE:
            record(name, MADE[name])
        else:
            refuse(name)


if __name__ == "__main__":
    main()
