// Plays samples while they still arrive, and again afterwards.
//
// Each chunk is a buffer that starts where the one before ends, on the clock of an AudioContext. To pause is to stop that clock.

const MARGIN = 0.02; // seconds between deciding to play and playing

export class Player {
  chunks = [];
  seconds = 0;
  #context;
  #rate;
  #sources = new Set();
  #scheduled = []; // {at: clock, from: seconds into the take, seconds}
  #end = 0; // clock at which what is scheduled has been played
  #silent;

  /** Call it from a user's gesture: browsers let sound begin only there. `lead`: seconds held back before the first sound. */
  constructor(rate, { lead, silent = false }) {
    this.lead = lead;
    this.#silent = silent;
    this.#context = new AudioContext({ sampleRate: rate });
    this.#rate = rate;
    if (silent) this.#context.suspend();
  }

  /** Seconds into the take. */
  get position() {
    const now = this.#context.currentTime;
    const current = this.#scheduled.findLast((part) => part.at <= now);
    if (!current) return this.#scheduled[0]?.from ?? 0;
    return current.from + Math.min(now - current.at, current.seconds);
  }

  get rate() {
    return this.#rate;
  }

  /** The rate is known only when the answer begins; nothing has been pushed by then. */
  set rate(rate) {
    this.#rate = rate;
  }

  push(samples) {
    if (!samples.length) return;
    const from = this.seconds;
    this.chunks.push(samples);
    this.seconds += samples.length / this.#rate;
    if (!this.#silent) this.#schedule(samples, from, from ? MARGIN : this.lead);
  }

  async play(from = this.position) {
    this.cue(from);
    await this.#context.resume();
  }

  /** Ready to play from there; what comes further is played after it. */
  cue(from) {
    this.#silent = false;
    this.#stop();
    let before = 0;
    for (const samples of this.chunks) {
      const seconds = samples.length / this.#rate;
      const skip = Math.max(0, Math.round((from - before) * this.#rate));
      if (skip < samples.length) this.#schedule(samples.subarray(skip), before + skip / this.#rate, MARGIN);
      before += seconds;
    }
  }

  async pause() {
    await this.#context.suspend();
  }

  /** Silence, and the hardware given back. */
  async close() {
    this.#stop();
    if (this.#context.state !== "closed") await this.#context.close();
  }

  #schedule(samples, from, margin) {
    const buffer = this.#context.createBuffer(1, samples.length, this.#rate);
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(this.#context, { buffer });
    source.connect(this.#context.destination);
    const now = this.#context.currentTime;
    const at = this.#end > now ? this.#end : now + margin;
    source.start(at);
    source.onended = () => this.#sources.delete(source);
    this.#sources.add(source);
    this.#scheduled.push({ at, from, seconds: buffer.duration });
    this.#end = at + buffer.duration;
  }

  #stop() {
    for (const source of this.#sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.#sources.clear();
    this.#scheduled = [];
    this.#end = 0;
  }
}
