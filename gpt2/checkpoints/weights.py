"""Load and save GPT-2 checkpoints in the Hugging Face layout (safetensors, which cannot carry code).

The files differ from our model in three ways, and ``layout`` is the whole dictionary between the two:
  * query, key and value lie in one matrix, ``c_attn``; ours are three layers;
  * linear weights are stored (in, out), as OpenAI's TensorFlow code had them; nn.Linear keeps (out, in);
  * names: c_proj is our out_proj or fc_out, c_fc our fc_in; all may start with ``transformer.``.
"""

import json
import math
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gpt2.checkpoints.fingerprints import plain_name, read_fingerprints, sha256, uncompiled
from gpt2.checkpoints.hub import find_checkpoint
from gpt2.classifier import has_classification_head
from gpt2.config import HEAD_DIM, SIZES, GPT2Config
from gpt2.devices import NoDraws
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.model import GPT2

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
RANDOM_SEED = 123
MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # older files carry the causal mask along


def load_gpt2(source: str | Path = "gpt2", assets: str | Path | None = None) -> GPT2:
    """A GPT2 in float32 on the CPU, in evaluation mode, whatever the precision of the file.

    source   a name of SIZES, ``auto``, a folder in the Hugging Face layout, or a .safetensors file; with ``random:``
             before it, a model of that shape with random weights, the same ones each time
    assets   a local folder to look for named models in (default: the environment variable GPT2_PEFT_ASSETS)

    Reads tensor by tensor, so memory peaks little above the model's own size. GPT-2 124M asked for by name is
    checked against the published weights' sha256. Raises InputError naming the file and tensor that is wrong.
    """
    checkpoint = find_checkpoint(source, assets)
    if checkpoint.random and checkpoint.name:
        return random_gpt2(SIZES[checkpoint.name])
    files = weight_files(checkpoint.path)
    config = read_config(checkpoint.path, files)
    if checkpoint.random:
        return random_gpt2(config)
    if checkpoint.name == "gpt2" and config != SIZES["gpt2"]:  # the tensors alone do not show the number of heads
        raise InputError(
            f"{checkpoint.path}: config.json is not GPT-2 124M's, which has {SIZES['gpt2']}; download it again, "
            "or load your own weights by their path instead of by the name gpt2"
        )
    with torch.device("cpu"), NoDraws():  # no weight is drawn at random only to be overwritten
        model = GPT2(config)
    known = read_fingerprints() if checkpoint.name == "gpt2" else None
    read_tensors(model, files, known, tied=is_tied(checkpoint.path))
    return model.eval()


def random_gpt2(config: GPT2Config) -> GPT2:
    """A model as it is before pretraining, drawn from a fixed seed; the caller's random numbers go on as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        return GPT2(config).eval()


def layout(config: GPT2Config) -> dict[str, tuple[str, ...]]:
    """Hugging Face tensor name -> the names of our parameters that lie in it, one after the other."""
    names: dict[str, tuple[str, ...]] = {
        name: (name,) for name in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias")
    }
    for i in range(config.n_layer):
        for kind in ("weight", "bias"):
            names[f"h.{i}.ln_1.{kind}"] = (f"h.{i}.ln_1.{kind}",)
            names[f"h.{i}.attn.c_attn.{kind}"] = tuple(f"h.{i}.attn.{part}_proj.{kind}" for part in "qkv")
            names[f"h.{i}.attn.c_proj.{kind}"] = (f"h.{i}.attn.out_proj.{kind}",)
            names[f"h.{i}.ln_2.{kind}"] = (f"h.{i}.ln_2.{kind}",)
            names[f"h.{i}.mlp.c_fc.{kind}"] = (f"h.{i}.mlp.fc_in.{kind}",)
            names[f"h.{i}.mlp.c_proj.{kind}"] = (f"h.{i}.mlp.fc_out.{kind}",)
    return names


def stored_in_by_out(name: str) -> bool:
    """Is this Hugging Face tensor the transpose of ours? All linear weights are."""
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a checkpoint: the file itself, or model.safetensors, or the shards of its index."""
    if path.is_file():
        if path.suffix != ".safetensors":
            raise InputError(f"{path} is not a .safetensors file; other formats can run code when they are loaded")
        return [path]
    single, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            files = [path / Path(str(shard)).name for shard in sorted(shards)]  # .name: never outside the folder
            if not files:
                raise ValueError("it names no file")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{index} is not an index of safetensors files ({error}); download it again") from error
        for file in files:
            if not file.is_file():
                raise InputError(f"{index} names {file.name}, which is not in the folder; download it again")
        return files
    pickled = " (only pickled weights, which could run code: convert them to safetensors first)"
    raise InputError(
        f"no model.safetensors in {path}{pickled if (path / 'pytorch_model.bin').exists() else ''}; "
        "expected a folder in the Hugging Face layout"
    )


