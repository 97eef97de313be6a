"""The page's files: all of it served from here, nothing inline, its pure parts run by Node where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.serve.rig import Served
from tts_trt.dims import EMOTIONS
from tts_trt.runtime.request import EMOTION_LIMIT, LONGEST_SECONDS, RATES
from tts_trt.serve.app import PAGES

SCRIPTS = sorted(PAGES.glob("*.js"))
TYPES = {".html": "text/html", ".js": "javascript", ".css": "text/css", ".svg": "image/svg"}


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed((PAGES / "index.html").read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def by_id(self, name: str) -> dict[str, str]:
        return next(attributes for _, attributes in self.found if attributes.get("id") == name)


PAGE = Elements()


def test_nothing_is_inline_so_that_a_strict_policy_holds() -> None:
    policy = next(a["content"] for t, a in PAGE.found if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag, attributes in PAGE.found:
        assert tag != "style" and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes["src"].startswith("static/")
    code = "".join(file.read_text() for file in SCRIPTS)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|sessionStorage|cookie",
        code,
    )


def test_nothing_comes_from_elsewhere() -> None:
    for file in PAGES.iterdir():
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", file.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file.name


def test_every_file_is_served_with_its_type(served: Served) -> None:
    for file in PAGES.iterdir():
        address = "/" if file.name == "index.html" else f"/static/{file.name}"
        answer = served.client.get(address)
        assert answer.status_code == 200 and answer.content == file.read_bytes()
        assert TYPES[file.suffix] in answer.headers["content-type"]


def test_the_page_refers_to_what_is_there() -> None:
    linked = [a[n] for _, a in PAGE.found for n in ("src", "href") if n in a and not a[n].startswith("#")]
    imported = [
        f"static/{name}" for file in SCRIPTS for name in re.findall(r"from \"\./([\w.]+)\"", file.read_text())
    ]
    assert {PAGES / name.removeprefix("static/") for name in linked + imported} <= set(PAGES.iterdir())
    ids = {attributes["id"] for _, attributes in PAGE.found if "id" in attributes}
    code = (PAGES / "app.js").read_text() + (PAGES / "emotions.js").read_text()
    named = set(re.findall(r"\b(?:at|on|submit|show|mirror)\(\"([\w-]+)\"", code))
    named |= set(re.findall(r"getElementById\(\"([\w-]+)\"\)", code + (PAGES / "take.js").read_text()))
    assert named and named <= ids


def test_every_field_has_a_name_for_a_reader() -> None:
    labelled = {attributes.get("for") for tag, attributes in PAGE.found if tag == "label"}
    for tag, attributes in PAGE.found:
        if tag in ("input", "select", "textarea") and attributes.get("type") not in ("checkbox", "radio"):
            seek = attributes.get("class") == "seek"  # named by take.js
            assert seek or attributes["id"] in labelled or "aria-label" in attributes, attributes


def test_the_limits_are_those_of_a_request() -> None:
    code = (PAGES / "emotions.js").read_text()
    (names,) = re.findall(r"EMOTIONS = (\[.*?\])", code)
    assert tuple(json.loads(names)) == EMOTIONS
    assert float(re.findall(r"LIMIT = ([\d.]+)", code)[0]) == EMOTION_LIMIT
    rate, duration = PAGE.by_id("rate"), PAGE.by_id("duration")
    assert (float(rate["min"]), float(rate["max"])) == RATES
    assert float(duration["max"]) == LONGEST_SECONDS


def node(script: str, tmp_path: Path) -> Any:
    """What a module that imports the page's prints as JSON."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    for module in SCRIPTS:
        shutil.copy(module, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    file = tmp_path / "run.js"
    file.write_text(script)
    done = subprocess.run([program, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bytes_become_samples_however_they_are_cut(tmp_path: Path) -> None:
    pcm = np.array([0, 1, -1, 32767, -32768, 258, -2], "<i2")
    script = f"""
        import {{ Decoder }} from "./pcm.js";
        const bytes = new Uint8Array({list(pcm.tobytes())});
        const found = [];
        for (const size of [1, 2, 3, 5, 14]) {{
            const decoder = new Decoder();
            const samples = [];
            for (let i = 0; i < bytes.length; i += size) samples.push(...decoder.push(bytes.slice(i, i + size)));
            found.push(samples);
        }}
        console.log(JSON.stringify(found));
    """
    for samples in node(script, tmp_path):
        np.testing.assert_array_equal(np.array(samples) * 32768, pcm)


def test_underruns_are_what_a_listener_would_hear(tmp_path: Path) -> None:
    """A tenth of a second held back: the third chunk comes 0.4 s late, the fourth after all has been played again."""
    script = """
        import { Continuity } from "./pcm.js";
        const heard = new Continuity(0.1);
        for (const [now, seconds] of [[10, 0.5], [10.55, 0.5], [11.5, 0.2], [11.65, 0.2]]) heard.arrived(now, seconds);
        const smooth = new Continuity(0.1);
        for (let i = 0; i < 50; i++) smooth.arrived(0.09 * i, 0.1);
        console.log(JSON.stringify([heard.underruns, heard.silence, smooth.underruns]));
    """
    underruns, silence, smooth = node(script, tmp_path)
    assert (underruns, smooth) == (1, 0)
    assert silence == pytest.approx(0.4)


def test_the_saved_file_is_a_wav(tmp_path: Path) -> None:
    script = """
        import { writeFileSync } from "node:fs";
        import { wav } from "./pcm.js";
        const chunks = [new Float32Array([0, 0.5, -0.5]), new Float32Array([1, -1])];
        writeFileSync("out.wav", Buffer.from(await wav(chunks, 24000).arrayBuffer()));
        console.log("0");
    """
    node(script, tmp_path)
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert rate == 24000
    assert samples.tolist() == [0, 16384, -16384, 32767, -32768]


def test_peaks_do_not_depend_on_how_samples_come(tmp_path: Path) -> None:
    script = """
        import { Peaks } from "./wave.js";
        const samples = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i * i));
        const found = [1000, 7].map((size) => {
            const peaks = new Peaks(100);
            for (let i = 0; i < samples.length; i += size) peaks.push(samples.slice(i, i + size));
            return peaks.values;
        });
        console.log(JSON.stringify(found));
    """
    whole, cut = node(script, tmp_path)
    assert whole == cut and len(whole) == 10
