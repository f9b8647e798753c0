"""What the scripts record-gradients, record-adapters and record-train-losses share: transformers in float64 throughout,
and what is written down of a gradient.

Models say float32 in many places: norms, softmax, routers, angles of rotation, tables made when they are built. InDouble
has all of these compute in float64, without a change to the mathematics, and Watch sees to it that none was missed.

A gradient of n numbers g is written down as

    norm          sqrt(sum_i g_i^2)
    projections   for k = 0, 1, 2: sum_i sign(k, name, i) * g_i
    difference    (loss(w + h*d) - loss(w - h*d)) / 2h with d_i = sign(0, name, i): projection 0 once more, without a
                  backward pass

where i counts the numbers in the order in which the file has them, and

    sign(k, name, i) = splitmix64(1000 * k + crc32(name) + i) >> 63 ? -1 : +1

in unsigned numbers of 64 bits, crc32 as zlib has it (of the name's bytes), and splitmix64 the one step

    z = x + 0x9e3779b97f4a7c15;  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^ (z >> 31)
"""

import contextlib
import json
import math
import pathlib
import sys
import tempfile
import zlib

import numpy
import safetensors.torch
import torch
import transformers
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from record_models import FOLDER, MODELS, generator_of

STEP = 1e-6
PROJECTIONS = 3


class InDouble(TorchFunctionMode):
    """Every float32 that a model asks for is a float64."""

    def __enter__(self):
        self.default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *what):
        torch.set_default_dtype(self.default)
        return super().__exit__(*what)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {key: torch.float64 if arg is torch.float32 else arg for key, arg in (kwargs or {}).items()}
        return function(*args, **kwargs)


class Watch(TorchDispatchMode):
    """Stops where a float32 or float16 is computed. The bf16 of Falcon's ALiBi is left: it is exact there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.dtype in (torch.float32, torch.float16):
                raise RuntimeError(f"{function} gives {leaf.dtype}, in a model that is to compute in float64")
        return result


@contextlib.contextmanager
def in_double():
    with InDouble(), Watch():
        yield


def read_tensors(folder):
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(safetensors.torch.load_file(path))
    return tensors


def named_as_stored(tensors, model, stored):
    """A folder may have its names without the prefix that transformers writes."""
    bare = {name.removeprefix(model.base_model_prefix + "."): tensor for name, tensor in tensors.items()}
    return bare if set(bare) == set(stored) else tensors


def multiplied_out(tensors):
    """fp8 matrices times their scales, in fp32 as record_models has them; the scales are gone."""
    whole = {}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float8_e4m3fn:
            if not name.endswith(("_scale", "_scale_inv")):
                whole[name] = tensor
            continue
        rows, cols = tensor.shape
        if name + "_scale_inv" in tensors:
            scales = tensors[name + "_scale_inv"].repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :cols]
        else:
            scales = tensors[name + "_scale"].expand(rows, cols)
        whole[name] = tensor.float() * scales
    return whole


def has_fp8(name):
    return "fp8" in MODELS[name]


@contextlib.contextmanager
def readable(name):
    """The folder of a family as transformers can read it: without fp8, and with a model_type that it knows."""
    folder, known_as = FOLDER / name, MODELS[name].get("as")
    if not has_fp8(name) and not known_as:
        yield folder
        return
    with tempfile.TemporaryDirectory() as other:
        config = json.loads((folder / "config.json").read_text())
        config["model_type"] = known_as or config["model_type"]
        (pathlib.Path(other) / "config.json").write_text(json.dumps(config))
        tensors = multiplied_out(read_tensors(folder))
        safetensors.torch.save_file(tensors, pathlib.Path(other) / "model.safetensors", metadata={"format": "pt"})
        yield pathlib.Path(other)


def attention_of(name):
    return MODELS[name].get("attention", "eager")


def load(name, folder):
    with InDouble():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation=attention_of(name), experts_implementation="eager"
        )
    for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            raise RuntimeError(f"{name}: {key} is {tensor.dtype}")
    return model.eval()


def splitmix64(x):
    z = x + numpy.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return z ^ (z >> numpy.uint64(31))


def signs(name, k, shape):
    seed = numpy.uint64(1000 * k + zlib.crc32(name.encode()))
    bits = splitmix64(seed + numpy.arange(math.prod(shape), dtype=numpy.uint64)) >> numpy.uint64(63)
    return torch.from_numpy(1.0 - 2.0 * bits.astype(numpy.float64)).reshape(shape)


def rounded(value):
    return float(f"{float(value):.10g}")


def measures(name, values):
    """What is written down of a tensor."""
    values = values.double()
    return {
        "norm": rounded(values.norm()),
        "projections": [rounded((signs(name, k, values.shape) * values).sum()) for k in range(PROJECTIONS)],
    }


def window_of(config):
    """The sliding window that some layer has, 0: none."""
    used = config.get("use_sliding_window", True)
    return (config.get("sliding_window") or 0) if used else 0


def sequences_of(name, config):
    """Two texts and what each of their tokens counts in the loss: nothing in what stands for a prompt, and at one place
    behind it. The longer one is longer than a sliding window, and no longer than what dynamic scaling leaves alone."""
    longest = max(21, window_of(config) + 7)
    if (config.get("rope_scaling") or {}).get("type") == "dynamic":
        longest = config["max_position_embeddings"] - 2
    generator = generator_of(name + "/gradients")
    sequences = []
    for length, prompt in ((longest, 6), (14, 3)):
        ids = torch.randint(1, config["vocab_size"], (length,), generator=generator).tolist()
        sizes = torch.randint(4, 65, (length,), generator=generator).tolist()
        counts = [size / 32 * (-1 if i % 5 == 4 else 1) for i, size in enumerate(sizes)]
        counts[:prompt] = [0.0] * prompt
        counts[length - 4] = 0.0
        sequences.append({"ids": ids, "coefficients": counts})
    return sequences


def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def log_probabilities(logits, ids):
    """Of each token but the first, given those before it; the first has 0."""
    rows = torch.log_softmax(logits[:-1], dim=-1)
    return torch.cat([rows.new_zeros(1), rows.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]])


def loss_of(model, sequences):
    """-(sum over the tokens t >= 1 of each sequence of coefficient_t * log p(token_t | those before it))"""
    loss = torch.zeros((), dtype=torch.float64)
    for sequence in sequences:
        found = log_probabilities(logits_of(model, sequence["ids"]), sequence["ids"])
        loss = loss - (torch.tensor(sequence["coefficients"], dtype=torch.float64) * found).sum()
    return loss


class Places:
    """Where each number of a file is among the numbers of a model.

    transformers renames, fuses and stacks what a checkpoint has one by one. `save(folder)` writes the model as a file;
    it is done once with each number's place in its stead.
    """

    def __init__(self, tensors, save):
        self.tensors, self.starts, self.size = [], [], 0
        for tensor in {id(tensor): tensor for tensor in tensors}.values():  # tied ones once
            self.tensors.append(tensor)
            self.starts.append(self.size)
            self.size += tensor.numel()
        kept = self.flat(lambda tensor: tensor)
        self.put(torch.arange(self.size, dtype=torch.float64))
        with tempfile.TemporaryDirectory() as folder:
            save(folder)
            self.of = {name: places.long() for name, places in read_tensors(folder).items()}
        self.put(kept)

    def flat(self, part):
        """One long vector of what `part` says of each tensor; None are zeros."""
        values = [part(tensor) for tensor in self.tensors]
        pairs = zip(values, self.tensors)
        return torch.cat([torch.zeros(t.numel()).double() if v is None else v.detach().flatten() for v, t in pairs])

    def put(self, flat):
        with torch.no_grad():
            for tensor, start in zip(self.tensors, self.starts):
                tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))

    def hold_against(self, stored):
        """Stops when the model's numbers are not those of the file, each at its place."""
        values = self.flat(lambda tensor: tensor)
        if set(stored) != set(self.of):
            raise RuntimeError(f"names differ: {sorted(set(stored) ^ set(self.of))}")
        for name, tensor in stored.items():
            if not torch.equal(values[self.of[name]], tensor.double()):
                raise RuntimeError(f"{name} is not what the file has")


