// A take's outline on a canvas: one bar per stretch of time, played ones in the accent colour.

const BAR = 3; // CSS pixels, and as much again of gap and round ends
const LEAST_SECONDS = 3; // what the width stands for at the least, so that a short beginning does not fill it

/** Loudest sample of each `window` samples, as chunks come. */
export class Peaks {
  values = [];
  #open = 0;
  #peak = 0;

  constructor(window) {
    this.window = window;
  }

  push(samples) {
    for (const sample of samples) {
      this.#peak = Math.max(this.#peak, Math.abs(sample));
      if (++this.#open === this.window) {
        this.values.push(this.#peak);
        this.#open = this.#peak = 0;
      }
    }
  }
}

/** `position` and `seconds` of the take; `peaks` per `1 / perSecond` seconds. */
export function draw(canvas, peaks, { position, seconds, perSecond }) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const bars = Math.max(1, Math.floor(width / (BAR + 2)));
  const perBar = Math.max(seconds, LEAST_SECONDS) / bars;
  for (let bar = 0; bar * perBar < seconds; bar++) {
    const first = Math.floor(bar * perBar * perSecond);
    const last = Math.max(first + 1, Math.floor((bar + 1) * perBar * perSecond));
    const peak = Math.max(0, ...peaks.slice(first, last));
    const tall = Math.max(BAR, Math.sqrt(peak) * (height - 4));
    pen.fillStyle = style.getPropertyValue((bar + 0.5) * perBar <= position ? "--accent" : "--bar");
    pen.beginPath();
    pen.roundRect(bar * (BAR + 2), (height - tall) / 2, BAR, tall, BAR / 2);
    pen.fill();
  }
}