def read_config(path: Path, files: list[Path]) -> GPT2Config:
    """The config.json beside the weights; without one, the shape as far as the tensors show it."""
    config_file = (path if path.is_dir() else path.parent) / "config.json"
    if not config_file.is_file():
        return guess_config(files)
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:  # JSON and Unicode errors are ValueErrors
        raise InputError(f"{config_file} is not readable as JSON ({error}); download it again") from error
    try:
        return GPT2Config.from_hugging_face(config)
    except InputError as error:
        raise InputError(f"{config_file.parent}: {error}") from error


def is_tied(path: Path) -> bool:
    """Is the head the embedding matrix, as in GPT-2, or did training part them? (After ``read_config``.)"""
    config_file = (path if path.is_dir() else path.parent) / "config.json"
    return not config_file.is_file() or json.loads(config_file.read_text("utf-8")).get("tie_word_embeddings", True)


def guess_config(files: list[Path]) -> GPT2Config:
    """A config from tensor shapes. The number of heads leaves no trace in them: known for the published widths."""
    shapes = {}
    for file in files:
        with open_safetensors(file) as tensors:
            for name in tensor_names(file):
                shapes[name.removeprefix("transformer.")] = tuple(tensors.get_slice(name).get_shape())
    wte, wpe = shapes.get("wte.weight", ()), shapes.get("wpe.weight", ())
    n_layer = len({name.split(".")[1] for name in shapes if re.match(r"h\.\d+\.", name)})
    if len(wte) != 2 or len(wpe) != 2 or not n_layer:
        raise InputError(f"{files[0]} holds no GPT-2: it lacks wte.weight, wpe.weight or blocks h.0, h.1, …")
    for known in SIZES.values():
        if (known.n_embd, known.n_layer) == (wte[1], n_layer):
            return GPT2Config(wte[0], wpe[0], wte[1], n_layer, known.n_head)
    raise InputError(
        f"{files[0]}: how many attention heads? {wte[1]} dimensions could be {wte[1] // HEAD_DIM or 1} heads "
        f"of {HEAD_DIM}, but the weights do not tell; put the model's config.json beside the file"
    )


def open_safetensors(file: Path, advice: str = "download or save it again") -> safe_open:
    """safetensors.safe_open, with its errors as one sentence. The file is mapped into memory, not read."""
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is a truncated or corrupt safetensors file ({error}); {advice}") from error


def tensor_names(file: Path) -> list[str]:
    """Names of the tensors in a safetensors file."""
    with open_safetensors(file) as tensors:
        return list(tensors.keys())


def read_tensor(file: Path, key: str) -> Tensor:
    """One tensor. The file is opened for each anew, because what was read of it stays in memory until it is closed."""
    try:
        with open_safetensors(file) as tensors:
            return tensors.get_tensor(key)
    except SafetensorError as error:
        raise InputError(f"{file}: tensor {key} cannot be read ({error}); download it again") from error


