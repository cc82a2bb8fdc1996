"""GPT-2's byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019), through tiktoken, without a download.

tiktoken fetches its vocabulary from the network. The two files that OpenAI published with GPT-2 are bundled in
``gpt2/vocabulary``; tiktoken's own loader reads them from disk and checks them against their sha256.
"""

import functools
from pathlib import Path

import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

from gpt2.errors import InputError

VOCABULARY = Path(__file__).parent / "vocabulary"
END_OF_TEXT = 50256  # the one special token: separates documents in pretraining; also used as padding here
SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}


def vocabulary_file(name: str) -> Path:
    """Path of ``encoder.json`` or ``vocab.bpe``. Raises InputError when the checkout lacks it."""
    path = VOCABULARY / name
    if not path.is_file():
        raise InputError(f"GPT-2's vocabulary file {path} is missing; restore it: git checkout -- gpt2/vocabulary")
    return path


@functools.cache
def get_tokenizer() -> tiktoken.Encoding:
    """GPT-2's encoding: ``encode("Hello")`` -> [15496], ``decode`` back; equal to tiktoken.get_encoding("gpt2").

    Raises InputError when the vocabulary files are missing or are not GPT-2's.
    """
    try:
        ranks = data_gym_to_mergeable_bpe_ranks(
            vocab_bpe_file=str(vocabulary_file("vocab.bpe")),
            encoder_json_file=str(vocabulary_file("encoder.json")),
            vocab_bpe_hash=SHA256["vocab.bpe"],
            encoder_json_hash=SHA256["encoder.json"],
        )
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the vocabulary files in {VOCABULARY} are not GPT-2's ({error}); "
            "restore them: git checkout -- gpt2/vocabulary"
        ) from error
    return tiktoken.Encoding(
        name="gpt2",
        explicit_n_vocab=50257,
        pat_str=r50k_pat_str,  # how text is cut into pieces before pairs of bytes are merged within each
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": END_OF_TEXT},
    )
