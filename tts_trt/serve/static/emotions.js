// Eight sliders that share one limit: none can be pushed beyond what the others leave.

export const EMOTIONS = ["happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm"];
export const LIMIT = 1.2; // of one weight, and of all together
const STEP = 0.05;

export class Emotions {
  #sliders = new Map();
  #sum = document.getElementById("emotion-sum");
  #meter = document.getElementById("emotion-meter");

  constructor(place) {
    for (const name of EMOTIONS) place.append(this.#row(name));
    this.clear();
  }

  /** Weights by name; null where all are zero. */
  get weights() {
    const found = [...this.#sliders].map(([name, { value }]) => [name, Number(value)]).filter(([, weight]) => weight > 0);
    return found.length ? Object.fromEntries(found) : null;
  }

  set disabled(disabled) {
    for (const slider of this.#sliders.values()) slider.disabled = disabled;
  }

  clear() {
    for (const slider of this.#sliders.values()) slider.value = 0;
    this.#show();
  }

  #row(name) {
    const [row, label, slider, out] = ["div", "label", "input", "output"].map((tag) => document.createElement(tag));
    slider.id = `emotion-${name}`;
    label.htmlFor = slider.id;
    label.textContent = name;
    Object.assign(slider, { type: "range", min: 0, max: LIMIT, step: STEP });
    slider.setAttribute("aria-describedby", "emotion-sum");
    slider.addEventListener("input", () => this.#held(slider));
    out.className = "figure";
    row.className = "slider";
    row.append(label, slider, out);
    this.#sliders.set(name, slider);
    return row;
  }

  #held(moved) {
    const others = this.#total() - Number(moved.value);
    const most = LIMIT - others + 1e-9;
    if (Number(moved.value) > most) moved.value = Math.floor(most / STEP) * STEP;
    this.#show();
  }

  #total() {
    return [...this.#sliders.values()].reduce((sum, slider) => sum + Number(slider.value), 0);
  }

  #show() {
    const total = this.#total();
    this.#sum.textContent = `${total.toFixed(2)} of ${LIMIT.toFixed(2)}`;
    this.#meter.style.width = `${(100 * total) / LIMIT}%`;
    this.#meter.classList.toggle("full", total > LIMIT - STEP / 2);
    for (const slider of this.#sliders.values()) {
      slider.nextElementSibling.textContent = Number(slider.value).toFixed(2);
      slider.style.setProperty("--part", `${(100 * Number(slider.value)) / LIMIT}%`);
    }
  }
}
