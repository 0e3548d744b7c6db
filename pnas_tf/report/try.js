import {loadAndCompile, loadLiteRt, Tensor} from "@litertjs/core";

const part = (name) => document.getElementById(name);
const models = JSON.parse(part("models").textContent);
const SHOWN = 5, WARM_UP = 3, RUNS = 20, FRAME_MS = 100;
let facts, compiled, stream = null, last = null;

function say(words) { part("status").textContent = words; }

/* The central square over white, at the model's size, as the training saw it. */
function pixelsOf(image, width, height) {
  const [, rows, columns] = facts.shape;
  const canvas = part("seen"), side = facts.part * Math.min(width, height);
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, columns, rows);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, columns, rows);
  return context.getImageData(0, 0, columns, rows).data;
}

function tensorOf(pixels) {
  const [, rows, columns, channels] = facts.shape, of = (list, c) => list[list.length > 1 ? c : 0];
  const whole = facts.input === "uint8";
  const values = new (whole ? Uint8Array : Float32Array)(rows * columns * channels);
  for (let point = 0, at = 0; point < rows * columns; point++) {
    const [red, green, blue] = pixels.subarray(4 * point, 4 * point + 3);
    const colours = channels === 1 ? [0.299 * red + 0.587 * green + 0.114 * blue] : [red, green, blue];
    for (let c = 0; c < channels; c++, at++)
      values[at] = whole ? Math.round(colours[c]) : (colours[c] - of(facts.mean, c)) / of(facts.std, c);
  }
  return new Tensor(values, facts.shape);
}

async function scoresOf(input) {
  const [output] = await compiled.run(input);
  const scores = Array.from(await output.data());
  output.delete();
  if (!facts.range) return scores;
  const [low, high] = facts.range;
  return scores.map((score) => low + (high - low) * score / 255);
}

async function classify(image, width, height, runs) {
  const input = tensorOf(pixelsOf(image, width, height));
  const times = [];
  let scores;
  for (let run = 0; run < runs; run++) {
    const started = performance.now();
    scores = await scoresOf(input);
    if (runs === 1 || run >= WARM_UP) times.push(performance.now() - started);
  }
  input.delete();
  times.sort((a, b) => a - b);
  show(scores, times);
}

function show(scores, times) {
  const order = scores.map((_, place) => place).sort((a, b) => scores[b] - scores[a]).slice(0, SHOWN);
  part("answers").replaceChildren(...order.map((place) => {
    const row = document.createElement("div"), bar = document.createElement("div");
    const [label, score] = [document.createElement("span"), document.createElement("span")];
    row.className = "answer"; bar.className = "bar";
    label.textContent = facts.labels[place];
    score.textContent = facts.probabilities ? (100 * scores[place]).toFixed(1) + " %" : scores[place].toFixed(2);
    bar.style.width = facts.probabilities ? 100 * scores[place] + "%" : "0";
    const ground = document.createElement("div");
    ground.append(bar);
    row.append(label, ground, score);
    return row;
  }));
  const median = times[times.length >> 1];
  part("latency").textContent = median.toPrecision(3) + " ms in this browser" +
    (times.length > 1 ? ", the median of " + times.length + " runs" : "");
  document.body.dataset.answer = JSON.stringify({label: facts.labels[order[0]], score: scores[order[0]], ms: median});
}

async function fromFile(file) {
  if (!file) return;
  stop();  // or its next frame would take the answer away
  try {
    const bitmap = await createImageBitmap(file);
    last = file;
    await classify(bitmap, bitmap.width, bitmap.height, WARM_UP + RUNS);
    say("");
  } catch (error) {
    part("seen").width = 1;  // empties it
    part("answers").replaceChildren();
    part("latency").textContent = "";
    say(`${file.name} is no picture that the browser can read: ${error.message}`);
  }
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null; part("camera").textContent = "Camera";
}

async function camera() {
  if (stream) { stop(); return; }
  const video = part("video");
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
  } catch (error) { say("No camera: " + error.message); return; }
  part("camera").textContent = "Stop";
  video.srcObject = stream;
  await video.play();
  say("");
  while (stream) {
    try {
      await classify(video, video.videoWidth, video.videoHeight, 1);
    } catch (error) { say("The model does not run here: " + error.message); stop(); }
    await new Promise((done) => setTimeout(done, FRAME_MS));
  }
}

async function take(number) {
  delete document.body.dataset.answer;
  say("Loading the model ...");
  facts = models[number];
  part("classes").textContent = facts.labels.join(", ");
  compiled?.delete();
  compiled = await loadAndCompile("/" + facts.file, {accelerator: "wasm"});
  say(stream ? "" : "Ready.");
  document.body.dataset.ready = facts.file;
  if (last && !stream) await fromFile(last);
}

const drop = part("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault(); drop.classList.remove("over"); fromFile(event.dataTransfer.files[0]);
});
part("file").addEventListener("change", (event) => fromFile(event.target.files[0]));
part("camera").addEventListener("click", camera);
part("model").addEventListener("change", (event) => take(Number(event.target.value)));
try {
  await loadLiteRt("/litertjs/core/wasm/", {threads: false});
  await take(0);
} catch (error) { say("The model does not run here: " + error.message); }
