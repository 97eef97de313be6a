// One request, spoken by one bundle: its card with outline, player and figures.

import { speak } from "./api.js";
import { Continuity, Decoder, wav } from "./pcm.js";
import { Player } from "./player.js";
import { Peaks, draw } from "./wave.js";

const LEAD = 0.1; // seconds of sound held back before playing begins
const PEAKS_A_SECOND = 100;
const USUAL_RATE = 24000;

export class Take {
  #card;
  #player;
  #peaks;
  #chosen = false; // by the user, to be heard
  #arriving = true;
  #link = null;
  #frame = null;

  /** `told` hears of every start, with this take, and answers where another one stopped for it, or null. */
  constructor(name, { silent, told }) {
    this.name = name;
    this.told = told;
    this.#card = document.getElementById("take").content.firstElementChild.cloneNode(true);
    this.#part("h3").textContent = name;
    this.#part(".wave").setAttribute("aria-label", `Outline of the sound of ${name}`);
    this.#part(".seek").setAttribute("aria-label", `Place in the sound of ${name}`);
    this.#player = new Player(USUAL_RATE, { lead: LEAD, silent });
    this.#peaks = new Peaks(USUAL_RATE / PEAKS_A_SECOND);
    this.#chosen = !silent;
    this.#part(".play").addEventListener("click", () => this.toggle());
    this.#part(".seek").addEventListener("input", (event) => this.#seek(Number(event.target.value)));
    new ResizeObserver(() => this.#wake()).observe(this.#part(".wave"));
  }

  get card() {
    return this.#card;
  }

  /** Being heard, or waiting for sound to go on. */
  get chosen() {
    return this.#chosen;
  }

  /** Into it. */
  get position() {
    return this.#player.position;
  }

  /** Of sound that has come. */
  get seconds() {
    return this.#player.seconds;
  }

  /** Speaks; resolves to the figures when the last sample has come. Refusal and AbortError as from `speak`; TypeError for a
   *  connection that ended too early. What had come by then stays to be heard. */
  async run(body, signal) {
    try {
      return await this.#receive(body, signal);
    } catch (error) {
      if (this.#player.seconds) this.#cut(error);
      throw error;
    } finally {
      this.#arriving = false;
      if (this.#player.seconds) this.#offer();
      this.#wake();
    }
  }

  toggle() {
    if (this.#chosen) this.pause();
    else this.play();
  }

  /** From `from` seconds; else from where another one just was, or from where it stood itself. */
  play(from = null) {
    const elsewhere = this.told(this);
    this.#chosen = true;
    from ??= elsewhere ?? this.#player.position;
    this.#wake();
    this.#player.play(from < this.#player.seconds - 0.05 ? from : 0);
  }

  pause() {
    this.#chosen = false;
    this.#wake();
    this.#player.pause();
  }

  async close() {
    if (this.#link) URL.revokeObjectURL(this.#link);
    this.#card.remove();
    this.#chosen = false;
    await this.#player.close();
  }

  async #receive(body, signal) {
    const asked = performance.now() / 1000;
    const response = await speak(body, signal);
    const rate = Number(response.headers.get("X-Sample-Rate")) || USUAL_RATE;
    this.#player.rate = rate;
    this.#peaks.window = rate / PEAKS_A_SECOND;
    const decoder = new Decoder();
    const heard = new Continuity(LEAD);
    let first = null;
    for await (const bytes of chunks(response.body)) {
      const samples = decoder.push(bytes);
      if (!samples.length) continue;
      const now = performance.now() / 1000;
      if (first === null) this.#figure(".first", milliseconds((first = now - asked)));
      heard.arrived(now, samples.length / rate);
      this.#player.push(samples);
      this.#peaks.push(samples);
      this.#figure(".underruns", underruns(heard));
    }
    const took = performance.now() / 1000 - asked;
    const seconds = this.#player.seconds;
    this.#figure(".took", milliseconds(took));
    this.#figure(".rtf", (took / seconds).toFixed(2));
    return { name: this.name, seconds, first, took, underruns: heard.underruns, silence: heard.silence };
  }

  #cut(error) {
    const place = this.#part(".error");
    const why = error.name === "AbortError" ? "Stopped" : "Cut off";
    place.textContent = `${why}: ${this.#player.seconds.toFixed(1)} s came and are kept.`;
    place.hidden = false;
  }

  #offer() {
    const save = this.#part(".save");
    this.#link = URL.createObjectURL(wav(this.#player.chunks, this.#player.rate));
    save.href = this.#link;
    save.download = `${this.name}.wav`;
    save.setAttribute("aria-label", `Save the sound of ${this.name} as WAV`);
    save.hidden = false;
  }

  #seek(to) {
    if (this.#chosen) this.play(to);
    else this.#player.cue(to);
    this.#wake();
  }

  #wake() {
    this.#frame ??= requestAnimationFrame(() => this.#show());
  }

  /** Once a frame, as long as anything moves. */
  #show() {
    this.#frame = null;
    const { seconds } = this.#player;
    if (this.#chosen && !this.#arriving && this.#player.position >= seconds - 0.005) this.pause();
    const position = Math.min(this.#player.position, seconds);
    draw(this.#part(".wave"), this.#peaks.values, { position, seconds, perSecond: PEAKS_A_SECOND });
    const [button, seek] = [this.#part(".play"), this.#part(".seek")];
    button.disabled = seek.disabled = seconds === 0;
    const word = this.#chosen ? "Pause" : "Play";
    if (button.textContent !== word) {
      button.textContent = word;
      button.setAttribute("aria-label", `${word} ${this.name}`);
    }
    seek.max = seconds.toFixed(2);
    if (document.activeElement !== seek || this.#chosen) seek.value = position.toFixed(2);
    seek.style.setProperty("--part", `${seconds && (100 * position) / seconds}%`);
    seek.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${seconds.toFixed(1)} seconds`);
    this.#part(".clock").textContent = `${position.toFixed(1)} / ${seconds.toFixed(1)} s`;
    this.#card.classList.toggle("arriving", this.#arriving);
    if (this.#card.isConnected && (this.#arriving || this.#chosen)) this.#wake();
  }

  #figure(name, text) {
    this.#part(name).textContent = text;
  }

  #part(name) {
    return this.#card.querySelector(name);
  }
}

async function* chunks(body) {
  const reader = body.getReader(); // not every browser iterates over a body
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function underruns({ underruns, silence }) {
  return underruns ? `${underruns} (${milliseconds(silence)})` : "none";
}

function milliseconds(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}
