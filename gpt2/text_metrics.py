"""How close written texts are to what people wrote: the measures of the E2E challenge (Dusek et al., 2020).

    measure(["Blue Spice is a pub."], [["Blue Spice is a pub.", "There is a pub, Blue Spice."]])

Each text is compared with several references. All measures count words or pieces in common; none of them understands
a text. BLEU and NIST are of the corpus as a whole, the others are means over the texts.

    bleu      share of n-grams (1 to 4) that stand in a reference (Papineni et al., 2002); sacrebleu, without case
    chrf      the same for characters (Popović, 2015); sacrebleu
    nist      n-grams weighed by how rare they are (Doddington, 2002); nltk
    rouge_l   longest common subsequence with the nearest reference (Lin, 2004); rouge-score, F1
    cider     n-grams weighed by tf-idf over the references (Vedantam et al., 2015: CIDEr-D); below

METEOR is left out: it needs a dictionary of synonyms, which would have to be downloaded.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gpt2.errors import InputError

Vector = list[dict[tuple[str, ...], float]]  # for n = 1 to 4: n-gram -> weight
ORDERS = 4
SIGMA = 6.0  # of CIDEr-D: how fast a difference in length lowers the score


def measure(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """All measures of ``texts`` (n), each with its references (n, one or more).

    BLEU, chrF and ROUGE-L are from 0 to 100, CIDEr from 0 to 10, NIST from 0 without a limit. Raises InputError for no
    text, for a text without references, and for what is no text.
    """
    texts, references = list(texts), list(references)
    check_texts(texts, references)
    from sacrebleu.metrics import BLEU, CHRF

    streams = streams_of(references)
    words = [words_of(text) for text in texts]
    answers = [[words_of(text) for text in group] for group in references]
    return {
        "bleu": BLEU(lowercase=True).corpus_score(texts, streams).score,
        "chrf": CHRF().corpus_score(texts, streams).score,
        "nist": nist(words, answers),
        "rouge_l": rouge_l(texts, references),
        "cider": cider(words, answers),
    }


def check_texts(texts: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise InputError unless there are texts, and for each of them a list of references."""
    if len(texts) != len(references) or len(texts) == 0:
        raise InputError(f"{len(texts)} texts and references for {len(references)}; expected as many, and one at least")
    for i, (text, group) in enumerate(zip(texts, references, strict=True), start=1):
        if isinstance(group, str):
            raise InputError(f"the references of text {i} are one string, expected a list of strings")
        if len(group) == 0:
            raise InputError(f"text {i} has no reference to be compared with")
        if not all(isinstance(each, str) for each in (text, *group)):
            raise InputError(f"text {i} or a reference of it is no string; leave it out, or write '' for no text")


def streams_of(references: Sequence[Sequence[str]]) -> Any:
    """As sacrebleu wants them: the first reference of every text, then the second, … (None where there is none)."""
    most = max(map(len, references))
    return [[group[i] if i < len(group) else None for group in references] for i in range(most)]


def bleu_intervals(
    named: dict[str, list[str]], references: Sequence[Sequence[str]], draws: int = 1000
) -> dict[str, dict[str, float]]:
    """Name -> BLEU with the half width of its 95 % interval, and the p-value of its difference from the first name's
    (NaN there; 1 where there is none). Paired bootstrap over the texts (Koehn, 2004), by sacrebleu: each draw is one
    sample of sources, the same for all. Raises InputError as ``measure`` does."""
    for texts in named.values():
        check_texts(texts, references)
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    metric = BLEU(lowercase=True, references=streams_of(references))
    _, scores = PairedTest(list(named.items()), {"BLEU": metric}, None, test_type="bs", n_samples=draws)()
    results: list[Any] = scores["BLEU"]
    first, *others = results
    p = [math.nan] + [1.0 if other.score == first.score else other.p_value for other in others]
    return {
        name: {"bleu": result.score, "half_width": result.ci, "p": value}
        for name, result, value in zip(named, (first, *others), p, strict=True)
    }


def words_of(text: str) -> list[str]:
    """Words and marks in lower case, cut as for BLEU (mteval-13a)."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()(text.lower()).split()


def nist(texts: list[list[str]], references: list[list[list[str]]]) -> float:
    """NIST-5 of the corpus."""
    from nltk.translate.nist_score import corpus_nist

    try:
        return float(corpus_nist(references, texts, n=5))
    except ZeroDivisionError:  # no text has a single word
        return 0.0


def rouge_l(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean F1 of the longest common subsequence, with the reference where it is highest."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    found = [scorer.score_multi(group, text)["rougeL"].fmeasure for text, group in zip(texts, references, strict=True)]
    return 100 * sum(found) / len(found)


def cider(texts: list[list[str]], references: list[list[list[str]]]) -> float:
    """CIDEr-D: the cosine of tf-idf vectors of n-grams, mean over n, references and texts, times 10.

        weight(g) = count of g in the text × log(N / number of texts with g in a reference)         N texts

    "D": a count in the text is worth no more than in the reference, and a difference of d in length multiplies the
    score by exp(-d² / 2σ²). Both keep a text from winning by repetition.
    """
    occurs: Counter = Counter()
    for group in references:
        occurs.update({gram for words in group for grams in ngrams(words) for gram in grams})
    log_n = math.log(len(references)) if len(references) > 1 else 1.0  # of one text all weights would be 0

    def vector(words: list[str]) -> Vector:
        return [{g: n * (log_n - math.log(max(1, occurs[g]))) for g, n in grams.items()} for grams in ngrams(words)]

    total = 0.0
    for words, group in zip(texts, references, strict=True):
        mine = vector(words)
        scores = [similarity(mine, vector(other)) * nearness(len(words), len(other)) for other in group]
        total += 10 * sum(scores) / len(scores)
    return total / len(texts)


def ngrams(words: list[str]) -> list[Counter]:
    """For n = 1 to 4: how often each n-gram stands in the text."""
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, ORDERS + 1)]


def similarity(text: Vector, reference: Vector) -> float:
    """Mean over n of the cosine, with each weight of the text at most that of the reference."""
    total = 0.0
    for mine, theirs in zip(text, reference, strict=True):
        product = sum(min(weight, theirs[gram]) * theirs[gram] for gram, weight in mine.items() if gram in theirs)
        length = math.sqrt(sum(w * w for w in mine.values()) * sum(w * w for w in theirs.values()))
        total += product / length if length else 0.0
    return total / ORDERS


def nearness(length: int, other: int) -> float:
    """1 for texts of the same number of words, and less the more they differ."""
    return math.exp(-((length - other) ** 2) / (2 * SIGMA**2))
