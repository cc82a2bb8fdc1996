"""Adapter files from anybody: each bad one gets one line, builds nothing large, and runs nothing."""

import json
import pickle
import random
import struct
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file, save_file

import peft
from gpt2.errors import InputError
from peft.files.adapter import CONFIG_FILE, TENSOR_FILE
from peft.switching import over

ROUNDS = 2000
METHODS = ("lora", "dora", "minlora", "ia3", "layernorm", "p-tuning", "prefix", "adapter", "bitfit", "mam", "qlora")
THEIRS = ("lora", "dora", "ia3", "layernorm", "prompt", "p-tuning-v2")  # as if Hugging Face's peft had written them


@pytest.fixture
def saved(new_model, randomise, tmp_path):
    """saved(method) -> a valid adapter folder; with theirs=True without what only we write into it."""

    def saved(method: str, theirs: bool = False):
        folder = tmp_path / f"{method}-{theirs}"
        peft.save(randomise(peft.apply(new_model(), method)), folder)
        if theirs:
            config = json.loads((folder / CONFIG_FILE).read_text())
            ours = ("method", "options", "num_classes", "base_config", "base_fingerprint")
            (folder / CONFIG_FILE).write_text(json.dumps({k: v for k, v in config.items() if k not in ours}))
            tensors = load_file(folder / TENSOR_FILE)
            tensors = {name: t for name, t in tensors.items() if not name.startswith("gpt2_peft.")}
            save_file(tensors, folder / TENSOR_FILE)
        return folder

    return saved


@pytest.fixture
def fresh(new_model):
    """fresh(): the language model below the classifier that the adapters were trained on."""

    def fresh():
        model = new_model()
        model.lm_head = torch.nn.Linear(*reversed(model.wte.weight.shape), bias=False)
        model.lm_head.weight = model.wte.weight
        return model

    return fresh


@pytest.fixture
def refused(fresh):
    """refused(folder, said): loading it ends in one line that says so, with little memory touched on the way."""

    def refused(folder, said: str) -> None:
        model = fresh()
        tracemalloc.start()
        before = peak_memory()
        with pytest.raises(InputError, match=said) as error:
            peft.load(model, folder)
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "\n" not in str(error.value) and str(error.value).isprintable() and len(str(error.value)) < 1000
        assert traced < 4_000_000 and peak_memory() - before < 50  # Python's own memory; and that of the process, in MB

    return refused


def peak_memory() -> float:
    from gpt2.devices import peak_memory_mb

    return peak_memory_mb(torch.device("cpu"))


def edit(folder, **changes) -> None:
    file = folder / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_options(folder, **changes) -> None:
    edit(folder, options=json.loads((folder / CONFIG_FILE).read_text())["options"] | changes)


def with_header(folder, change) -> None:
    """Rewrite the tensor file's header by ``change(header dict)``, its data as they are."""
    file = folder / TENSOR_FILE
    raw = file.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    text = json.dumps(change(header) or header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n :])


def rename_last(header: dict, name: str) -> None:
    header[name] = header.pop(max(header))


TENSOR_FILES = {
    "empty": (lambda f: (f / TENSOR_FILE).write_bytes(b""), "truncated or corrupt"),
    "cut in the header": (
        lambda f: (f / TENSOR_FILE).write_bytes((f / TENSOR_FILE).read_bytes()[:100]),
        "truncated or corrupt",
    ),
    "cut in the data": (
        lambda f: (f / TENSOR_FILE).write_bytes((f / TENSOR_FILE).read_bytes()[:-100]),
        "truncated or corrupt",
    ),
    "header of 8 TB": (
        lambda f: (f / TENSOR_FILE).write_bytes(struct.pack("<Q", 2**43) + (f / TENSOR_FILE).read_bytes()[8:]),
        "header would be 8,796,093,022,208 bytes",
    ),
    "a pickle": (lambda f: (f / TENSOR_FILE).write_bytes(pickle.dumps(Explosive())), "truncated or corrupt"),
    "a path as a name": (
        lambda f: with_header(f, lambda h: rename_last(h, "../../../etc/cron.d/x")),
        r"\.\./etc/cron\.d/x does not belong",
    ),
    "line breaks in a name": (lambda f: with_header(f, lambda h: rename_last(h, "a\nb\x1b[2J")), r"a\\nb\\x1b"),
    "a very long name": (
        lambda f: with_header(f, lambda h: rename_last(h, "x" * 100_000)),
        "xxx does not belong|is missing",
    ),
    "terabytes in a shape": (
        lambda f: with_header(f, lambda h: h[max(h)].update(shape=[2**40, 2**20])),
        "truncated or corrupt",
    ),
    "a negative shape": (lambda f: with_header(f, lambda h: h[max(h)].update(shape=[-1, -3])), "truncated or corrupt"),
    "unknown dtype": (lambda f: with_header(f, lambda h: h[max(h)].update(dtype="Q7")), "truncated or corrupt"),
    "wrong dtype": (lambda f: rewrite(f, lambda t: t.to(torch.int64)), "I64, expected"),
    "double precision": (lambda f: rewrite(f, lambda t: t.double()), "F64, expected"),
    "wrong shape": (lambda f: rewrite(f, lambda t: t[:-1].contiguous()), "has shape|do not fit"),
    "not a number": (lambda f: rewrite(f, lambda t: t * float("nan")), "NaN or infinite"),
    "one missing": (lambda f: rewrite(f, lambda t: t, lambda names: names[1:]), "is missing|options ask for"),
    "one too many": (lambda f: rewrite(f, lambda t: t, lambda names: [*names, "more"]), "more does not belong"),
    "not there": (lambda f: (f / TENSOR_FILE).unlink(), "adapter_model.safetensors is missing"),
}


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def rewrite(folder, change, choose=lambda names: names) -> None:
    tensors = load_file(folder / TENSOR_FILE)
    first = next(iter(tensors.values()))
    save_file(
        {name: change(tensors.get(name, first.clone())) for name in choose(sorted(tensors))}, folder / TENSOR_FILE
    )


