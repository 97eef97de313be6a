"""Recipes: what they say of each layer, what they refuse, and that written ones read back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_trt.errors import ConfigError
from tts_trt.models import ModelFolder
from tts_trt.quant.layers import Layer
from tts_trt.quant.recipe import (
    SHIPPED,
    LayerScheme,
    Recipe,
    load_recipe,
    make_recipe,
    parse_recipe,
    recipe_sha256,
    recipe_text,
    resolve,
    write_recipe,
)

HEAD = 'schema = 1\nname = "r"\nbase = "fp16"\n'


def layer(name: str) -> Layer:
    return Layer(name, "MatMul", f"{name}.weight", "x", 1, -1, (32, 32))


LAYERS = {
    "gpt": [layer("gpt.h.0.mlp.c_fc"), layer("gpt.h.0.attn.c_attn"), layer("gpt.mel_head")],
    "vocoder": [layer("vocoder.conv_pre"), layer("vocoder.conv_post")],
    "prompt": [],
}


def rule(graph: str, layers: str | list[str], scheme: str, **more: object) -> dict[str, object]:
    return {"graph": graph, "layers": layers, "scheme": scheme} | more


def test_the_last_rule_that_matches_decides_and_skip_beats_it() -> None:
    recipe = make_recipe(
        "r",
        "fp16",
        [
            rule("*", "*", "w8a8", method="entropy"),
            rule("gpt", ["*.mlp.*", "*.mel_head"], "w8a8", smooth=0.5),
            rule("vocoder", "*.conv_pre", "float"),
        ],
        skip=["gpt/*.mel_head"],
        method="percentile",
        percentile=99.9,
    )
    assert resolve(recipe, LAYERS) == {
        "gpt": {
            "gpt.h.0.mlp.c_fc": LayerScheme("w8a8", "percentile", 99.9, 0.5),
            "gpt.h.0.attn.c_attn": LayerScheme("w8a8", "entropy", None, None),
        },
        "vocoder": {"vocoder.conv_post": LayerScheme("w8a8", "entropy", None, None)},
        "prompt": {},
    }


def test_schemes_carry_only_what_they_use() -> None:
    rules = [
        rule("gpt", "*", "w8"),
        rule("vocoder", "*.conv_pre", "fp8", method="percentile", percentile=99.5, smooth="search"),
        rule("vocoder", "*.conv_post", "fp8", smooth=0),
    ]
    found = resolve(make_recipe("r", "fp32", rules), LAYERS)
    assert set(found["gpt"].values()) == {LayerScheme("w8")}
    assert found["vocoder"]["vocoder.conv_pre"] == LayerScheme("fp8", "percentile", 99.5, "search")
    assert found["vocoder"]["vocoder.conv_post"] == LayerScheme("fp8", "max", None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD + "tempo = 1\n",
            "r.toml: unknown key tempo; known: schema, name, base, method, percentile, skip, rule",
        ),
        (
            HEAD + '[[rule]]\ngraph = "*"\nlayers = "*"\nscheme = "w8"\naxis = 1\n',
            "unknown key rule 1 axis; known: graph, layers, scheme, method, percentile, smooth",
        ),
        (HEAD.replace("1", "2"), "schema: Input should be 1"),
        (HEAD.replace("fp16", "int8"), "base: Input should be 'fp16' or 'fp32'"),
        (HEAD.replace('"r"', '"../r"'), "name: String should match pattern"),
        ("schema = 1\n", "name: Field required"),
        (HEAD + "skip = ['mel_head']\n", "skip: expected graph/layer, found 'mel_head'"),
        (HEAD + "skip = 'gpt/mel_head'\n", "skip: Input should be a valid tuple"),
        (HEAD + "percentile = 101\n", "percentile: Input should be less than or equal to 100"),
        (HEAD + "percentile = true\n", "percentile: Input should be a valid number"),
        (HEAD + "rule = 3\n", "rule: Input should be a valid tuple"),
        (HEAD + "rule\n", "is not TOML"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(text, "r.toml")
    assert message in str(caught.value) and str(caught.value).startswith("r.toml")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rule("*", "*", "int8"), "rule 1 scheme: Input should be 'w8a8', 'w8', 'fp8' or 'float'"),
        (rule("*", [], "w8"), "rule 1 layers"),
        (rule("*", "*", "w8", method="max"), "rule 1: method is of activations, which scheme w8 leaves"),
        (rule("*", "*", "float", smooth=0.5), "rule 1: smooth is of activations"),
        (rule("*", "*", "w8a8", percentile=99.0), 'percentile without method = "percentile"'),
        (rule("*", "*", "w8a8", method="kl"), "rule 1 method"),
        (rule("*", "*", "w8a8", smooth=1.5), "rule 1 smooth"),
        (rule("*", "*", "w8a8", smooth="auto"), "rule 1 smooth"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe("r", "fp16", [wrong])
    assert message in str(caught.value)


def test_a_rule_without_layers_is_an_error_that_names_some() -> None:
    recipe = make_recipe("r", "fp16", [rule("*", "*", "w8"), rule("gpt", "*.mpl.*", "w8a8")])
    with pytest.raises(ConfigError, match="(?s)recipe r, rule 2: no layer of graph 'gpt' .*gpt.h.0.mlp.c_fc"):
        resolve(recipe, LAYERS)
    with pytest.raises(ConfigError, match="(?s)no layer of graph 'gtp'.*a graph of gpt, vocoder"):
        resolve(make_recipe("r", "fp16", [rule("gtp", "*", "w8")]), LAYERS)
    with pytest.raises(ConfigError, match="(?s)skip = 'gpt/gpt.head' matches no layer.*gpt.h.0"):
        resolve(make_recipe("r", "fp16", [], skip=["gpt/gpt.head"]), LAYERS)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_recipe_goes_by_its_name(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("name", "scheme"), [("fp16", None), ("fp8", "fp8"), ("int8-all", "w8a8"), ("int8-weight-only", "w8")]
)
def test_recipes_of_one_scheme_fit_any_model(name: str, scheme: str | None) -> None:
    found = [s.scheme for graph in resolve(load_recipe(name), LAYERS).values() for s in graph.values()]
    assert found == ([scheme] * 5 if scheme else [])


def test_the_model_s_own_recipe_comes_before_the_shipped_one(tmp_path: Path) -> None:
    model = ModelFolder(tmp_path)
    assert load_recipe("int8-all", model) == load_recipe("int8-all")
    own = make_recipe("int8-all", "fp32", [rule("gpt", "*", "w8")])
    write_recipe(own, tmp_path / "recipes" / "int8-all.toml")
    write_recipe(own, tmp_path / "recipes" / "own.toml")
    assert load_recipe("int8-all", model) == own != load_recipe("int8-all")
    assert load_recipe(tmp_path / "recipes" / "own.toml") == own
    with pytest.raises(
        ConfigError, match="no recipe 'int4'; there are fp16, fp8, .*int8-all, int8-weight-only, own"
    ):
        load_recipe("int4", model)
    with pytest.raises(ConfigError, match="none.toml cannot be read: No such file"):
        load_recipe(str(tmp_path / "none.toml"))


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
METHODS = st.sampled_from(["max", "percentile", "mse", "entropy"])
PERCENT = st.floats(0, 100, exclude_min=True)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, object]:
    made = rule(draw(TEXT), draw(TEXT | st.lists(TEXT, min_size=1)), draw(st.sampled_from(["w8a8", "fp8"])))
    if draw(st.booleans()):
        made["scheme"] = draw(st.sampled_from(["w8", "float"]))
        return made
    optional = {"method": METHODS, "smooth": st.floats(0, 1) | st.just("search")}
    made |= {key: draw(values) for key, values in optional.items() if draw(st.booleans())}
    if made.get("method") == "percentile" and draw(st.booleans()):
        made["percentile"] = draw(PERCENT)
    return made


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    name = draw(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z"))
    skip = draw(st.lists(st.tuples(TEXT, TEXT).map("/".join).filter(lambda s: all(s.partition("/")[::2]))))
    base = draw(st.sampled_from(["fp16", "fp32"]))
    return make_recipe(
        name, base, draw(st.lists(rules())), skip, method=draw(METHODS), percentile=draw(PERCENT)
    )


@given(recipes())
def test_a_written_recipe_reads_back_the_same(recipe: Recipe) -> None:
    again = parse_recipe(recipe_text(recipe), "text")
    assert again == recipe
    assert recipe_sha256(again) == recipe_sha256(recipe)


def test_comments_do_not_count_and_rules_do(tmp_path: Path) -> None:
    recipe = make_recipe("r", "fp16", [rule("gpt", "*", "w8"), rule("vocoder", "*", "w8")])
    write_recipe(recipe, tmp_path / "r.toml", comment="found by a search\n\nover 3 sentences")
    assert (
        (tmp_path / "r.toml")
        .read_text()
        .startswith("# found by a search\n#\n# over 3 sentences\nschema = 1\n")
    )
    assert recipe_sha256(load_recipe(tmp_path / "r.toml")) == recipe_sha256(recipe)
    turned = make_recipe("r", "fp16", [rule("vocoder", "*", "w8"), rule("gpt", "*", "w8")])
    assert recipe_sha256(turned) != recipe_sha256(recipe)
