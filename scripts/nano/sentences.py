"""Seeded English sentences over the vocabulary of the nano voice: a small grammar, and word salads.

A sentence is held out when it is one of ``heldout.txt``, or by a hash of its words, so that training and test never
meet, whatever the seed.
"""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from scripts.nano.heldout import is_listed, words_of

HELD_OUT_PERCENT = 5
MAX_WORDS = 40
_SLOT = re.compile(r"\{(\w+)\}")
_CAPITALS = ("days", "months", "names")

# Each rule expands to one of its lines; a name without a rule is a word class of words.toml.
RULES = {
    "np": [
        "{dets} {adj} {noun}",
        "{dets} {noun}",
        "{dets} {noun}",
        "{poss} {noun}",
        "{poss} {adj} {noun}",
        "{detp} {nouns}",
        "{detp} {adj} {nouns}",
        "{mass}",
        "{num} {nouns}",
        "{poss} {nouns}",
        "{obj}",
        "{name}",
        "{dets} {ordinals} {noun}",
        "{indefinites}",
        "{detp} {mass}",
    ],
    "sg": [
        "{dets} {noun}",
        "{dets} {adj} {noun}",
        "{poss} {person}",
        "{name}",
        "{dets} {person}",
        "{subjects_third}",
        "{dets} {adj} {person}",
        "{mass}",
        "{indefinites}",
    ],
    "pl": [
        "{subjects_other}",
        "{subjects_other}",
        "{detp} {persons}",
        "{poss} {nouns}",
        "{detp} {adj} {nouns}",
        "{name} and {name}",
        "{detp} {persons}",
    ],
    "any": ["{sg}", "{pl}"],
    "noun": ["{thing}", "{thing}", "{thing}", "{person}", "{place}"],
    "nouns": ["{things}", "{things}", "{things}", "{persons}", "{placesp}"],
    "where": [
        "{prepositions} {dets} {place}",
        "{prepositions} {dets} {place}",
        "{prepositions} {poss} {place}",
        "here",
        "{prepositions} {dets} {thing}",
        "there",
        "{prepositions} {detp} {placesp}",
        "away",
        "back home",
    ],
    "when": [
        "{times}",
        "on {days}",
        "in {months}",
        "every {periods}",
        "last {periods}",
        "next {periods}",
        "{num} {period_plurals} later",
        "in {num} {period_plurals}",
        "this {periods}",
        "on {days} {periods}",
        "in the {periods}",
        "on the {ordinals} of {months}",
        "at {small_numbers}",
    ],
    "num": [
        "{small_numbers}",
        "{small_numbers}",
        "{big_numbers}",
        "{tens} {small_numbers}",
        "{small_numbers} hundred",
    ],
    "vp": [
        "{vt0} {np}",
        "{vt0} {np} {where}",
        "{vi0} {where}",
        "{vi0} {adverbs}",
        "{vt0} {np} {adverbs}",
        "{vt0} {np}",
    ],
    "vps": ["{vt1} {np}", "{vt1} {np} {where}", "{vi1} {where}", "{vi1} {adverbs}", "{adverbs} {vt1} {np}"],
    "vpd": [
        "{vt2} {np}",
        "{vt2} {np} {where}",
        "{vi2} {where}",
        "{vi2} {adverbs}",
        "{adverbs} {vt2} {np}",
        "{vt2} {np}",
    ],
    "vping": ["{vt3} {np}", "{vi3} {where}", "{vt3} {np} {where}", "{vi3} {adverbs}"],
    "vpp": ["{vt4} {np}", "{vi4} {where}", "{vt4} {np} {adverbs}"],
    "quality": [
        "{adj}",
        "{adverbs} {adj}",
        "{comparatives} than {np}",
        "too {adj}",
        "{adj} and {adj}",
        "the {superlatives} {noun}",
    ],
    "clause": [
        "{any} {vpd}",
        "{sg} {vps}",
        "{pl} {vp}",
        "{sg} is {quality}",
        "{pl} are {quality}",
        "{any} {modals} {vp}",
        "{sg} was {vping}",
        "{pl} were {vping}",
        "{sg} has {vpp}",
        "{pl} have {vpp}",
        "there is {np} {where}",
        "{any} {vpd} {when}",
        "{any} will {vp} {when}",
        "it seems {quality}",
        "{any} said {any} {vpd}",
        "{sg} did not {vp}",
        "{pl} don't {vp}",
        "{sg} doesn't {vp}",
        "{contractions} {vping}",
        "{any} had {vpp} {when}",
    ],
    "statement": [
        "{clause}.",
        "{clause}.",
        "{clause}.",
        "{clause} {when}.",
        "{when}, {clause}.",
        "{clause}, {conjunctions} {clause}.",
        "{clause} {conjunctions} {clause}.",
        "{exclamations}, {clause}.",
        "{vp}.",
        "please {vp}.",
    ],
    "question": [
        "do {pl} {vp}?",
        "does {sg} {vp}?",
        "did {any} {vp}?",
        "{modals} {any} {vp}?",
        "is {sg} {quality}?",
        "are {pl} {quality}?",
        "{questions} did {any} {vp}?",
        "{questions} is {np} {where}?",
        "{questions} will {any} {vp} {when}?",
        "{questions} {noun} is {quality}?",
        "have {pl} {vpp}?",
        "was {sg} {vping}?",
        "{clause}, {exclamations}?",
    ],
    "exclaim": [
        "what a {adj} {noun}!",
        "how {adj}!",
        "{clause}!",
        "{exclamations}, {name}!",
        "{vp}!",
        "let's {vp}!",
        "{exclamations}, {vp}!",
        "don't {vp}!",
    ],
    "list": [
        "{any} {vpd}, {vpd} and {vpd}.",
        "{np}, {np}, {np} and {np}.",
        "{pl} {vt0} {nouns}, {nouns} and {np}.",
        "{adj}, {adj} and {adj}.",
        "{small_numbers}, {small_numbers}, {small_numbers}.",
        "{name}, {name} and {name} {vpd}.",
    ],
    "short": [
        "{vt0} {obj}.",
        "{adj}.",
        "{noun}?",
        "{exclamations}.",
        "{vi0} {adverbs}!",
        "{name}?",
        "the {noun}.",
        "{adverbs}.",
        "{questions}?",
        "{small_numbers} {nouns}.",
        "{adj} {noun}.",
        "{vt3} {obj}?",
        "{other}.",
    ],
    "long": [
        "{clause}, {conjunctions} {clause}, {conjunctions} {clause}.",
        "{when}, {clause} because {clause}.",
        "{clause} while {clause}, and {clause} {when}.",
        "{clause}, {clause}, {clause} and {clause}.",
    ],
}
_KINDS = {"statement": 36, "question": 13, "exclaim": 6, "list": 6, "short": 7, "long": 7, "salad": 25}


