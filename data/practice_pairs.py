"""Practice pairs: invented weather reports, to teach a model to write on a machine without network or data files.

    city[Ostby], sky[rain], wind[strong], high[12]  ->  In Ostby it will rain, with heavy gusts and at most 12 degrees.

Every source has three references, made by a small grammar. The cities do not exist. A score on them says that a program
learns; it says nothing about real texts.
"""

import random

import pandas as pd

CITIES = (
    "Ostby", "Marlow Bay", "Fennick", "Tarn Hill", "Vessa", "Kirkholm", "Lunde", "Port Ellis", "Brae", "Halden Cross",
    "Orrin", "Sallow Mere",
)  # fmt: skip
SKIES = {
    "sun": ("the sun will shine", "it will be sunny", "expect sunshine"),
    "rain": ("it will rain", "rain is on its way", "expect rain"),
    "snow": ("it will snow", "snow will fall", "expect snow"),
    "fog": ("there will be fog", "it will be foggy", "expect fog"),
    "clouds": ("the sky will be grey", "it will be cloudy", "expect clouds"),
}
WINDS = {
    "none": ("no wind", "still air"),
    "light": ("a light wind", "a gentle breeze"),
    "strong": ("a strong wind", "heavy gusts"),
}
FORMS = (
    "In {city} {sky}, with {wind} and at most {high} degrees.",
    "{Sky} in {city}. There will be {wind}, and it will not get warmer than {high} degrees.",
    "At most {high} degrees in {city}: {sky}, with {wind}.",
)


def practice_pairs(sources: int = 400, seed: int = 2026) -> pd.DataFrame:
    """``sources`` different sources with three targets each: columns source and target, in random order."""
    rng = random.Random(seed)
    facts: dict[tuple, None] = {}
    while len(facts) < sources:
        sky = rng.choice(list(SKIES))
        high = rng.randint(-12, 1) if sky == "snow" else rng.randint(2, 31)
        facts[rng.choice(CITIES), sky, rng.choice(list(WINDS)), high] = None
    rows = []
    for city, sky, wind, high in facts:
        source = f"city[{city}], sky[{sky}], wind[{wind}], high[{high}]"
        for form in FORMS:
            words = rng.choice(SKIES[sky])
            text = form.format(city=city, sky=words, Sky=words.capitalize(), wind=rng.choice(WINDS[wind]), high=high)
            rows.append((source, text))
    rng.shuffle(rows)
    return pd.DataFrame(rows, columns=["source", "target"])
