"""Bottleneck adapters and MAM against the ``adapters`` library and against their formulas in float64.

The library pins an older transformers, so it gets a virtual environment of its own, made here the first time (about
half a minute, with pip) in pytest's cache folder; torch and the rest are borrowed from the environment that runs the
tests. GPT2_PEFT_ADAPTERS_PYTHON=/path/to/python names one that has the library already. Where neither works, the
comparison is skipped with the reason, and the formulas are still checked.

Where the two differ. The library's places were chosen for BERT, which normalises after adding to the residual stream;
GPT-2 normalises before. Its Pfeiffer and parallel adapters therefore read GPT-2's residual stream as it is, ours
reads what the papers say: the output of the MLP, and the MLP's own (normalised) input. The library can be told to do
the same (Pfeiffer: ``original_ln_before=False``; parallel: ``ln_before=True`` with ln_2's own gain and bias), and
that is what is compared; its defaults are compared with the formula that they amount to. It also leaves the text at
position 0 behind a prefix, where Hugging Face's peft and ours start at P.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import peft
from gpt2 import load_gpt2
from gpt2.model import plain_attention

VERSION = "1.3.0"
SCRIPT = Path(__file__).parent / "adapters_side.py"
M, P, HIDDEN = 8, 5, 9  # inner width of the adapters; length of the prefix, and width of its network


# ---- the formulas, in float64 ----------------------------------------------------------------------------------------


def adapter(a, x):
    """A(x) = s · up(relu(down(x)))"""
    return a.scale * (torch.relu(x @ a.down.weight.T + a.down.bias) @ a.up.weight.T + a.up.bias)


def by_formula(model, tokens, after_attention=None, after_mlp=None, beside_mlp=None, reads_stream=False):
    """Logits of GPT-2 with adapters, written out; the arguments are functions of a block that return its adapter.

    reads_stream   the library's places: after_mlp reads x + MLP(ln_2(x)), beside_mlp reads x
    """
    heads = model.config.n_head

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def plain(layer):
        return getattr(layer, "linear", layer)

    P = model.prefix_positions()
    x = model.wte.weight[tokens] + model.wpe.weight[P : P + tokens.size(1)]
    for block in model.h:
        n = F.layer_norm(x, x.shape[-1:], block.ln_1.weight, block.ln_1.bias)
        projections = block.attn.q_proj, block.attn.k_proj, block.attn.v_proj
        q, k, v = (split(F.linear(n, projection.weight, projection.bias)) for projection in projections)
        if P:
            prefix_k, prefix_v = (part.expand(len(tokens), -1, -1, -1) for part in block.attn.prefix())
            k, v = torch.cat([prefix_k, k], dim=2), torch.cat([prefix_v, v], dim=2)
        out = plain(block.attn.out_proj)
        a = F.linear(plain_attention(q, k, v).transpose(1, 2).flatten(2), out.weight, out.bias)
        x = x + a + (adapter(after_attention(block), a) if after_attention else 0)

        n = F.layer_norm(x, x.shape[-1:], block.ln_2.weight, block.ln_2.bias)
        mlp = getattr(block.mlp, "sublayer", block.mlp)
        out = plain(mlp.fc_out)
        m = F.linear(F.gelu(F.linear(n, mlp.fc_in.weight, mlp.fc_in.bias), approximate="tanh"), out.weight, out.bias)
        if after_mlp:
            m = m + adapter(after_mlp(block), x + m if reads_stream else m)
        if beside_mlp:
            m = m + adapter(beside_mlp(block), x if reads_stream else n)
        x = x + m
    return F.linear(F.layer_norm(x, x.shape[-1:], model.ln_f.weight, model.ln_f.bias), model.wte.weight)


PLACES = {  # where each method's adapters stand
    "adapter": {
        "after_attention": lambda block: block.attn.out_proj.adapter,
        "after_mlp": lambda block: block.mlp.fc_out.adapter,
    },
    "adapter-pfeiffer": {"after_mlp": lambda block: block.mlp.fc_out.adapter},
    "adapter-parallel": {"beside_mlp": lambda block: block.mlp.adapter},
    "mam": {"beside_mlp": lambda block: block.mlp.adapter},
}
OPTIONS = {
    "adapter": {"bottleneck": M},
    "adapter-pfeiffer": {"bottleneck": M},
    "adapter-parallel": {"bottleneck": M, "adapter_scale": 4.0},
    "mam": {"bottleneck": M, "virtual_tokens": P, "prefix_hidden": HIDDEN},
}


@pytest.fixture(scope="module")
def trained(checkpoint):
    """Function: method -> our tiny model with it, every trained tensor random."""

    def build(method):
        model = peft.apply(load_gpt2(checkpoint), method, **OPTIONS[method]).eval()
        generator = torch.Generator().manual_seed(8)
        with torch.no_grad():
            for parameter in peft.trainable_parameters(model).values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        return model

    return build


@pytest.mark.parametrize("method", PLACES)
def test_formula_in_float64(trained, tokens, method):
    model = trained(method)
    ours = model(tokens)
    expected = by_formula(model.double(), tokens, **PLACES[method])
    assert (ours.double() - expected).abs().max() < 1e-5
    torch.testing.assert_close(model(tokens), expected, rtol=1e-10, atol=1e-10)


# ---- the library -----------------------------------------------------------------------------------------------------


def has_library(python: str | Path) -> bool:
    check = f"import importlib.metadata as installed; assert installed.version('adapters') == {VERSION!r}"
    return subprocess.run([python, "-c", check], cwd=Path(python).parent, capture_output=True).returncode == 0


def make_environment(folder: Path) -> Path:
    """Python of a virtual environment with the library, which imports everything else from this environment."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and has_library(python):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    inner = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    Path(inner, "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")  # searched after its own packages
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"adapters=={VERSION}"]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return python


