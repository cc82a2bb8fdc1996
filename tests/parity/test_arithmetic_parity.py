"""Arithmetic on updates, number by number against Hugging Face's peft: TIES, DARE, intruders, and methods as LoRAs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import peft
from gpt2 import load_gpt2
from gpt2.classifier import add_classification_head, classify
from peft.anatomy import Change, intruders, remove_intruders, to_lora
from peft.combining import combine, low_rank
from peft.files.adapter import CONFIG_FILE

SCRIPT = Path(__file__).parent / "hf_arithmetic_side.py"
CLASSES, PAD = 3, 96
SHAPE, RANK, TOP, EPSILON, KEEP = (12, 10), 3, 6, 0.6, 0.25
WEIGHTS = [0.7, -0.4, 1.5]
COMBINED = {  # ours -> the library's function, and the share that it keeps
    "svd": ("task_arithmetic", None),
    "ties_svd": ("ties", 0.4),
    "dare_linear_svd": ("dare_linear", 0.3),
    "dare_ties_svd": ("dare_ties", 0.6),
}
CONVERTED = {  # name -> method, how much to keep: each saved here as a LoRA, and loaded there
    **{f"{name}, whole": (name, {"energy": 1.0}) for name, method in peft.METHODS.items() if method.exportable},
    **{f"{name}, cut": (name, {"rank": 2}) for name in ("full", "selective", "dora", "ia3", "minlora", "qlora")},
    "full, a share": ("full", {"energy": 0.7}),
}
for nothing in ("head", "bitfit", "layernorm"):  # change no matrix
    del CONVERTED[f"{nothing}, whole"]


def updates() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(SHAPE, generator=generator) for _ in WEIGHTS]


def layer() -> dict[str, torch.Tensor]:
    """One linear layer with a LoRA strong enough to intrude."""
    generator = torch.Generator().manual_seed(8)
    shapes = {"W": SHAPE, "A": (RANK, SHAPE[1]), "B": (SHAPE[0], RANK)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def theirs(run_elsewhere, library_version, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("arithmetic"), []
    for name, (function, density) in COMBINED.items():
        job = {"name": name, "function": function, "seed": 3}
        jobs.append(job | ({} if density is None else {"density": density}))
        given = {str(i): update for i, update in enumerate(updates())} | {"weights": torch.tensor(WEIGHTS)}
        save_file(given, folder / f"{name}.in.safetensors")
    settings = {"top": TOP, "epsilon": EPSILON, "keep": KEEP, "rank": RANK}
    jobs.append({"name": "intruders", "function": "intruders", **settings})
    save_file(layer(), folder / "intruders.in.safetensors")
    return run_elsewhere(SCRIPT, folder, jobs, lambda job: load_file(folder / f"{job['name']}.safetensors"))


@pytest.mark.parametrize("combination_type", COMBINED)
def test_combined_updates(combination_type, theirs, agree):
    """The random masks of DARE are the same, for the same seed: both draw them by torch.bernoulli, task by task."""
    density = COMBINED[combination_type][1]
    ours = combine(updates(), WEIGHTS, combination_type, density or 1.0, torch.Generator().manual_seed(3))
    agree(f"combined by {combination_type}", "peft", ours, theirs[combination_type]["result"], 1e-6)


def test_intruders(theirs, agree):
    W, A, B = layer().values()
    change = Change(W.double(), (B @ A).double())
    found = intruders(change, TOP, EPSILON)
    assert len(found) == theirs["intruders"]["found"].item() and 0 < len(found) < TOP
    U, values, Vt = torch.linalg.svd(change.before + change.delta, full_matrices=False)
    delta = change.delta - (1 - KEEP) * (U[:, found] * values[found]) @ Vt[found]
    rank_3 = torch.mm(*reversed(low_rank(delta, RANK)))  # they cut what is left to the adapter's rank
    agree("intruders scaled down", "peft", rank_3.float(), theirs["intruders"]["delta"], 1e-5)


def trained(checkpoint, method: str, seed: int = 4, classes: int | None = CLASSES, **options):
    torch.manual_seed(seed)
    model = load_gpt2(checkpoint)
    if classes:
        add_classification_head(model, classes)
        torch.nn.init.normal_(model.lm_head.bias)
    peft.apply(model, method, **options)
    with torch.no_grad():
        for parameter in peft.trainable_parameters(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope="module")
def messages() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(PAD, (3, 11), generator=torch.Generator().manual_seed(2))
    return tokens, torch.tensor([11, 7, 4])


@pytest.fixture(scope="module")
def travelled(checkpoint, hf_travel, messages, tmp_path_factory):
    """name -> our logits, and theirs: of methods as LoRAs, for classes and for words; and of combined adapters."""
    root, ours, jobs = tmp_path_factory.mktemp("as-lora"), {}, []

    def send(name: str, model, classes: int | None, **rest) -> None:
        with torch.no_grad():
            ours[name] = classify(model, *messages) if classes else model(messages[0][:1])[0]
        jobs.append({"name": name, "checkpoint": str(checkpoint), "classes": classes, "pad": PAD} | rest)

    for classes in (CLASSES, None):
        for name, (method, how_much) in CONVERTED.items():
            model = to_lora(trained(checkpoint, method, classes=classes), load_gpt2(checkpoint), **how_much)
            folder = root / f"{name} {classes}"
            peft.save(model, folder)
            assert '"peft_type": "LORA"' in (folder / CONFIG_FILE).read_text()
            send(f"{name} {classes}", model, classes, job="load", adapter=str(folder))
    adapters = peft.Adapters(load_gpt2(checkpoint))
    for i, name in enumerate(("a0", "a1")):  # not q, k, v: their one layer c_attn is trimmed as a whole
        options = {"rank": 3 + i, "target_modules": "out_proj,fc_in,fc_out"}
        peft.save(trained(checkpoint, "lora", seed=i, classes=None, **options), root / name)
        adapters.add(name, root / name)
    more = {"combination_type": "ties_svd", "density": 0.4}
    model = adapters.add_weighted_adapter({"a0": 0.7, "a1": 0.4}, **more)
    folders = [str(root / name) for name in ("a0", "a1")]
    send("ties", model, None, job="combine", adapters=folders, weights=[0.7, 0.4], more=more)
    return ours, hf_travel(jobs, *messages)


@pytest.mark.parametrize("classes", [CLASSES, None])
@pytest.mark.parametrize("name", CONVERTED)
def test_methods_as_lora_there(name, classes, travelled, agree):
    ours, theirs = travelled
    name = f"{name} {classes}"
    agree(f"as a LoRA, loaded there: {name} classes", "peft", ours[name], theirs[name])


def test_ties_of_two_adapters(travelled, agree):
    ours, theirs = travelled
    agree("TIES of two LoRA", "peft", ours["ties"], theirs["ties"])


def test_a_model_without_its_intruders_is_a_lora_too(checkpoint):
    """Removed, then converted: the two functions of anatomy.py go together."""
    model, base = trained(checkpoint, "lora", rank=2, alpha=64), load_gpt2(checkpoint)
    plain, found = remove_intruders(model, top=4, epsilon=0.7)
    assert any(found.values())
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(to_lora(plain, base, energy=1.0)(tokens), plain(tokens), atol=1e-4, rtol=1e-4)
