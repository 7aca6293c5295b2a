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
/** Frames of the camera that must agree before a new answer is announced. */
const STEADY_FRAMES = 8;

const classifier = load();
/** Counts what was shown to the page; an answer that comes after the next picture is dropped. */
let turn = 0;
let steady = { label: "", frames: 0 };

const camera = new Camera(elements.video, classifyFrame, () => stopCamera());

async function load(): Promise<Classifier> {
  const card = await loadCard();
  view.showCard(card);
  return Classifier.load(card);
}

async function classifyFile(file: File): Promise<void> {
  stopCamera();
  const mine = ++turn;
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
    view.announce(result.top);
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
  steady = { label, frames: label === steady.label ? steady.frames + 1 : 1 };
  if (steady.frames === STEADY_FRAMES) view.announce(result.top);
}

async function classify(source: ImageBitmap | HTMLVideoElement, decoded?: number): Promise<view.Result> {
  const network = await classifier;
  const start = performance.now();
  const pixels = toPixels(new CanvasPicture(source));
  const resize = performance.now() - start;
  const { scores, milliseconds } = await network.classify(pixels);
  const times = { ...(decoded !== undefined && { decode: decoded }), resize, network: milliseconds };
  return { top: scores.slice(0, TOP), pixels, times };
}

async function startCamera(): Promise<void> {
  view.clear();
  const mine = ++turn;
  steady = { label: "", frames: 0 };
  try {
    await camera.start();
  } catch (error) {
    stopCamera();
    view.showProblem(`The camera cannot be used: ${reason(error)}`);
    return;
  }
  if (mine !== turn) return camera.stop(); // a picture came while the browser asked for leave
  elements.camera.textContent = "Stop the camera";
  view.showVideo();
}

function stopCamera(): void {
  camera.stop();
  elements.camera.textContent = "Use the camera";
  view.clear();
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

listen(elements.file, {
  file: (file) => void classifyFile(file),
  nothing: () => view.showProblem("That was no picture file. Save the picture first, then drop or choose the file."),
});
elements.camera.addEventListener("click", () => {
  if (camera.running) {
    turn++;
    stopCamera();
  } else void startCamera();
});
if (!Camera.available) {
  elements.camera.disabled = true;
  elements.camera.textContent = "Camera needs https";
}

try {
  await classifier;
  view.showState("Ready.");
  if (await keepOffline()) view.showState("Ready, also without a network connection.");
} catch (error) {
  view.showState("Not ready.");
  view.showProblem(`The page could not be loaded: ${reason(error)}. Reload it.`);
}