@pytest.fixture(scope="session")
def library_python(request) -> Path:
    if named := os.environ.get("GPT2_PEFT_ADAPTERS_PYTHON"):
        if not has_library(named):
            pytest.fail(f"GPT2_PEFT_ADAPTERS_PYTHON={named} has no adapters {VERSION}")
        return Path(named)
    if not hasattr(request.config, "cache"):
        pytest.skip("pytest runs without its cache folder, where the environment for the adapters library would stand")
    try:
        python = make_environment(request.config.cache.mkdir(f"adapters-{VERSION}"))
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"no environment with adapters {VERSION}: {(getattr(error, 'stderr', None) or str(error))[-300:]}")
    return python


def names_there(model, norm=None):
    """Our trained tensors under the library's names. ``norm``: its adapters start with a norm, given ln_2's numbers."""
    places = {"attn.out_proj.adapter": "attention_adapters", "mlp.fc_out.adapter": "output_adapters"}
    places["mlp.adapter"] = "output_adapters"
    tensors = {}
    for i, block in enumerate(model.h):
        for ours, theirs in places.items():
            try:
                a = block.get_submodule(ours)
            except AttributeError:
                continue
            start = f"transformer.h.{i}.{theirs}.adapters.a."
            tensors[f"{start}adapter_down.{1 if norm else 0}.weight"] = a.down.weight
            tensors[f"{start}adapter_down.{1 if norm else 0}.bias"] = a.down.bias
            tensors[f"{start}adapter_up.weight"] = a.up.weight
            tensors[f"{start}adapter_up.bias"] = a.up.bias
            if norm:
                tensors[f"{start}adapter_norm_before.weight"] = block.ln_2.weight
                tensors[f"{start}adapter_norm_before.bias"] = block.ln_2.bias
    if model.prefix_positions():
        prefixes = [block.attn.prefix for block in model.h]
        start = "transformer.h.0.attn.prefix_tuning.pool.prefix_tunings.a.self_prefix."
        tensors[f"{start}wte.weight"] = prefixes[0].shared.start
        tensors[f"{start}control_trans.0.weight"] = prefixes[0].shared.linear.weight
        tensors[f"{start}control_trans.0.bias"] = prefixes[0].shared.linear.bias
        tensors[f"{start}control_trans.2.weight"] = torch.cat([prefix.out.weight for prefix in prefixes])
        tensors[f"{start}control_trans.2.bias"] = torch.cat([prefix.out.bias for prefix in prefixes])
    return tensors


SIZE = {"reduction_factor": 4}  # 32 / 4 = M
PREFIX = ["PrefixTuningConfig", {"prefix_length": P, "bottleneck_size": HIDDEN}]
PARALLEL = ["ParBnConfig", SIZE | {"ln_before": True}]
CASES = {  # name: our method, the library's configuration, does its adapter start with ln_2, does it read the stream
    "serial (Houlsby)": ("adapter", [["DoubleSeqBnConfig", SIZE | {"non_linearity": "relu"}]], False, False),
    "Pfeiffer": ("adapter-pfeiffer", [["SeqBnConfig", SIZE | {"original_ln_before": False}]], False, False),
    "Pfeiffer, its default": ("adapter-pfeiffer", [["SeqBnConfig", SIZE]], False, True),
    "parallel": ("adapter-parallel", [PARALLEL], True, False),
    "parallel, its default": ("adapter-parallel", [["ParBnConfig", SIZE]], False, True),
    "MAM": ("mam", [PREFIX, PARALLEL], True, False),
    "MAM, its default adapter": ("mam", [PREFIX, ["ParBnConfig", SIZE]], False, True),
}


@pytest.fixture(scope="module")
def ours(trained, tokens):
    """name -> (our model, our logits; where the library reads the residual stream, those of the formula)"""
    result = {}
    for name, (method, _, _, reads_stream) in CASES.items():
        model = trained(method)
        with torch.no_grad():
            if reads_stream:
                logits = by_formula(trained(method).double(), tokens, **PLACES[method], reads_stream=True).float()
            else:
                logits = model(tokens)
        result[name] = model, logits
    return result


@pytest.fixture(scope="module")
def theirs(library_python, checkpoint, ours, tokens, run_elsewhere, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("adapters"), []
    for name, (_, parts, norm, _) in CASES.items():
        model = ours[name][0]
        files = {kind: str(folder / f"{len(jobs)}.{kind}") for kind in ("tokens", "tensors", "out")}
        save_file({"tokens": tokens}, files["tokens"])
        tensors = {key: t.detach().clone().contiguous() for key, t in names_there(model, norm).items()}
        save_file(tensors, files["tensors"])
        job = {"name": name, "checkpoint": str(checkpoint), "parts": parts, "first_position": model.prefix_positions()}
        jobs.append({**job, **files})
    return run_elsewhere(SCRIPT, folder, jobs, lambda job: load_file(job["out"])["logits"], library_python)


@pytest.mark.parametrize("name", CASES)
def test_same_logits_as_the_library(name, ours, theirs, agree):
    agree(name, "adapters", ours[name][1], theirs[name], version=VERSION)
