"""Does the stratified corpus earn its keep? Scales from all strata against scales from one (calm and slow), equally many
utterances, judged on utterances of the other strata. The last line on stdout is JSON.

    python -m scripts.strata --engines engines --utterances 24 --out benchmarks/strata.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from tts_trt.models import find_model
from tts_trt.pipeline import EXPORTS, export
from tts_trt.quant.collect import collect
from tts_trt.quant.corpus import read_corpus
from tts_trt.quant.corpus_config import default_corpus, restrict
from tts_trt.quant.recipe import LayerScheme
from tts_trt.quant.trial import Trial
from tts_trt.quant.variants import Variants
from tts_trt.spec import Limits

STRATUM = {"rate": "slow", "emotion": "calm"}
SCHEMES = {
    "max": LayerScheme("w8a8", "max"),
    "mse": LayerScheme("w8a8", "mse"),
    "mse, smoothed": LayerScheme("w8a8", "mse", None, "search"),
}
GRAPHS = ("gpt", "flow_step", "vocoder")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--engines", type=Path, default=Path("engines"))
    parser.add_argument("--utterances", type=int, default=24, help="of each calibration")
    parser.add_argument("--judged", type=int, default=8, help="utterances that judge")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    folder = find_model(args.model)
    dims, exports = folder.dims(), args.engines / EXPORTS / folder.name
    graphs = {n: exports / g.file for n, g in export(folder, exports, Limits()).of("fp32").items()}
    corpus = read_corpus(default_corpus(), folder, dims)
    config = corpus.config.model_copy(update={"utterances": args.utterances, "repeats": args.utterances})
    other = replace(corpus, config=corpus.config.model_copy(update={"seed": corpus.config.seed + 7})).draw()
    judged = [u for u in other if u.sentence_type != "long" and not STRATUM.items() <= {**u.levels}.items()][
        : args.judged
    ]
    corpora = {
        "stratified": replace(corpus, config=config).draw(),
        "calm and slow": replace(corpus, config=restrict(config, STRATUM)).draw(),
    }
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        Trial(folder, graphs, [u.request(dims) for u in judged], threads=args.threads) as trial,
    ):
        for name, utterances in corpora.items():
            stats = collect(folder, graphs, utterances, threads=args.threads).stats
            variants = Variants(graphs, stats, Path(scratch))
            for method, scheme in SCHEMES.items():
                for graph in GRAPHS:
                    damage = trial.damage(variants.make(variants.uniform(graph, scheme)))
                    rows.append({"corpus": name, "graph": graph, "scheme": method, **asdict(damage)})
                    print(name, graph, method, f"kl {damage.kl:.2e} mel {damage.mel_db:.3f} wave {damage.lsd_db:.3f} dB",
                          file=sys.stderr)  # fmt: skip
    found = {
        "command": " ".join(["python -m scripts.strata", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "utterances": args.utterances,
        "judged_on": [u.levels for u in judged],
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
