// The page: what is pressed, dropped and shown. The worker (studio.js) computes.

import { Recorder } from "./record.js";
import { Camera, Clip, readPixels } from "./video.js";

const PIXELS = 2_000_000; // of a photo; larger ones are made smaller first
const EDITS = [
  ["yaw", -45, 45, 1, 0, "Turn"], ["pitch", -45, 45, 1, 0, "Nod"], ["roll", -45, 45, 1, 0, "Lean"],
  ["mouth", -1, 1, 0.05, 0, "Mouth"], ["eyes", 0, 2, 0.05, 1, "Eyes"], ["smile", -1, 1, 0.05, 0, "Smile"],
  ["brows", -1, 1, 0.05, 0, "Brows"],
];
const STRENGTHS = [
  ["pose", 0, 2, 0.05, 1, "Head"], ["mouth", 0, 2, 0.05, 1, "Mouth"], ["eyes", 0, 2, 0.05, 1, "Eyes"],
  ["brows", 0, 2, 0.05, 1, "Brows"],
];
const EVERY = 3; // a face is looked for in every so many frames of a clip

const find = (id) => document.getElementById(id);
const canvas = find("picture"), context = canvas.getContext("2d");
let worker, constants, photo = null, clip = null, mode = "sliders", work = null, recorder = null;

/** Ask the worker for something; `tell` is told the share that is done. */
const waiting = new Map();
let lastId = 0;
function ask(action, values = {}, tell = () => {}) {
  const transfer = values.picture ? [values.picture.data.buffer] : [];
  return new Promise((done, fail) => {
    waiting.set(++lastId, { done, fail, tell });
    worker.postMessage({ id: lastId, action, values }, transfer);
  });
}

function startWorker() {
  worker = new Worker("studio.js", { type: "module" });
  worker.onmessage = ({ data: { id, answer, error, share } }) => {
    const { done, fail, tell } = waiting.get(id);
    if (share !== undefined) return tell(share);
    waiting.delete(id);
    return error === undefined ? done(answer) : fail(new Error(error));
  };
  worker.onerror = ({ message }) => showProblem(new Error(`The page's worker stopped: ${message}`));
}

function showProblem(reason) {
  find("problem").textContent = reason ? reason.message : "";
}

function showShare(share) {
  find("progress").hidden = share === null;
  if (share !== null) find("progress").value = share;
}

const say = (words) => { find("status").textContent = words; };

function show({ width, height, data }) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  context.putImageData(new ImageData(data, width, height), 0, 0);
  canvas.hidden = false;
}

/** Do work that others wait for; its problem is shown, and nothing else goes on at the same time. */
async function run(task) {
  work?.stop();
  await work?.ended;
  const mine = { stopped: false, stop() { this.stopped = true; } };
  work = mine;
  showProblem(null);
  mine.ended = task(mine).catch(showProblem).finally(() => {
    showShare(null);
    if (work === mine) work = null;
    refresh();
  });
  refresh();
  return mine.ended;
}

/** Enable what can be used now. */
function refresh() {
  find("save").disabled = !photo;
  find("make").disabled = !photo || !clip || Boolean(work?.name);
  find("cancel").disabled = work?.name !== "clip";
  find("start").disabled = !photo;
  find("start").textContent = work?.name === "camera" ? "Stop" : "Start";
  find("record").disabled = work?.name !== "camera" || !Recorder.isThere;
  find("record").textContent = recorder ? "Stop recording" : "Record";
}

async function takePhoto(file) {
  await run(async () => {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new Error(`${file.name ?? "This"} is not a picture that this browser can read. Give a JPEG or PNG file.`);
    }
    const scale = Math.min(1, Math.sqrt(PIXELS / (bitmap.width * bitmap.height)));
    const picture = readPixels(bitmap, Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
    photo = null;
    find("video").hidden = find("playback").hidden = true;
    say("Meeting the photo …");
    const { frame } = await ask("meet", { picture }, showShare);
    show(frame);
    photo = { width: frame.width, height: frame.height };
    say("Ready.");
  });
  if (photo) await edit();
}

