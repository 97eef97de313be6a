// The page: form to request, answers to cards, voices and key.

import * as api from "./api.js";
import { Emotions } from "./emotions.js";
import { Take } from "./take.js";

const at = (id) => document.getElementById(id);
const emotions = new Emotions(at("emotions"));
const FIELDS = { input: "text", voice: "voice", model: "bundle", speed: "rate", "tts_trt.duration": "duration",
  "tts_trt.seed": "seed", "tts_trt.emotion": "emotion-happy", "tts_trt.emotion_audio": "emotion-voice",
  "tts_trt.emotion_alpha": "alpha" };
/** Where the server's name of what is wrong is to be mended. */

let takes = [];
let running = null; // AbortController of what is being said
let bundles = [];

// ---- what the server has

async function refresh() {
  try {
    const [models, voices] = [await api.models(), await api.voices()];
    bundles = models;
    showBundles();
    showVoices(voices);
    serverIs("ready", `${models.length} bundle${models.length === 1 ? "" : "s"} ready`);
    at("go").disabled = false;
  } catch (error) {
    serverIs(error.status === 401 ? "locked" : "away", error.status === 401 ? "needs an API key" : error.message);
    at("go").disabled = true;
    if (error.status === 401) askForKey();
  }
}

function serverIs(state, words) {
  at("dot").className = `dot ${state}`;
  at("server").textContent = words;
}

function askForKey() {
  at("key-panel").open = true;
  at("key").focus();
}

function showBundles() {
  for (const id of ["bundle", "bundle-b"]) {
    const kept = at(id).value;
    options(at(id), bundles.map(({ id: name, model, precision, executor }) => [name, `${precision} · ${model} · ${executor}`]), kept);
  }
  const enough = bundles.length > 1;
  if (enough && at("bundle-b").value === at("bundle").value) {
    at("bundle-b").value = bundles.find(({ id }) => id !== at("bundle").value).id;
  }
  at("compare").disabled = !enough;
  at("compare-hint").textContent = enough ? "" : "This server has one bundle; start it with several to compare them.";
}

function showVoices(voices) {
  const words = (voice) => [voice.id, voice.type === "builtin" ? voice.name : `${voice.name} (yours)`];
  options(at("voice"), voices.map(words), at("voice").value);
  options(at("emotion-voice"), [["", "– use the sliders –"], ...voices.map(words)], at("emotion-voice").value);
  const own = voices.filter(({ type }) => type !== "builtin");
  at("own").replaceChildren(...own.map(ownVoice));
  at("own").hidden = own.length === 0;
  useSliders();
}

function options(select, pairs, kept) {
  select.replaceChildren(...pairs.map(([value, words]) => new Option(words, value)));
  if (pairs.some(([value]) => value === kept)) select.value = kept;
}

function ownVoice(voice) {
  const [item, name, button] = ["li", "span", "button"].map((tag) => document.createElement(tag));
  name.textContent = `${voice.name} · ${voice.seconds?.toFixed(1) ?? "?"} s`;
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Forget";
  button.setAttribute("aria-label", `Forget the voice ${voice.name}`);
  button.addEventListener("click", () => told("upload-error", async () => {
    await api.forget(voice.id);
    await refresh();
    at("upload-name").focus();
  }));
  item.append(name, button);
  return item;
}

// ---- speaking

function request(bundle) {
  const extra = { seed: whole(at("seed").value) };
  const like = at("emotion-voice").value;
  if (like) Object.assign(extra, { emotion_audio: like, emotion_alpha: Number(at("alpha").value) });
  else if (emotions.weights) Object.assign(extra, { emotion: emotions.weights, emotion_alpha: Number(at("alpha").value) });
  const body = { model: bundle, input: at("text").value, voice: at("voice").value, tts_trt: extra };
  if (byDuration()) extra.duration = Number(at("duration").value);
  else body.speed = Number(at("rate").value);
  return body;
}

const whole = (text) => (/^\d+$/.test(text.trim()) ? Number(text) : 0);
const byDuration = () => document.querySelector("input[name=pace]:checked").value === "duration";

