// 16-bit PCM as it arrives: bytes to samples, when it would run dry, and a WAV file of it all.

/** Little-endian 16-bit bytes to samples in -1..1. A chunk may end in the middle of a sample. */
export class Decoder {
  #odd = null;

  push(bytes) {
    if (this.#odd !== null) {
      const joined = new Uint8Array(bytes.length + 1);
      joined[0] = this.#odd;
      joined.set(bytes, 1);
      bytes = joined;
    }
    this.#odd = bytes.length % 2 ? bytes[bytes.length - 1] : null;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length - (bytes.length % 2));
    const samples = new Float32Array(view.byteLength / 2);
    for (let i = 0; i < samples.length; i++) samples[i] = view.getInt16(2 * i, true) / 32768;
    return samples;
  }
}

/** A listener who starts to play `lead` seconds after the first chunk: how often, and how long in all, there is nothing to
 *  play. Times in seconds. */
export class Continuity {
  underruns = 0;
  silence = 0;
  #due = null; // when what has come so far will have been played

  constructor(lead) {
    this.lead = lead;
  }

  arrived(now, seconds) {
    this.#due ??= now + this.lead;
    if (now > this.#due) {
      this.underruns += 1;
      this.silence += now - this.#due;
      this.#due = now;
    }
    this.#due += seconds;
  }
}

/** A WAV file of chunks of samples. */
export function wav(chunks, rate) {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // mono
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const chunk of chunks) {
    for (const sample of chunk) {
      view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