@torch.no_grad()
def read_tensors(model: GPT2, files: list[Path], known: dict[str, str] | None, tied: bool = True) -> None:
    """Copy every tensor of ``files`` to its place in ``model``, checking name, shape, dtype, finiteness and sha256.

    tied   the head must be the embedding; otherwise the model gets a head of its own
    """
    parameters, wanted, found = dict(model.named_parameters()), layout(model.config), set()
    head = None  # a stored head is only checked: ours is the embedding itself
    for file, key in [(path, name) for path in files for name in tensor_names(path)]:
        name = key.removeprefix("transformer.")
        if MASK_BUFFER.fullmatch(name):
            continue
        if name != "lm_head.weight" and name not in wanted:
            raise InputError(f"{file}: tensor {key} does not belong to a GPT-2 of {len(model.h)} blocks")
        tensor = read_tensor(file, key)
        ours = [parameters[n] for n in wanted[name]] if name in wanted else [model.wte.weight]
        check_tensor(f"{file}: tensor {key}", tensor, expected_shape(name, ours))
        if known is not None and sha256(tensor) != known[name]:
            raise InputError(
                f"{file}: tensor {key} is not GPT-2 124M's (sha256 differs); download it again, "
                "or load your own weights by their path instead of by the name gpt2"
            )
        if name in wanted:
            copy_parts(tensor.T if stored_in_by_out(name) else tensor, ours)
            found.add(name)
        else:
            head = file, key
        del tensor  # with it goes the file's mapping, before the next one is made
    missing = sorted(set(wanted) - found)
    if missing:
        raise InputError(
            f"{files[0]}: tensor {missing[0]} is missing ({len(missing)} of {len(wanted)} are); "
            "is this a whole GPT-2 checkpoint?"
        )
    if not tied:
        if head is None:
            raise InputError(f"{files[0]}: lm_head.weight is missing, which config.json says is not the embedding")
        model.lm_head.weight = nn.Parameter(read_tensor(*head).float())
    elif head and not all(map(equal_in_float32, read_tensor(*head).split(4096), model.wte.weight.split(4096))):
        raise InputError(f"{files[0]}: lm_head.weight differs from wte.weight, but GPT-2's head is tied to it")


def copy_parts(stored: Tensor, ours: list[Tensor]) -> None:
    """Copy a stored tensor into the parameters that lie in it, one after the other, in place."""
    for parameter, part in zip(ours, stored.chunk(len(ours), dim=0), strict=True):
        parameter.copy_(part)  # float16 becomes float32 on the way


def equal_in_float32(stored: Tensor, ours: Tensor) -> bool:
    """Are these the same numbers, whatever the precision of the file?"""
    return torch.equal(stored.float(), ours)


def expected_shape(name: str, ours: list[Tensor]) -> tuple[int, ...]:
    """The shape of a Hugging Face tensor that holds these parameters of ours."""
    rows = sum(len(parameter) for parameter in ours)
    shape = (rows, *ours[0].shape[1:])
    return shape[::-1] if stored_in_by_out(name) else shape


def check_tensor(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise InputError unless the tensor has this shape, a floating dtype, and only finite numbers."""
    if tuple(tensor.shape) != shape:
        raise InputError(f"{what} has shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype not in FLOATS:
        raise InputError(f"{what} is {tensor.dtype}, expected one of {', '.join(map(str, FLOATS))}")
    if not all(math.isfinite(extreme) for extreme in tensor.aminmax()):  # a NaN makes both NaN; needs no copy
        raise InputError(f"{what} holds NaN or infinite numbers; the file is damaged or its training diverged")


def has_tied_head(model: GPT2) -> bool:
    """Is the embedding matrix, in the same memory, the head too? A LoRA merged into one of them parts the two."""
    return has_classification_head(model) or model.lm_head.weight is model.wte.weight


def hugging_face_config(model: GPT2) -> dict:
    """The config.json that belongs to ``hugging_face_tensors``."""
    return model.config.to_hugging_face() | {"tie_word_embeddings": has_tied_head(model)}


def hugging_face_tensors(model: GPT2, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The model's weights under the names and in the shapes of transformers' GPT-2; on the CPU. A head is among them
    only when it is a language model's and is not the embedding matrix.

    Raises InputError for a model that a method has changed: its weights are no longer those of a plain GPT-2.
    """
    parameters = {plain_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
    tensors = {} if has_tied_head(model) else {"lm_head.weight": parameters["lm_head.weight"].detach().to("cpu", dtype)}
    if missing := [n for ours in layout(model.config).values() for n in ours if n not in parameters]:
        raise InputError(f"{missing[0]} is wrapped or quantised by a fine-tuning method; peft.merge(model) first")
    for name, ours in layout(model.config).items():
        joined = torch.cat([parameters[n].detach().to("cpu", dtype) for n in ours])
        tensors[f"transformer.{name}"] = (joined.T if stored_in_by_out(name) else joined).contiguous()
    return tensors


def save_gpt2(model: GPT2, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write ``config.json`` and ``model.safetensors``, which transformers' GPT2LMHeadModel loads, into ``folder``.

    Raises InputError for a model that a method has changed.
    """
    model = uncompiled(model)
    tensors = hugging_face_tensors(model, dtype)
    with atomic_write(Path(folder) / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(Path(folder) / "config.json", hugging_face_config(model))
