"""The default learning rates for GPT-2's published sizes: what papers and reference code report, each with its source.

The practice model's rates were tuned (docs/results/learning_rates). Nobody here has tuned one for GPT-2 124M to
1558M, so for those widths the default is a rate that others used for a model of about that size. Every entry was read
in the file that it names, not quoted from memory. Where a method has no source of that size, the entry says what is
used instead. docs/learning_rates_published.md is the same table, with remarks.

A rate belongs to the width of the model that it was used with. For another width of GPT2_WIDTHS, the entry that is
closest in width is taken. Any other model gets the practice model's rate times 128 / width: Adam's best learning rate
shrinks as layers widen (muP, Yang et al., 2021, arXiv:2203.03466).
"""

import dataclasses
from dataclasses import dataclass

GPT2_WIDTHS = (768, 1024, 1280, 1600)  # gpt2, gpt2-medium, gpt2-large, gpt2-xl
PRACTICE_WIDTH = 128  # of the model that Method.lr was tuned on

WRITING = {  # the practice model's rates to write, tuned likewise (docs/results/learning_rates_writing)
    "full": 0.003,
    "selective": 0.01,
    "bitfit": 0.1,
    "layernorm": 0.1,
    "lora": 0.01,
    "rslora": 0.009,
    "dora": 0.01,
    "dylora": 0.009,
    "minlora": 0.01,
    "qlora": 0.01,
    "adapter": 0.03,
    "adapter-pfeiffer": 0.03,
    "adapter-parallel": 0.03,
    "mam": 0.003,
    "ia3": 0.3,
    "prompt": 0.3,
    "p-tuning": 0.009,
    "prefix": 0.003,
    "p-tuning-v2": 0.3,
}


@dataclass(frozen=True)
class Rate:
    """A learning rate, and where it comes from."""

    lr: float
    source: str  # a few words: who, and which file
    width: int = PRACTICE_WIDTH  # of the model that it was used with
    used: str = ""  # that model, the task, and the optimizer where the file names it
    instead: str = ""  # why a rate of something else is taken, where it is


RASCHKA = "Raschka (2024), rasbt/LLMs-from-scratch ch06/02_bonus_additional-experiments"
FPT = "Lu et al. (2021), kzl/universal-computation scripts/run.py"
LORA = "Hu et al. (2021), microsoft/LoRA examples/NLG"
VLM = "Lin et al. (2020), zlinao/VGLM run.sh"
MAM = "He et al. (2022), jxhe/unify-parameter-efficient-tuning exps"
HUGGING_FACE = "huggingface/peft examples"

SPAM = "SMS spam, AdamW"
GPT2_LORA = "GPT-2 355M, E2E generation, AdamW, rank 4, scale 8"
GLUE = "RoBERTa-base, SST-2, Adam; prefix and parallel adapter together"
XSUM = "BART-large, XSum; prefix and parallel adapter together"


def of_lora(why: str) -> tuple[Rate, ...]:
    """LoRA's rate for a relative that has no source of this size."""
    return (Rate(2e-4, LORA, 1024, GPT2_LORA, f"LoRA's: {why}"),)


PUBLISHED: dict[str, tuple[Rate, ...]] = {
    "full": (
        Rate(5e-5, RASCHKA, 768, f"GPT-2 124M, {SPAM}"),
        Rate(5e-5, RASCHKA, 1600, f"GPT-2 1558M, {SPAM}"),
    ),
    "head": (
        Rate(
            1e-3,
            FPT,
            768,
            "GPT-2 124M, bit-memory, Adam; a new output layer, trained with the input layer and the norms",
            "the head alone was published with 5e-5 and 72.00 % on SMS spam, which is too small (Raschka, row 3)",
        ),
    ),
    "selective": (Rate(5e-5, RASCHKA, 768, f"GPT-2 124M, 355M, 774M, 1558M, {SPAM}"),),
    "bitfit": (Rate(1e-3, "Ben Zaken et al. (2022), benzakenelad/BitFit run_glue.py", 768, "BERT-base, GLUE, AdamW"),),
    "layernorm": (Rate(1e-3, FPT, 768, "GPT-2 124M, bit-memory, Adam; with new input and output layers"),),
    "lora": (Rate(2e-4, LORA, 1024, GPT2_LORA),),
    "rslora": of_lora("its scale alpha/sqrt(rank) lies between 1 and the 8 of that run"),
    "dora": of_lora("the authors' script for LLaMA2-7B (NVlabs/DoRA) has 2e-4 too"),
    "dylora": of_lora("its own scripts were not available to check"),
    "minlora": of_lora("it computes the same"),
    "qlora": of_lora("artidoro/qlora has 2e-4 too, for models of 7B to 13B parameters"),
    "adapter": (
        Rate(
            5e-4,
            VLM,
            768,
            "GPT-2 124M, CoQA, translation, summarisation, AdamW",
            "those have one adapter a block, Houlsby's method has two",
        ),
    ),
    "adapter-pfeiffer": (Rate(5e-4, VLM, 768, "GPT-2 124M, CoQA, translation, summarisation, AdamW"),),
    "adapter-parallel": (Rate(1e-4, f"{MAM}/run_glue.sh", 768, GLUE), Rate(5e-5, f"{MAM}/run_xsum.sh", 1024, XSUM)),
    "mam": (Rate(1e-4, f"{MAM}/run_glue.sh", 768, GLUE), Rate(5e-5, f"{MAM}/run_xsum.sh", 1024, XSUM)),
    "ia3": (
        Rate(
            8e-3,
            f"{HUGGING_FACE}/conditional_generation/peft_ia3_seq2seq.ipynb",
            1024,
            "mt0-large, financial sentiment",
        ),
    ),
    "prompt": (
        Rate(
            3e-2,
            f"{HUGGING_FACE}/causal_language_modeling/peft_prompt_tuning_clm.ipynb",
            1024,
            "bloomz-560m, complaints in tweets, AdamW, 50 epochs",
        ),
        Rate(
            5e-3, "juny116/eff_tl results/benchmark.md", 1600, "GPT-2 1558M, a tenth of MNLI; the best of 1e-4 to 5e-3"
        ),
    ),
    "p-tuning": (
        Rate(1e-3, f"{HUGGING_FACE}/sequence_classification/P_Tuning.ipynb", 1024, "RoBERTa-large, MRPC, AdamW"),
    ),
    "prefix": (
        Rate(
            5e-5,
            "Li & Liang (2021), XiangLi1999/PrefixTuning README.md",
            1024,
            "GPT-2 355M, WebNLG; with the network that makes the prefix",
        ),
    ),
    "p-tuning-v2": (
        Rate(
            7e-3,
            "Liu et al. (2022), THUDM/P-tuning-v2 run_script/run_boolq_roberta.sh",
            1024,
            "RoBERTa-large, BoolQ",
        ),
    ),
}


def choose_rate(method: str, tuned: float, width: int) -> Rate:
    """The default learning rate of a method for a model of this width, and in ``source`` what to say of it.

    ``tuned``: the practice model's rate.
    """
    if width == PRACTICE_WIDTH:
        return Rate(tuned, "tuned on the practice model")
    if width in GPT2_WIDTHS and method in PUBLISHED:
        found = min(PUBLISHED[method], key=lambda rate: abs(rate.width - width))
        return dataclasses.replace(found, source=f"not tuned on this model: {found.source}")
    rule = f"not tuned on this model: rule lr x {PRACTICE_WIDTH}/width"
    return Rate(tuned * PRACTICE_WIDTH / width, rule)
