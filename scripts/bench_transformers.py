"""What transformers and lm-evaluation-harness do on this machine, for scripts/bench_worker.py, with the Python that has them.

    bench_transformers.py speed MODEL PREFILL DECODE REPEAT   decode and prefill in bf16, and the load
    bench_transformers.py mmlu MODEL DATA COUNT               the questions that orch_bench_worker asks

Prints one JSON object.
"""
import json
import os
import pathlib
import sys
import tempfile
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}

import torch  # noqa: E402
import transformers  # noqa: E402

torch.set_num_threads(len(os.sched_getaffinity(0)))
VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"


def seconds(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def speed(model, prefill, decode, repeat):
    decode, repeat = int(decode), int(repeat)
    begun = time.monotonic()
    it = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    loaded = time.monotonic() - begun
    vocab = it.config.vocab_size

    def text(count):
        return torch.tensor([[(i + 1) * 7919 % vocab for i in range(count)]])

    def write(count):
        it.generate(text(16), attention_mask=torch.ones(1, 16), max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)

    with torch.inference_mode():
        write(4)
        best = min(seconds(lambda: write(decode)) - seconds(lambda: write(1)) for _ in range(repeat))
        reads = []
        for count in map(int, prefill.split(",")):
            reads.append(count / min(seconds(lambda: it(input_ids=text(count), logits_to_keep=1, use_cache=True)) for _ in range(repeat)))
    return {"load_s": loaded, "decode_tokens_s": (decode - 1) / best, "prefill": reads, "versions": VERSIONS}


def mmlu(model, data, count):
    import datasets
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    data = pathlib.Path(data)
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = pathlib.Path(folder) / "cache"
        rows = {split: [json.loads(line) for line in (data / f"mmlu/{split}.jsonl").read_text().split("\n") if line] for split in ("test", "dev")}
        tasks = []
        for subject in dict.fromkeys(row["subject"] for row in rows["test"][:int(count)]):
            files = {}
            for split, some in rows.items():
                files[split] = f"{folder}/{subject}_{split}.jsonl"
                own = [row for row in some if row["subject"] == subject]
                pathlib.Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in own))
            # The harness's own task for MMLU, of these files.
            tasks.append({"task": f"bench_{subject}", "dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test",
                          "fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}, "num_fewshot": 5, "output_type": "multiple_choice",
                          "description": f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n",
                          "doc_to_text": "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:",
                          "doc_to_choice": ["A", "B", "C", "D"], "doc_to_target": "answer", "metric_list": [{"metric": "acc"}]})
        begun = time.monotonic()
        it = HFLM(pretrained=model, device="cpu", dtype="bfloat16", batch_size=8)
        loaded = time.monotonic() - begun
        done = lm_eval.simple_evaluate(model=it, tasks=tasks, bootstrap_iters=0, verbosity="ERROR")
        taken = time.monotonic() - begun
    count = sum(done["n-samples"][task]["effective"] for task in done["n-samples"])
    return {"seconds": taken, "load_s": loaded, "samples": count, "versions": f"lm-eval {lm_eval.__version__}, batches of 8, {VERSIONS}"}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("speed", "mmlu"):
        sys.exit(__doc__)
    print(json.dumps({"speed": speed, "mmlu": mmlu}[sys.argv[1]](*sys.argv[2:])))
