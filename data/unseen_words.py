"""A task that counting words cannot solve: the words that decide never occur in training.

    training     She asked about the soup again.        food
                 She asked about the coat again.        clothes
    test         She asked about the waffle again.      ?

Every sentence fits every word, and a test word stands in no training sentence. So a classifier that counts words can
only guess. Whoever knows from pretraining that waffles are like soup can answer: the task shows what fine-tuning a
*pretrained* model is, where spam shows that counting is often enough.

``unseen-words``    one word decides: food, clothes, animals or tools
``unseen-order``    two words, and the sentence says which of them counts: "She chose the coat instead of the soup."
                    Both kinds of word are in every sentence, so their order has to be read as well

Words and sentences were written for this software.
"""

import random
from collections.abc import Sequence

import pandas as pd

from data.splits import Splits

WORDS = {
    "food": """apple bacon bagel banana bean biscuit bread burger butter cabbage cake candy carrot cheese cherry
        chicken chocolate cookie corn cream curry dumpling egg grape honey jam lemon lettuce melon muffin
        mushroom noodle nut omelette onion orange pasta peach pear pepper pickle pie pizza plum porridge
        potato pudding rice salad salmon sandwich sausage soup steak stew sugar toast tomato waffle yogurt""",
    "clothes": """anorak apron beanie belt bikini blazer blouse bonnet boot bow bra bracelet cap cape cardigan cloak
        coat collar corset dress garter glove gown hat helmet hood jacket jersey jumper kaftan kilt kimono
        legging mask mitten parka pocket poncho robe sandal sari sash scarf shawl shirt shoe skirt sleeve
        slipper sneaker sock stocking suit sweater tie tunic turban tuxedo uniform vest""",
    "animals": """ant badger bat bear beaver bee bird buffalo camel cat cow crab crocodile crow deer dog dolphin
        donkey duck eagle elephant ferret fish fox frog giraffe goat goose hamster hawk hedgehog horse
        kangaroo kitten lamb leopard lion lizard monkey moose mouse octopus otter owl panda parrot penguin
        pig pigeon puppy rabbit rat seal shark sheep snake spider squirrel tiger wasp""",
    "tools": """anvil axe blade bolt brush bucket chain chisel clamp compass crane crowbar drill dustpan file fork
        funnel grinder hammer hatchet hoe hook hose jack knife ladder lathe level lever magnet mallet mop
        nail needle pencil pestle pickaxe plough pulley pump rake razor rope ruler sander saw screw scythe
        shovel sickle sieve spade stapler tape torch trowel vice wedge wheelbarrow wrench""",
}
ONE = (  # a sentence of one word
    "She asked about the {} again.",
    "We talked about the {} for a long time.",
    "There was a picture of the {} on the wall.",
    "He told me that he likes the {}.",
    "Nobody knew where the {} was.",
    "My sister sent me a photo of her {}.",
    "I was thinking of the {} all day.",
    "They found the {} in the morning.",
    "Can you tell me something about the {}?",
    "The {} was the first thing that we noticed.",
)
TWO = (  # a sentence of two words, of which the first or the second counts
    ("She chose the {0} instead of the {1}.", 0),
    ("Instead of the {0} she chose the {1}.", 1),
    ("He wanted the {0}, not the {1}.", 0),
    ("He did not want the {0} but the {1}.", 1),
    ("We looked for the {0} and forgot the {1}.", 0),
    ("We forgot the {0} and looked for the {1}.", 1),
    ("I took the {0} and left the {1} there.", 0),
    ("I left the {0} there and took the {1}.", 1),
)
PARTS = (36, 9, 15)  # words of each class to train, validate and test: 60 in all
NAMES = ("unseen-words", "unseen-order")


def words() -> dict[str, list[str]]:
    """Class -> its words."""
    return {label: text.split() for label, text in WORDS.items()}


def unseen_words(name: str, seed: int) -> Splits:
    """Train, validation, test of ``unseen-words`` or ``unseen-order``, with columns ``text``, ``label`` and ``word``,
    the word that decides. ``seed`` draws which words are in which part, and the second words of ``unseen-order``."""
    draw = random.Random(seed)
    drawn = {label: draw.sample(of_class, len(of_class)) for label, of_class in words().items()}
    starts = [sum(PARTS[:i]) for i in range(len(PARTS))]
    parts = []
    for start, size in zip(starts, PARTS, strict=True):
        chosen = {label: of_class[start : start + size] for label, of_class in drawn.items()}
        rows = one_word(chosen) if name == "unseen-words" else two_words(chosen, draw)
        table = pd.DataFrame(rows, columns=["text", "label", "word"])
        parts.append(table.sample(frac=1, random_state=seed).reset_index(drop=True))
    return parts[0], parts[1], parts[2]


def one_word(chosen: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Each word in each sentence."""
    return [(s.format(word), label, word) for label, of_class in chosen.items() for word in of_class for s in ONE]


def two_words(chosen: dict[str, list[str]], draw: random.Random) -> list[tuple[str, str, str]]:
    """Each word in each sentence, where it counts, beside a word of another class, drawn at random."""
    rows = []
    for label, of_class in chosen.items():
        others: Sequence[str] = [word for other, more in chosen.items() if other != label for word in more]
        for word in of_class:
            for sentence, counts in TWO:
                pair = [draw.choice(others)] * 2
                pair[counts] = word
                rows.append((sentence.format(*pair), label, word))
    return rows