def gradients_of(model, places, sequences):
    """The loss and, for each name of the file, what is written down of its gradient, held against finite differences."""
    with in_double():
        loss = loss_of(model, sequences)
        loss.backward()
    kept = places.flat(lambda tensor: tensor)
    gradient = places.flat(lambda tensor: tensor.grad)
    entries, worst = {}, 0.0
    for name, at in places.of.items():
        entry = measures(name, gradient[at])
        direction = torch.zeros(places.size, dtype=torch.float64)
        direction[at] = signs(name, 0, at.shape)
        ends = []
        for way in (1, -1):
            places.put(kept + way * STEP * direction)
            with in_double(), torch.no_grad():
                ends.append(loss_of(model, sequences).item())
        found = (ends[0] - ends[1]) / (2 * STEP)
        projection = entry["projections"][0]
        # A loss is exact to some 1e-14, a difference therefore to some 1e-8, and a projection may be near 0 by chance.
        apart = abs(found - projection) / max(abs(projection), 1e-3 * entry["norm"], 1e-3)
        if apart > 1e-5:
            sys.exit(f"{name}: the gradient's projection is {projection}, by finite differences {found}")
        worst = max(worst, apart)
        entry["difference"] = rounded(found)
        entries[name] = entry
    places.put(kept)
    return loss.item(), entries, worst


def hold_against_reference(model, name):
    """Stops when this is not the model of which record_models.py recorded logits in fp32."""
    reference = json.loads((FOLDER / name / "reference.json").read_text())
    for entry in reference["inputs"]:
        with in_double(), torch.no_grad():
            logits = logits_of(model, entry["ids"])[entry["positions"]]
        wanted = torch.tensor(entry["logits"], dtype=torch.float64)
        apart = ((logits - wanted).abs().max() / wanted.abs().max()).item()
        if apart > 2e-5:
            sys.exit(f"{name}: logits of {len(entry['ids'])} tokens are {apart:.1e} from those in reference.json")


def versions():
    return {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def write(path, head, **lists):
    """JSON with one line for each entry of the lists and maps behind the head."""
    text = json.dumps(head)[:-1]
    for key, entries in lists.items():
        if isinstance(entries, dict):
            lines = ",\n".join(f"{json.dumps(name)}:{compact(entry)}" for name, entry in entries.items())
            text += f', "{key}": {{\n{lines}\n}}'
        else:
            lines = ",\n".join(compact(entry) for entry in entries)
            text += f', "{key}": [\n{lines}\n]'
    path.write_text(text + "}\n")