def is_held_out(text: str) -> bool:
    """True for the test sentences and for about one in twenty others; case and punctuation do not matter."""
    hashed = int.from_bytes(hashlib.sha256(words_of(text).encode()).digest()[:4], "big")
    return hashed % 100 < HELD_OUT_PERCENT or is_listed(text)


def training(seed: int = 0) -> Iterator[str]:
    """Endless training sentences of 1 to 40 words."""
    source = Sentences(seed)
    while True:
        text = source.sentence()
        if not is_held_out(text):
            yield text


def word_classes() -> dict[str, list[str]]:
    """Word class to words, from words.toml; verbs by form (``vt0`` to ``vt4``), nouns by number."""
    table = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
    classes = {name: lines.split() for name, lines in table.items()}
    columns = {name: [line.split() for line in lines.strip().splitlines()] for name, lines in table.items()}
    for short, name in (("vt", "transitive"), ("vi", "intransitive")):
        for form in range(5):  # the participle is the past form where a line has only four
            classes[f"{short}{form}"] = [row[form] if form < len(row) else row[2] for row in columns[name]]
    for one, many, name in (
        ("person", "persons", "people"),
        ("thing", "things", "things"),
        ("place", "placesp", "places"),
    ):
        classes[one], classes[many] = ([row[i] for row in columns[name]] for i in (0, 1))
    for short, name in (
        ("adj", "adjectives"),
        ("dets", "determiners"),
        ("detp", "plural_determiners"),
        ("poss", "possessives"),
        ("name", "names"),
    ):
        classes[short] = classes[name]
    classes["obj"] = classes["objects"] + classes["reflexives"]
    classes["tens"] = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    return classes


def vocabulary() -> list[str]:
    """Every word of words.toml, sorted."""
    table = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
    return sorted(set(" ".join(table.values()).split()))


class Sentences:
    """A seeded stream of sentences."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._classes = word_classes()
        self._vocabulary = vocabulary()
        self._deck: list[str] = []
        self._capitals = {word for name in _CAPITALS for word in self._classes[name]} - {
            "may",
            "march",
            "mark",
        }

    def sentence(self) -> str:
        """One sentence of any kind, 1 to 40 words."""
        while True:
            kind = self._random.choices(list(_KINDS), weights=list(_KINDS.values()))[0]
            text = self._salad() if kind == "salad" else self._expand("{" + kind + "}")
            if len(text.split()) <= MAX_WORDS:
                return self._finish(text)

    def _salad(self) -> str:
        """Words dealt from a shuffled deck, so that even the rarest word keeps coming back."""
        size = self._random.randint(2, 10)
        while len(self._deck) < size:
            self._deck += self._random.sample(self._vocabulary, len(self._vocabulary))
        words, self._deck = self._deck[:size], self._deck[size:]
        if len(words) > 5 and self._random.random() < 0.3:
            words[self._random.randint(1, len(words) - 3)] += ","
        return " ".join(words) + self._random.choice("....?!")

    def _expand(self, template: str) -> str:
        while match := _SLOT.search(template):
            name = match.group(1)
            choice = self._random.choice(RULES[name] if name in RULES else self._classes[name])
            template = template[: match.start()] + choice + template[match.end() :]
        return template

    def _finish(self, text: str) -> str:
        text = re.sub(r"\ba (?=[aeio])", "an ", text)
        words = [word.capitalize() if word.strip(",.?!") in self._capitals else word for word in text.split()]
        words = [re.sub(r"^i(?=$|[',.?!])", "I", word) for word in words]
        return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])
