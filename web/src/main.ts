import { needsToken } from "./access";
import { Camera } from "./camera";
import { loadCard } from "./card";
import { Classifier } from "./classifier";
import { CanvasPicture, decode } from "./decode";
import { elements } from "./elements";
import { keepOffline } from "./offline";
import { listen } from "./sources";
import { toPixels } from "./transform";
import * as view from "./view";

/** Classes that are shown. */
const TOP = 3;
/** Between two answers of the camera that are announced, in milliseconds: time to hear them out. */
const ANNOUNCE_EVERY = 3000;

const classifier = load();
/** Counts what was shown to the page; an answer that comes after the next picture is dropped. */
let turn = 0;
/** What was last announced of the camera's answers, and when. */
let announced = { label: "", at: -ANNOUNCE_EVERY };

const camera = new Camera(elements.video, classifyFrame, (error) => {
  stopCamera();
  if (error !== undefined) view.showProblem(`The camera was stopped: ${reason(error)}`);
});

async function load(): Promise<Classifier> {
  const card = await loadCard();
  view.showCard(card);
  return Classifier.load(card);
}

async function classifyFile(file: File): Promise<void> {
  const mine = stopCamera();
  const name = file.name || "pasted picture";
  const start = performance.now();
  const bitmap = await decode(file).catch(() => undefined);
  const decoded = performance.now() - start;
  if (mine !== turn) return bitmap?.close();
  if (!bitmap) return view.showProblem(`${name}: this browser cannot read it as a picture.`);
  view.showPicture(bitmap, name);
  try {
    const result = await classify(bitmap, decoded);
    if (mine !== turn) return;
    view.showResult(result);
    view.announce(result.top, result.sure);
  } catch (error) {
    view.showProblem(`${name}: it cannot be classified: ${reason(error)}`);
  } finally {
    bitmap.close();
  }
}

async function classifyFrame(): Promise<void> {
  const mine = turn;
  if (elements.video.videoWidth === 0) return; // no frame has come yet
  const result = await classify(elements.video);
  if (mine !== turn) return;
  view.showResult(result);
  const { label } = result.top[0];
  const now = performance.now();
  if (label === announced.label || now - announced.at < ANNOUNCE_EVERY) return;
  announced = { label, at: now };
  view.announce(result.top, result.sure);
}

async function classify(source: ImageBitmap | HTMLVideoElement, decoded?: number): Promise<view.Result> {
  const network = await classifier;
  const start = performance.now();
  const pixels = toPixels(new CanvasPicture(source), network.size);
  const resize = performance.now() - start;
  const { scores, sure, milliseconds } = await network.classify(pixels);
  const times = { ...(decoded !== undefined && { decode: decoded }), resize, network: milliseconds };
  return { top: scores.slice(0, TOP), sure, pixels, times };
}

async function startCamera(): Promise<void> {
  const mine = stopCamera();
  announced = { label: "", at: -ANNOUNCE_EVERY };
  try {
    if (!(await camera.start())) return;
    elements.camera.textContent = "Stop the camera";
    view.showVideo();
  } catch (error) {
    if (mine !== turn) return; // a picture came while the browser asked for leave
    stopCamera();
    view.showProblem(`The camera cannot be used: ${reason(error)}`);
  }
}

/** Leaves the stage empty for what comes next, whose turn it returns. */
function stopCamera(): number {
  camera.stop();
  elements.camera.textContent = "Use the camera";
  view.clear();
  return ++turn;
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

listen(elements.file, {
  file: (file) => void classifyFile(file),
  nothing: () => view.showProblem("That was no picture file. Save the picture first, then drop or choose the file."),
});
elements.camera.addEventListener("click", () => {
  if (camera.running) stopCamera();
  else void startCamera();
});
if (!Camera.available) {
  elements.camera.disabled = true;
  elements.camera.textContent = "Camera needs https";
}

try {
  await classifier;
  view.showState("Ready.");
  if (!needsToken() && (await keepOffline())) view.showState("Ready. Works offline, too.");
} catch (error) {
  view.showState("Not ready.");
  view.showProblem(`The page could not be loaded: ${reason(error)}. Reload it.`);
}
