"""The page in a real Chromium, against a real server whose bundles hum. Skipped where there is no browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve import fakes
from tests.serve.rig import Served, recording, serving, settings
from tts_trt.frontend.audio import write_wav

pytest.importorskip("selenium", reason="selenium is not installed: pip install 'tts-trt[browser]'")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"""


class Page:
    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        self.until(lambda: "ready" in self("server").text)

    def __call__(self, name: str) -> Any:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        WebDriverWait(self.browser, seconds, poll_frequency=0.05).until(lambda _: condition())

    def press(self, element: Any) -> None:
        """Away from the bar at the bottom, which may lie over it."""
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def put(self, name: str, value: object) -> None:
        """As a user's hand would: with an input event."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.browser.execute_script(script, self(name), str(value))

    def say(self, text: str) -> list[dict[str, str]]:
        """The figures of each card, once all has come."""
        self.put("text", text)
        self("text").send_keys(Keys.CONTROL, Keys.ENTER)
        self.until(lambda: self("error").text or (self.all(".take") and not self("stop").is_displayed()))
        return [self.card(card) for card in self.all(".take")]

    def card(self, card: Any) -> dict[str, str]:
        names = ("h3", ".first", ".took", ".rtf", ".underruns", ".clock")
        return {name.strip("."): card.find_element(By.CSS_SELECTOR, name).text for name in names}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Chromium and its driver are not installed: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as browser:
        yield browser


@pytest.fixture
def page(browser: webdriver.Chrome, served: Served) -> Iterator[Page]:
    yield Page(browser, served.url)
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert not [words for words in complaints if "Content Security Policy" in words or "Uncaught" in words]


@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_the_screen(page: Page, width: int) -> None:
    page.browser.set_window_size(width, 800)
    inner, needed = page.browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
    assert needed <= inner
    page.browser.set_window_size(1280, 900)


def test_two_precisions_are_spoken_played_and_measured(page: Page) -> None:
    page.press(page("compare"))
    first, second = page.say("The ferry leaves at nine.")
    assert [first["h3"], second["h3"]] == ["fake-fp32", "fake-int8"]
    for figures in (first, second):
        assert figures["first"].endswith("s") and figures["took"].endswith("s")
        assert float(figures["rtf"]) > 0
        assert figures["underruns"] == "none" or "(" in figures["underruns"]
        assert float(figures["clock"].split()[2]) > 0.3
    one, two = page.all(".play")
    page.until(lambda: one.text == "Play")
    page.press(two)
    page.until(lambda: float(page.card(page.all(".take")[1])["clock"].split()[0]) > 0)
    seconds = page.browser.execute_script("return Number(document.querySelectorAll('.seek')[1].max)")
    assert seconds == pytest.approx(float(second["clock"].split()[2]), abs=0.06)


def test_a_duration_is_met_and_a_seed_repeats(page: Page) -> None:
    page.press(page.all("input[value=duration]")[0])
    page.put("duration", "2.5")
    (figures,) = page.say("The ferry leaves at nine.")
    assert figures["clock"].split()[2] == "2.5"


def test_emotions_share_one_limit(page: Page) -> None:
    page.put("emotion-happy", 0.7)
    page.put("emotion-sad", 1.2)
    assert page("emotion-sum").text == "1.20 of 1.20"
    assert float(page("emotion-sad").get_attribute("value")) == pytest.approx(0.5)
    assert page.say("See the ferry.")
    page.press(page("emotion-clear"))
    assert page("emotion-sum").text == "0.00 of 1.20"
    Select(page("emotion-voice")).select_by_value("ben")
    assert not page("emotion-happy").is_enabled()
    assert page.say("See the ferry.") and not page("error").text


def test_refusals_are_words_at_the_place_that_mends_them(page: Page) -> None:
    assert page.say("   ") == []
    assert page("error").text == "Write something to say first."
    assert page.say("no " * 2000) == []
    assert "4096" in page("error").text
    assert page.browser.switch_to.active_element.get_attribute("id") == "text"
    assert page.say("All is well.") and page("error").text == ""


def test_a_voice_is_uploaded_used_and_forgotten(page: Page, tmp_path: Path) -> None:
    write_wav(tmp_path / "me.wav", recording(5, 2.0), fakes.RATE)
    page("upload-name").send_keys("me")
    page("upload-file").send_keys(str(tmp_path / "me.wav"))
    page.press(page("upload-go"))
    assert "consent" in page("upload-error").text
    page.press(page("consent"))
    page.press(page("upload-go"))
    page.until(lambda: page.all("#own li"))
    page.until(lambda: Select(page("voice")).first_selected_option.text == "me (yours)")
    assert page.say("My own voice.") and not page("error").text
    page.press(page.all("#own button")[0])
    page.until(lambda: not page.all("#own li"))
    assert not page("upload-error").text


def test_a_stream_that_breaks_off_keeps_what_came(browser: webdriver.Chrome, tmp_path: Path) -> None:
    with serving(settings(tmp_path), fakes.slow) as here:
        page = Page(browser, here.url)
        page.put("text", "The ferry leaves at nine. " * 12)
        page.press(page("go"))
        page.until(lambda: page.all(".take .first") and page.all(".take .first")[0].text != "–")
        here.supervisor.kill()
        page.until(lambda: page("error").text)
        assert "broke off" in page("error").text
        assert page.all(".take .error")[0].text.startswith("Cut off: ")
        assert page.all(".take .save")[0].get_attribute("href").startswith("blob:")
    page.press(page("go"))
    page.until(lambda: "cannot be reached" in page("error").text)


def test_the_key_is_asked_for_and_kept_in_memory_only(browser: webdriver.Chrome, tmp_path: Path) -> None:
    from tts_trt.serve.auth import make_key

    key = make_key(tmp_path / "keys.json", "page")
    with serving(settings(tmp_path, server={"keys": tmp_path / "keys.json"})) as here:
        page = Page(browser, here.url.replace("//", f"//any:{key}@"))
        page.press(page.all("#key-panel summary")[0])
        page("key").send_keys("wrong", Keys.ENTER)
        page.until(lambda: page("server").text == "needs an API key")
        assert page("key").is_displayed() and not page("go").is_enabled()
        page("key").clear()
        page("key").send_keys(key, Keys.ENTER)
        page.until(lambda: "ready" in page("server").text)
        assert page.say("All is well.") and not page("error").text
        kept = page.browser.execute_script(
            "return [localStorage.length, sessionStorage.length, document.cookie]"
        )
        assert kept == [0, 0, ""]
