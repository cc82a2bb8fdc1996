"""The unified view: adapters, prefixes and LoRA are one idea with different settings (arXiv:2110.04366).

He et al. (2021): each method adds something Δh to a hidden vector h. Written that way, four choices tell them apart:

                     Δh                          reads x / h   where            added as
    ──────────────────────────────────────────────────────────────────────────────────────────────────
    adapter          f(h W_down) W_up            serial        attention, MLP   h + Δh
    LoRA             x A Bᵀ                      parallel      q, v (any)       h + s · Δh
    prefix tuning    softmax(q P_kᵀ) P_v         parallel      attention heads  (1 - λ(x)) h + λ(x) · Δh
    parallel adapter f(x W_down) W_up            parallel      attention, MLP   h + Δh
    scaled parallel  f(x W_down) W_up            parallel      MLP              h + s · Δh

The row of prefix tuning is exact, not an analogy. Keys and values of a prefix and of the text share one softmax,
which splits:

    softmax( q [P_k ; K]ᵀ ) [P_v ; V]  =  λ softmax( q P_kᵀ ) P_v  +  (1 - λ) softmax( q Kᵀ ) V
    λ(x) = the share of the attention that falls on the prefix (scores divided by √D, as always)

so a prefix of P positions is a parallel adapter with inner width P, a softmax for f, and a gate. Once the choices are
laid out they can be mixed. He et al. measured each and put the winners together, the mix-and-match adapter (MAM): a
short prefix in attention, where few parameters suffice, and most of the budget in a scaled parallel adapter at the
MLP.

             ┌────────────────────────┐             ┌──► down ▷ f ▷ up ─┐ · s
    x ─ ln_1 ─► attention ◄ prefix ── + ─── ln_2 ───┴──────► MLP ────── + ── +
      └───────────────────────────────┘    └─────────────────────────────────┘

The paper's setting: a prefix of 30 positions through a network of width 800, adapters of inner width 512 (half of its
model's) and s = 4. Here they are as narrow as the other adapters, so that a comparison changes one thing at a time.

Trained parameters, L blocks: the prefix's P C + h C + h + 2 L C (h + 1) and the adapters' L (2 C m + C + m). GPT-2
124M, P = 30, h = 512, m = 32, two classes, with the head: 10,473,346.

The trade-off: comparable to full fine-tuning in the paper; of the methods here only ``full`` trains more, for the
network that makes the prefix, which inference does not need. At inference it pays for both parts, and neither can be
merged.
"""

from gpt2.model import GPT2
from peft.adapters import adapter_parallel
from peft.options import MAMOptions
from peft.prefix import prefix


def mam(model: GPT2, options: MAMOptions) -> None:
    """Mix-and-match: a prefix in attention and a scaled parallel adapter at the MLP (He et al.)."""
    prefix(model, options)
    adapter_parallel(model, options)
