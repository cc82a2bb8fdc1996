"""Out of this repository: a fine-tuned model as a plain ``transformers`` folder, with nothing of ours left in it.

    method in the model ──► merged: W + s B A ──► config.json, model.safetensors       what transformers, vLLM and
                                                  vocab.json, merges.txt, …            converters to GGUF read

A method can go out this way when all it has done is to change weights. Adapters and virtual tokens are computations of
their own, which a plain GPT-2 does not do.

A base in four bits goes out in full precision: the numbers that it computed with, written out, and the update added.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file

from gpt2.checkpoints.fingerprints import plain_name, uncompiled
from gpt2.checkpoints.weights import hugging_face_config, hugging_face_tensors, layout
from gpt2.classifier import has_classification_head
from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.model import GPT2
from gpt2.tokenizer import END_OF_TEXT, SHA256, vocabulary_file
from peft.files.hugging_face import hugging_face_head
from peft.merging import merge, to_plain
from peft.quantization import QuantizedLinear
from peft.registry import METHODS
from peft.state import state_of
from peft.wrappers import plain_like

TOKENIZER_FILES = {"vocab.json": "encoder.json", "merges.txt": "vocab.bpe"}  # theirs -> OpenAI's


def export(
    model: GPT2,
    folder: str | Path,
    labels: Sequence[str] = (),
    max_length: int | None = None,
    language_model: bool = False,
    generation: Mapping | None = None,
    begin_texts: bool = False,
) -> None:
    """Write a model as a folder for transformers' ``from_pretrained``; the model itself stays as it is.

    labels           the classes' names, in order; 0, 1, … without
    max_length       tokens to which a message is cut; the model's context without
    language_model   leave out the classification head and export the language model that is below it
    generation       how a language model writes unless told otherwise: settings of transformers' ``generate``
    begin_texts      the tokenizer puts <|endoftext|> before every text, as where a language model learned plain text

    Classes are read at the last token before the padding, as ``classify`` does. Raises InputError with the reason when
    a plain GPT-2 cannot compute what this model does.
    """
    model = plain(uncompiled(model))
    classifier = has_classification_head(model) and not language_model
    config, tensors = hugging_face_config(model), hugging_face_tensors(model)
    config["n_ctx"] = config["n_positions"]  # the older name, which llama.cpp's converter asks for
    if classifier:
        score, norm = hugging_face_head(model)
        tensors |= {f"transformer.ln_f.{name}": tensor.float().cpu().contiguous() for name, tensor in norm.items()}
        tensors["score.weight"] = score.float().cpu().contiguous()
        names = list(labels) or [str(i) for i in range(len(score))]
        if len(names) != len(score) or len(set(names)) != len(names):
            raise InputError(
                f"labels are {names}, but the model has {len(score)} classes; give each a name of its own", "labels"
            )
        config |= {
            "architectures": ["GPT2ForSequenceClassification"],
            "id2label": {str(i): name for i, name in enumerate(names)},
            "label2id": {name: i for i, name in enumerate(names)},
            "pad_token_id": config["eos_token_id"],  # which token is the last one? The last that is not this
        }
    folder = Path(folder)
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", config)
    if generation is not None:
        ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END_OF_TEXT)
        write_json(folder / "generation_config.json", ids | dict(generation))
    length = min(max_length or model.config.n_positions, model.config.n_positions)
    side = "right" if classifier else "left"  # a text is written on from its end
    write_tokenizer(folder, {"model_max_length": length, "padding_side": side, "add_bos_token": begin_texts})


def plain(model: GPT2) -> GPT2:
    """A copy over the same memory, with the method merged into plain layers. Raises InputError when that is not all."""
    model = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    for name, module in list(model.named_modules()):
        if isinstance(module, QuantizedLinear):
            model.set_submodule(name, plain_like(module, module.weight))
    if model.virtual_positions() == 0 and any(to_plain(module) is not module for module in model.modules()):
        merge(model)
    known = {name for ours in layout(model.config).values() for name in ours} | {"lm_head.weight", "lm_head.bias"}
    if not {plain_name(name) for name, _ in model.named_parameters()} <= known:
        method = state_of(model).method
        elsewhere = (
            "its adapter folder loads with Hugging Face's peft (PeftModel.from_pretrained)"
            if method and METHODS[method].hugging_face
            else f"use it with peft.load and scripts/{'classify' if has_classification_head(model) else 'generate'}.py"
        )
        raise InputError(
            f"{method or 'this method'} is more than a change of weights, so no plain GPT-2 can do it; {elsewhere}"
        )
    return model


def write_tokenizer(folder: Path, settings: dict) -> None:
    """GPT-2's vocabulary, as OpenAI published it, under the names by which transformers looks for it. ``settings`` go
    into its configuration."""
    for theirs, name in TOKENIZER_FILES.items():
        content = vocabulary_file(name).read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise InputError(f"GPT-2's vocabulary file {name} is damaged; restore it: git checkout -- gpt2/vocabulary")
        with atomic_write(folder / theirs) as temporary:
            temporary.write_bytes(content)
    end = "<|endoftext|>"
    settings = {"tokenizer_class": "GPT2Tokenizer", **settings}
    settings["split_special_tokens"] = True  # "<|endoftext|>" in a message is text: no person can write a padding token
    settings |= {f"{role}_token": end for role in ("bos", "eos", "unk", "pad")}
    write_json(folder / "tokenizer_config.json", settings)
