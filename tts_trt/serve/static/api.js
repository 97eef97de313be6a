// Calls to the server. The API key is held in this module's memory and nowhere else.

const BASE = location.origin + location.pathname; // without a password that may stand in the page's own address

let key = "";

export function useKey(value) {
  key = value.trim();
}

/** What the server refused, in its words: status, param, code as it gave them, retryAfter in seconds. */
export class Refusal extends Error {
  constructor(message, { status = 0, param = null, code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code, retryAfter });
  }
}

export async function models() {
  return (await (await call("v1/models")).json()).data;
}

export async function voices() {
  return (await (await call("v1/audio/voices")).json()).data;
}

export async function upload(name, file) {
  const form = new FormData();
  form.append("name", name);
  form.append("consent", "true");
  form.append("audio_sample", file);
  return (await call("v1/audio/voices", { method: "POST", body: form })).json();
}

export async function forget(id) {
  await call(`v1/audio/voices/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** A response whose body is 16-bit PCM as it is made, its rate in X-Sample-Rate. */
export function speak(body, signal) {
  const asked = { ...body, response_format: "pcm", stream_format: "audio" };
  return call("v1/audio/speech", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(asked),
    signal,
  });
}

async function call(path, options = {}) {
  let response;
  try {
    const headers = new Headers(options.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    response = await fetch(new URL(path, BASE), { ...options, headers, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = await response.json().catch(() => null);
  const { message, param = null, code = null } = told?.error ?? {};
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  const text = message || `The server answered ${response.status} ${response.statusText}.`;
  return new Refusal(text, { status: response.status, param, code, retryAfter });
}
