"""The five numbers that make a GPT-2, and the published sizes (Radford et al., 2019)."""

from dataclasses import dataclass

from gpt2.errors import InputError, number, whole_number
from gpt2.tokenizer import END_OF_TEXT

HEAD_DIM = 64  # every published GPT-2 uses heads of 64; the practice model uses 32


@dataclass(frozen=True)
class GPT2Config:
    """Shape of a GPT-2. Field names are those of the Hugging Face ``config.json``.

    vocab_size   number of different tokens
    n_positions  context length: the most tokens (virtual ones included) the model can read at once
    n_embd       width C of the residual stream
    n_layer      number of transformer blocks
    n_head       attention heads per block; each works in n_embd / n_head dimensions
    dropout      probability used in training mode on embeddings, attention weights and residual branches;
                 0 by default, because short fine-tuning runs do without it
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5

    def __post_init__(self):
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
            object.__setattr__(self, name, whole_number(f"GPT-2 config: {name}", getattr(self, name)))
        if self.n_embd % self.n_head:
            raise InputError(
                f"GPT-2 config: n_embd {self.n_embd} is not divisible by n_head {self.n_head}; "
                "every head needs the same width"
            )
        number("GPT-2 config: dropout", self.dropout, least=0, below=1)
        if not isinstance(self.layer_norm_epsilon, float) or not 0 < self.layer_norm_epsilon < 1:
            raise InputError(
                f"GPT-2 config: layer_norm_epsilon is {self.layer_norm_epsilon!r}, expected a small number such as 1e-5"
            )

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @classmethod
    def from_hugging_face(cls, config: dict) -> "GPT2Config":
        """Read a Hugging Face ``config.json``. Raises InputError when it describes another function than ours.

        The dropout probabilities of the file are not taken over: they belong to its pretraining.
        """
        wanted = {
            "model_type": ("gpt2",),
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
            "tie_word_embeddings": (True, False),
        }
        for name, allowed in wanted.items():
            value = config.get(name, allowed[0])
            if value not in allowed:
                raise InputError(f"config.json: {name} is {value!r}, but this GPT-2 only knows {allowed[0]!r}")
        names = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "layer_norm_epsilon")
        shape = cls(**{name: config[name] for name in names if name in config})
        if config.get("n_inner") not in (None, 4 * shape.n_embd):
            raise InputError(f"config.json: n_inner is {config['n_inner']}, expected 4 * n_embd = {4 * shape.n_embd}")
        return shape

    def to_hugging_face(self) -> dict:
        """The ``config.json`` from which transformers builds the same function."""
        end = min(END_OF_TEXT, self.vocab_size - 1)  # a larger vocabulary has further tokens behind it
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "vocab_size": self.vocab_size,
            "n_positions": self.n_positions,
            "n_embd": self.n_embd,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_inner": None,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "embd_pdrop": self.dropout,
            "attn_pdrop": self.dropout,
            "resid_pdrop": self.dropout,
            "bos_token_id": end,
            "eos_token_id": end,
            "tie_word_embeddings": True,
        }


SIZES = {  # name -> shape; parameters with the tied language-model head
    "practice": GPT2Config(n_positions=256, n_embd=128, n_layer=6, n_head=4),  # 7.7 M, bundled
    "gpt2": GPT2Config(n_embd=768, n_layer=12, n_head=12),  # 124 M
    "gpt2-medium": GPT2Config(n_embd=1024, n_layer=24, n_head=16),  # 355 M
    "gpt2-large": GPT2Config(n_embd=1280, n_layer=36, n_head=20),  # 774 M
    "gpt2-xl": GPT2Config(n_embd=1600, n_layer=48, n_head=25),  # 1,558 M
}
