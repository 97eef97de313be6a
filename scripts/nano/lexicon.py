"""Write tokenizer.json and lexicon.json of the nano voice from what flite really says.

Each word gets the phones it has most often in running sentences, so function words come out reduced.
``python -m scripts.nano.lexicon``
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

from scripts.nano.flite import Flite, Spoken
from scripts.nano.sentences import training, vocabulary
from tts_trt.frontend.tokenizer import BOUNDARY, LETTER, MARKS

ASSETS = Path(__file__).resolve().parents[2] / "tts_trt" / "assets" / "nano"
PHONES = """aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y
z zh""".split()
SENTENCES = 6_000
# Only alone or at an end are these strong; a sentence-medial majority is what running speech needs.
CARRIER = "we say {} again."


def spoken_words(text: str, spoken: Spoken) -> list[list[int]] | None:
    """For each written word the indices of its segments, or None when flite read the text in other words.

    Flite splits clitics ("cat" + "'s"), so its words are joined until they spell the written one.
    """
    written = re.findall(r"[a-z']+", text.lower())
    by_flite: list[list[int]] = [[] for _ in spoken.words]
    for index, segment in enumerate(spoken.segments):
        if segment.word >= 0:
            by_flite[segment.word].append(index)
    joined, position = [], 0
    for word in written:
        spelling, indices = "", []
        while position < len(spoken.words) and len(spelling) < len(word.replace("'", "")):
            spelt = spoken.words[position].replace("'", "")
            spelling += "read" if word == "read" and spelt == "red" else spelt  # flite renames the past tense
            indices += by_flite[position]
            position += 1
        if spelling != word.replace("'", "") or not indices:
            return None
        joined.append(indices)
    return joined if position == len(spoken.words) else None


def main() -> None:
    flite = Flite()
    votes: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    texts = [CARRIER.format(word) for word in vocabulary()] + list(islice(training(99), SENTENCES))
    for text in texts:
        spoken = flite.speak(text.lower(), "kal16")
        indices = spoken_words(text, spoken)
        if indices is None:
            continue
        for word, places in zip(re.findall(r"[a-z']+", text.lower()), indices, strict=True):
            votes[word][tuple(spoken.segments[i].phone for i in places)] += 1
    votes["the"] = Counter({("dh", "ax"): 1})  # "dh iy" before a vowel is a rule of the tokenizer
    lexicon = {word: list(votes[word].most_common(1)[0][0]) for word in vocabulary()}
    letters = [LETTER + letter for letter in string.ascii_lowercase]
    symbols = ["<start_text>", "<stop_text>", BOUNDARY, *MARKS, *PHONES, *letters]
    _write("tokenizer.json", {symbol: index for index, symbol in enumerate(symbols)})
    _write("lexicon.json", lexicon)


def _write(name: str, table: dict) -> None:
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    (ASSETS / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
