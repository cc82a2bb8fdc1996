"""Sampled softmax: learn from a few thousand words at a time instead of all 50,257.

The loss of one token is

    loss = log Z - s_target,        Z = Σ_j exp(s_j)  over the whole vocabulary,        s_j = h · wte_j

For a small model, computing all s_j costs several times what the rest of the model does. But Z is a sum, and a sum can
be estimated from a sample. Draw K words from a known distribution q, shared by all tokens of a micro-batch, and give
each a weight that makes up for how often it is drawn (importance sampling):

    Z' = exp(s_target)  +  Σ_drawn  exp(s_j) / (K q_j)  =  exp(s_target)  +  Σ_drawn  exp(s_j - log(K q_j))
         always there       leaving out the target itself, when it happens to be drawn

                  wte (V, C)                                     h (N, C)
    q ─► K draws ─► U different rows ──► (U, C) ──────────────► h @ rows.T + log weight ──► (N, U) ┐
    N targets    ─► N rows           ──► (N, C) ──────────────► row by row              ──► (N, 1) ┴─► cross-entropy,
                                                                                            the right answer is 0

The expectation of Z' is Z exactly, whatever q is. Two details carry that, and sampled softmaxes often get one wrong:
  * -log(K q_j), the "log-q correction": without it frequent words, drawn often, would be pushed down too far;
  * what counts is how often a word is expected among the candidates: K q_j times for a drawn one, but once for the
    target, which is always there. So the target's correction is log 1 = 0, and a drawn copy of it (an "accidental
    hit") must go, or it would count twice. (Using K q for the target too is common, and biased: Khrylchenko et al.,
    2025, "Correcting the LogQ Correction".)

log Z' is then a little too small on average (Jensen), the less the larger K; in the limit loss and gradient are exact.
The best q resembles what the model itself would predict; the frequency of words in the text is a cheap stand-in.

Bengio & Senécal, 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model";
Jean et al., 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation".
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class NegativeSampler:
    """Draws words by their frequency in the training text, flattened so that rare words are drawn at all.

    counts   (V,) how often each token occurs; one is added, so that no probability is zero
    draws    K
    power    q ∝ counts^power; 3/4 is what word2vec found to work best (Mikolov et al., 2013)
    """

    def __init__(self, counts: np.ndarray, draws: int, power: float = 0.75):
        q = (counts.astype(np.float64) + 1) ** power
        self.q, self.draws = q / q.sum(), draws
        self.cumulative = self.q.cumsum()

    def draw(self, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The different words among K draws (U,) and the logarithm of each one's weight (U,); same seed, same draw.

        A word drawn n times counts n times, but its score is computed once: its weight is n / (K q). Of 4,096 draws
        about half repeat a word drawn before, so this halves the price and changes nothing.
        """
        uniform = np.random.default_rng(seed).random(self.draws)
        drawn = np.searchsorted(self.cumulative, uniform * self.cumulative[-1], side="right")
        words, times = np.unique(drawn, return_counts=True)
        log_weights = np.log(times / (self.draws * self.q[words]))
        return torch.from_numpy(words), torch.from_numpy(log_weights).float()


def sampled_cross_entropy(h: Tensor, targets: Tensor, wte: Tensor, words: Tensor, log_weights: Tensor) -> Tensor:
    """The estimated loss, a mean over N tokens: a scalar. words and log_weights are what a sampler drew.

    h (N, C), targets (N,), wte (V, C), words (U,), log_weights (U,).
    """
    N = len(targets)
    rows = F.embedding(torch.cat([targets, words]), wte)  # (N + U, C), gathered once
    target_scores = (h * rows[:N]).sum(dim=-1, keepdim=True)  # (N, 1)
    scores = (h @ rows[N:].T).float() + log_weights  # (N, U)
    scores = scores.masked_fill(targets[:, None] == words, float("-inf"))  # accidental hits
    candidates = torch.cat([target_scores.float(), scores], dim=1)  # (N, 1 + U)
    return F.cross_entropy(candidates, torch.zeros_like(targets))