async function speak() {
  show("error", "");
  if (!at("text").value.trim()) return wrong("Write something to say first.", "text");
  if (byDuration() && !(Number(at("duration").value) >= 0.05)) {
    return wrong("The length is to be a number of seconds, 0.05 or more.", "duration");
  }
  running?.abort();
  const mine = (running = new AbortController());
  const names = at("compare").checked ? [at("bundle").value, at("bundle-b").value] : [at("bundle").value];
  for (const take of takes) take.close();
  const made = (takes = names.map((name, i) => new Take(name, { silent: i > 0, told: onlyOne })));
  at("takes").replaceChildren(...takes.map(({ card }) => card));
  at("takes").classList.toggle("pair", takes.length > 1);
  at("takes").scrollIntoView({ block: "nearest" });
  busy(true);
  try {
    for (const take of made) heard(await take.run(request(take.name), mine.signal));
  } catch (error) {
    if (error.name !== "AbortError") refused(error);
  } finally {
    for (const take of made) if (!take.seconds) take.close();
    if (running === mine) busy(false);
  }
}

/** Two takes are never heard at once; the second goes on where the first stood: its place, or null. */
function onlyOne(playing) {
  const other = takes.find((take) => take !== playing && take.chosen);
  other?.pause();
  return other?.position ?? null;
}

function heard({ name, seconds, first, underruns }) {
  at("said").textContent = `${name}: ${seconds.toFixed(1)} seconds of speech, the first after ` +
    `${Math.round(first * 1000)} milliseconds, ${underruns || "no"} underrun${underruns === 1 ? "" : "s"}`;
}

function refused(error) {
  if (error.status === 401) askForKey();
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const broke = "The sound broke off: the server ended the connection.";
  wrong((error instanceof api.Refusal ? error.message : broke) + wait, FIELDS[error.param]);
}

function wrong(words, field) {
  show("error", words);
  if (field) at(field).focus();
}

function busy(yes) {
  at("go").classList.toggle("busy", yes);
  at("stop").hidden = !yes;
}

// ---- uploads

async function addVoice() {
  const [name, file] = [at("upload-name").value.trim(), at("upload-file").files[0]];
  const missing = !name ? ["Give the voice a name.", "upload-name"]
    : !file ? ["Choose a recording.", "upload-file"]
    : !at("consent").checked ? ["A voice can be used only with its speaker's consent.", "consent"] : null;
  if (missing) {
    show("upload-error", missing[0]);
    return at(missing[1]).focus();
  }
  at("upload-go").disabled = true;
  at("upload-state").textContent = "uploading …";
  const added = await told("upload-error", () => api.upload(name, file));
  at("upload-go").disabled = false;
  at("upload-state").textContent = added ? `${added.name} is there, ${added.seconds.toFixed(1)} s.` : "";
  if (!added) return;
  at("upload").reset();
  await refresh();
  at("voice").value = added.id;
}

/** What `action` returns; its refusal is shown at `place` instead. */
async function told(place, action) {
  show(place, "");
  try {
    return await action();
  } catch (error) {
    show(place, error.message);
    if (error.status === 401) askForKey();
    return null;
  }
}

function show(id, words) {
  at(id).textContent = words;
  at(id).hidden = !words;
}

// ---- the form's own manners

function useSliders() {
  const like = at("emotion-voice").value !== "";
  emotions.disabled = like;
  at("emotion-clear").disabled = like;
}

function usePace() {
  at("by-rate").hidden = byDuration();
  at("by-duration").hidden = !byDuration();
}

function mirror(input, output) {
  const put = () => {
    const { value, min, max } = at(input);
    at(output).textContent = Number(value).toFixed(2);
    at(input).style.setProperty("--part", `${(100 * (value - min)) / (max - min)}%`);
  };
  at(input).addEventListener("input", put);
  put();
}

function count() {
  const { length } = at("text").value;
  at("count").textContent = `${length} character${length === 1 ? "" : "s"}`;
}

function on(id, event, action) {
  at(id).addEventListener(event, action);
}

const submit = (id, action) => on(id, "submit", (event) => (event.preventDefault(), action()));

submit("speak", speak);
submit("upload", addVoice);
submit("key-form", () => {
  api.useKey(at("key").value);
  at("key-panel").open = false;
  refresh();
});
on("stop", "click", () => running?.abort());
on("text", "input", count);
on("text", "keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && speak());
on("emotion-clear", "click", () => emotions.clear());
on("emotion-voice", "change", useSliders);
on("seed-new", "click", () => (at("seed").value = Math.floor(Math.random() * 1e9)));
on("compare", "change", () => (at("bundle-b").hidden = !at("compare").checked));
for (const radio of document.querySelectorAll("input[name=pace]")) radio.addEventListener("change", usePace);
mirror("rate", "rate-out");
mirror("alpha", "alpha-out");
usePace();
count();
refresh();