function readSettings() {
  const values = (name) => Object.fromEntries([...document.querySelectorAll(`#${name} input`)].map((input) => [input.name, Number(input.value)]));
  return { edit: values("edits"), strength: values("strengths") };
}

/** Paint what the sliders say; while a picture is painted, only the newest wish is kept. */
let editing = false, wished = false;
async function edit() {
  wished = true;
  if (editing || !photo || mode !== "sliders") return;
  editing = true;
  await run(async () => {
    while (wished) {
      wished = false;
      const started = performance.now();
      const { frame } = await ask("edit", { edit: readSettings().edit });
      show(frame);
      say(`Painted in ${((performance.now() - started) / 1000).toFixed(2)} s.`);
    }
  });
  editing = false;
}

async function takeClip(file, name) {
  await run(async () => {
    clip?.close();
    clip = null;
    clip = await Clip.open(file, name);
    find("clip-name").textContent = `${name}: ${clip.count} frames, ${clip.fps.toFixed(2)} a second`;
  });
}

async function makeVideo() {
  await run(async (mine) => {
    mine.name = "clip";
    refresh();
    const { count, fps } = clip;
    for (let number = 0; number < count && !mine.stopped; number += EVERY) {
      say("Looking for the face in the clip …");
      await ask("look", { picture: await clip.read(number), number, fps });
      showShare((0.25 * number) / count);
    }
    if (!mine.stopped) await ask("choose", { count });
    for (let number = 0; number < count && !mine.stopped; number++) {
      say("Watching the face in the clip …");
      await ask("measure", { picture: await clip.read(number), number });
      showShare(0.25 + (0.25 * number) / count);
    }
    if (mine.stopped) return say("Cancelled.");
    await ask("know");
    await ask("begin", { live: false });
    const video = Recorder.isThere ? new Recorder(canvas.width, canvas.height, fps) : null, started = performance.now();
    for (let number = 0; number < count && !mine.stopped; number++) {
      const { frame } = await ask("play", { number, settings: readSettings() });
      show(frame);
      await video?.add(canvas, number / fps);
      const rate = (number + 1) / ((performance.now() - started) / 1000);
      say(`Frame ${number + 1} of ${count} · ${rate.toFixed(1)} frames a second · about ${Math.ceil((count - number - 1) / rate)} s left`);
      showShare(0.5 + (0.5 * (number + 1)) / count);
    }
    if (mine.stopped) return say("Cancelled.");
    const seconds = (performance.now() - started) / 1000;
    if (video) offer(await video.finish(constants.comment));
    say(`Done: ${count} frames in ${seconds.toFixed(1)} s, ${(count / seconds).toFixed(1)} frames a second.`);
    return undefined;
  });
}

/** Offer a video for playing and saving. */
function offer(blob) {
  const link = find("video"), playback = find("playback");
  URL.revokeObjectURL(link.href);
  link.href = playback.src = URL.createObjectURL(blob);
  link.download = "synthetic.webm";
  link.hidden = playback.hidden = false;
}

async function followCamera() {
  await run(async (mine) => {
    mine.name = "camera";
    const camera = await Camera.open();
    try {
      await ask("begin", { live: true });
      refresh();
      const times = [];
      let begun = 0;
      while (!mine.stopped) {
        const time = performance.now() / 1000;
        const { frame, seen } = await ask("follow", { picture: camera.read(), time, settings: readSettings() });
        show(frame);
        if (mine.recording && !recorder) {
          recorder = new Recorder(canvas.width, canvas.height, 25);
          begun = time;
        }
        if (recorder) await recorder.add(canvas, time - begun);
        if (recorder && !mine.recording) await stopRecording();
        times.push(performance.now() / 1000);
        if (times.length > 10) times.shift();
        const rate = times.length > 1 ? (times.length - 1) / (times.at(-1) - times[0]) : 0;
        say(`${rate.toFixed(1)} frames a second${seen ? "" : " · no face is seen"}${recorder ? " · recording" : ""}`);
        refresh();
      }
      if (recorder) await stopRecording();
    } finally {
      camera.close();
      recorder = null;
    }
  });
}

async function stopRecording() {
  const ended = recorder;
  recorder = null;
  offer(await ended.finish(constants.comment));
}