@pytest.mark.parametrize("theirs", [False, True])
@pytest.mark.parametrize("what", TENSOR_FILES)
def test_tensor_files(what, theirs, saved, refused):
    folder = saved("lora", theirs)
    spoil, said = TENSOR_FILES[what]
    spoil(folder)
    refused(folder, said)


CONFIGS = {
    "not JSON": (lambda f: (f / CONFIG_FILE).write_text("{'method': 1"), "not an adapter's configuration"),
    "not UTF-8": (lambda f: (f / CONFIG_FILE).write_bytes(b"\xff\xfe{}"), "not an adapter's configuration"),
    "a list": (lambda f: (f / CONFIG_FILE).write_text("[]"), "it names no method"),
    "a very deep list": (lambda f: (f / CONFIG_FILE).write_text("[" * 100_000), "not an adapter's configuration"),
    "an endless file": (lambda f: (f / CONFIG_FILE).write_text(" " * 2_000_000), "far too long"),
    "a huge integer": (lambda f: (f / CONFIG_FILE).write_text('{"method": ' + "9" * 10_000 + "}"), "not an adapter's"),
    "unknown method": (lambda f: edit(f, method="os.system"), "method 'os.system' with"),
    "a method of another type": (lambda f: edit(f, method=["lora"]), "is unknown"),
    "another peft_type": (lambda f: edit(f, peft_type="IA3"), "with this peft_type is unknown"),
    "another method": (
        lambda f: edit(f, method="adapter", peft_type="GPT2_PEFT_ADAPTER", options={}),
        "does not belong",
    ),
    "options of another type": (lambda f: edit(f, options=[1]), "must be an object"),
    "unknown option": (lambda f: edit_options(f, __class__="x"), "has no such option"),
    "an option's old name": (
        lambda f: edit_options(f, target="all"),
        "called target_modules now; rename it in adapter_c",
    ),
    "another base": (lambda f: edit(f, base_fingerprint="0" * 64), "trained on another base model"),
    "a billion classes": (lambda f: edit(f, num_classes=10**9), "options ask for"),
    "one class": (lambda f: edit(f, num_classes=True), "num_classes must be"),
    "a rank of a billion": (lambda f: edit_options(f, rank=10**9), "options ask for"),
    "a rank beyond that": (lambda f: edit_options(f, rank=10**30), "expected a number from -1,000,000,000 to"),
    "another rank": (lambda f: edit_options(f, rank=9), "has shape .*, expected"),
    "a smaller rank": (lambda f: edit_options(f, rank=7), "has shape .*, expected"),
    "rank as a text": (lambda f: edit_options(f, rank="8"), "expected int"),
    "no rank": (lambda f: edit_options(f, rank=True), "expected int"),
    "alpha infinite": (lambda f: edit_options(f, alpha=float("inf")), "expected a number from -1,000,000,000 to"),
    "alpha NaN": (lambda f: edit_options(f, alpha=float("nan")), "expected a number from -1,000,000,000 to"),
    "all blocks there could be": (lambda f: edit_options(f, layers_to_transform="0-999999999999"), "has blocks 0 to"),
    "no such layer": (lambda f: edit_options(f, target_modules="../../x"), "no module is called"),
    "not there": (lambda f: (f / CONFIG_FILE).unlink(), "adapter_config.json is missing"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configurations(what, saved, refused):
    folder = saved("lora")
    spoil, said = CONFIGS[what]
    spoil(folder)
    refused(folder, said)


THEIR_CONFIGS = {
    "unknown type": ({"peft_type": "VERA"}, "'VERA' is unknown here"),
    "a type of another type": ({"peft_type": {}}, "is unknown here"),
    "wrong rank": ({"r": 5}, "has rank 8 in the file, but 5"),
    "alpha as a text": ({"lora_alpha": "8"}, "lora_alpha is '8'"),
    "alpha huge": ({"lora_alpha": 10**400}, "lora_alpha is"),
    "a pattern that computes for years": ({"alpha_pattern": {"(a*)*b": 1}}, "is not the name of a module"),
    "another formula": ({"use_qalora": True}, "use_qalora, which changes more"),
    "another base": ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4, which changes more"),
}


@pytest.mark.parametrize("what", THEIR_CONFIGS)
def test_configurations_of_theirs(what, saved, refused):
    folder = saved("lora", theirs=True)
    changes, said = THEIR_CONFIGS[what]
    edit(folder, **changes)
    refused(folder, said)


@pytest.mark.parametrize(
    "method, changes",
    [
        ("p-tuning", {"encoder_hidden": 10**9, "encoder_layers": 10**9}),
        ("prefix", {"prefix_hidden": 10**9}),
    ],
)
def test_networks_that_only_training_needs_are_not_built(method, changes, saved, fresh):
    folder = saved(method)
    edit_options(folder, **changes)
    peft.load(fresh(), folder)  # at once


def test_virtual_tokens_fit_the_file(saved, refused):
    folder = saved("p-tuning")
    edit_options(folder, virtual_tokens=47)
    refused(folder, "options ask for")
    edit_options(folder, virtual_tokens=10**9)
    refused(folder, "from 1 to 47")


def test_only_a_pickle_beside(saved, refused):
    folder = saved("lora", theirs=True)
    (folder / TENSOR_FILE).rename(folder / "adapter_model.bin")
    refused(folder, "could run code when loaded, so convert it")


VALUES = [
    0,
    1,
    -1,
    7,
    2**31,
    2**63,
    10**9,
    1e308,
    -0.5,
    True,
    None,
    "",
    "x",
    "lora",
    "0-1",
    "*",
    "[",
    [],
    [1],
    {},
    {"a": 1},
]


def mutate_json(text: bytes, rng: random.Random) -> bytes:
    """Another value, name or structure somewhere; or another byte."""
    if rng.random() < 0.3:
        return mutate_bytes(text, rng)
    config = json.loads(text)
    target = config
    while rng.random() < 0.6 and (inner := [value for value in target.values() if isinstance(value, dict) and value]):
        target = rng.choice(inner)
    key = rng.choice(list(target))
    if rng.random() < 0.2:
        del target[key]
    elif rng.random() < 0.2:
        target[rng.choice(list(config) + ["x"])] = rng.choice(VALUES)
    else:
        target[key] = rng.choice(VALUES)
    return json.dumps(config).encode()


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in; most of them where the header is."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(len(data), 3000)) if rng.random() < 0.8 else rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 50)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 50)]
        else:
            data[at:at] = rng.choice([b"9", b"0", b'"', b"{", b"]", b",", b"-", b"\\u0000", b"F16", b"I64"])
        if not data:
            break
    return bytes(data)


@pytest.mark.slow
def test_fuzzing(saved, fresh, tmp_path):
    """Thousands of damaged files: every load works or ends in one line, and builds nothing large."""
    rng, model, before = random.Random(0), fresh(), peak_memory()
    folders = [saved(method) for method in METHODS] + [saved(method, theirs=True) for method in THEIRS]
    files = [{name: (folder / name).read_bytes() for name in (CONFIG_FILE, TENSOR_FILE)} for folder in folders]
    valid = tmp_path / "fuzzed"
    valid.mkdir()
    loaded = 0
    for round_ in range(ROUNDS):
        content = dict(rng.choice(files))
        which = rng.choice([CONFIG_FILE, TENSOR_FILE])
        content[which] = (mutate_json if which == CONFIG_FILE else mutate_bytes)(content[which], rng)
        for name, data in content.items():
            (valid / name).write_bytes(data)
        try:
            peft.load(over(model), valid)
            loaded += 1
        except InputError as error:
            assert "\n" not in str(error), round_
        except Exception as error:
            raise AssertionError(f"round {round_}, {which}: {content[which][:2000]!r}") from error
    assert 0.02 * ROUNDS < loaded < 0.9 * ROUNDS
    assert peak_memory() - before < 100  # MB