function choose(next) {
  if (next === mode) return;
  work?.stop();
  mode = next;
  for (const name of ["sliders", "clip", "camera"]) {
    find(`by-${name}`).setAttribute("aria-selected", String(name === mode));
    if (name !== "sliders") find(`${name}-panel`).hidden = name !== mode;
  }
  find("strengths").hidden = mode === "sliders";
  edit();
}

function addSliders(id, rows) {
  for (const [name, least, most, step, usual, words] of rows) {
    const label = document.createElement("label"), input = document.createElement("input"), output = document.createElement("output");
    label.className = "slider";
    Object.assign(input, { type: "range", name, min: least, max: most, step, value: usual, defaultValue: usual });
    output.textContent = input.value;
    input.oninput = () => {
      output.textContent = input.value;
      edit();
    };
    label.append(words, input, output);
    find(id).append(label);
  }
}

async function takeSample(name) {
  const answer = await fetch(`samples/${name}`);
  return answer.blob();
}

let viewfinder = null;
async function openViewfinder() {
  try {
    viewfinder = await Camera.open();
    find("preview").replaceChildren(viewfinder.video);
    find("viewfinder").hidden = false;
  } catch (reason) {
    showProblem(reason);
  }
}

async function shoot() {
  const { video } = viewfinder, bitmap = await createImageBitmap(video);
  viewfinder.close();
  find("viewfinder").hidden = true;
  await takePhoto(bitmap);
}

function listen() {
  const consent = find("consent").querySelector("input"), main = document.querySelector("main");
  consent.onchange = () => { main.inert = !consent.checked; };
  find("photo").onchange = ({ target }) => target.files[0] && takePhoto(target.files[0]);
  find("take").onclick = openViewfinder;
  find("shoot").onclick = shoot;
  find("hopper").onclick = async () => takePhoto(await takeSample("grace_hopper.jpg"));
  find("clip").onchange = ({ target }) => target.files[0] && takeClip(target.files[0], target.files[0].name);
  find("sample").onclick = async () => takeClip(await takeSample("driving.mp4"), "The bundled clip");
  find("make").onclick = makeVideo;
  find("cancel").onclick = () => work?.stop();
  find("start").onclick = () => (work?.name === "camera" ? work.stop() : followCamera());
  find("record").onclick = () => { work.recording = !work.recording; };
  find("reset").onclick = () => {
    for (const input of document.querySelectorAll(".slider input")) {
      input.value = input.defaultValue;
      input.oninput();
    }
  };
  find("save").onclick = () => canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "synthetic.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  for (const name of ["sliders", "clip", "camera"]) find(`by-${name}`).onclick = () => choose(name);
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  };
  document.ondragleave = () => document.body.classList.remove("dropping");
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (!file || main.inert) return;
    if (file.type.startsWith("video/")) {
      choose("clip");
      takeClip(file, file.name);
    } else takePhoto(file);
  };
}

/** Install the service worker; the page is loaded once more through it, which gives WebAssembly its threads. */
async function install() {
  if (!("serviceWorker" in navigator)) return true;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
  } catch {
    return true; // without it the page works on one thread, and with a network
  }
  if (self.crossOriginIsolated || sessionStorage.getItem("installed")) return true;
  sessionStorage.setItem("installed", "yes");
  location.reload();
  return false;
}

addSliders("edits", EDITS);
addSliders("strengths", STRENGTHS);
listen();
if (await install()) {
  try {
    constants = await (await fetch("constants.json")).json();
    startWorker();
    const engine = new URLSearchParams(location.search).get("engine") ?? "auto";
    const opened = await ask("open", { engine }, showShare);
    const how = opened.engine === "webgpu" ? "WebGPU" : `WebAssembly, ${opened.threads} ${opened.threads === 1 ? "thread" : "threads"}`;
    find("engine").textContent = `Runs by ${how}.`;
    document.body.dataset.engine = opened.engine;
  } catch (reason) {
    showProblem(new Error(`The networks could not be opened: ${reason.message}`));
    find("engine").textContent = "";
  }
  showShare(null);
  refresh();
}
