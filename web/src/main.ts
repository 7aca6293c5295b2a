import { needsToken } from "./access";
import { Camera } from "./camera";
import { loadCards } from "./card";
import { type Answer, Classifier } from "./classifier";
import { CanvasPicture, decode } from "./decode";
import { elements } from "./elements";
import { keepOffline } from "./offline";
import { Pace } from "./pace";
import { listen } from "./sources";
import { save, Table } from "./table";
import { toPixels } from "./transform";
import * as view from "./view";

/** Classes that are shown. */
const TOP = 3;
/** Between two answers of the camera that are announced, in milliseconds: time to hear them out. */
const ANNOUNCE_EVERY = 3000;
const UNREADABLE = "this browser cannot read it as a picture";

const cards = loadCards();
/** The networks that were asked for, each by its place among the cards. */
const loaded = new Map<number, Promise<Classifier>>();
let classifier = load(0);
/** The place of the network that answers. */
let current = 0;
/** What the page says when nothing is being loaded. */
let ready = "Ready.";
/** Counts what was given to the page: files, or the camera. An answer that comes after the next is dropped. */
let turn = 0;
/** Counts what was shown on the stage, one picture of many included. */
let staged = 0;
/** The files that were given last; none while the camera runs. */
let given: readonly File[] = [];
let table: Table | undefined;
let pace = new Pace();
/** What was last announced of the camera's answers, and when. */
let announced = { label: "", at: -ANNOUNCE_EVERY };

const camera = new Camera(elements.video, classifyFrame, (error) => {
  begin();
  if (error !== undefined) view.showProblem(`The camera was stopped: ${reason(error)}`);
});

/** The network in this place among the cards. */
async function load(index: number): Promise<Classifier> {
  const network = loaded.get(index) ?? Classifier.load((await cards)[index]);
  loaded.set(index, network);
  network.catch(() => loaded.delete(index));
  return network;
}

/** Answers by the network that was chosen from now on, what is shown included. If it cannot be loaded, the other stays. */
async function change(): Promise<void> {
  const chosen = elements.network.selectedIndex;
  view.showProblem("");
  view.showState("Loading the network…");
  const network = await load(chosen).catch(reason);
  if (chosen !== elements.network.selectedIndex) return; // another one was chosen meanwhile
  view.showState(ready);
  if (typeof network === "string") {
    elements.network.selectedIndex = current;
    return view.showProblem(`That network could not be loaded: ${network}`);
  }
  classifier = Promise.resolve(network);
  current = chosen;
  view.showCard(network.card);
  if (given.length > 0) await classifyFiles(given);
}

/** Leaves stage and table empty for what comes next, whose turn it returns. */
function begin(files: readonly File[] = []): number {
  camera.stop();
  elements.camera.textContent = "Use the camera";
  view.clear();
  view.hideTable();
  table = undefined;
  given = files;
  staged++;
  return ++turn;
}

async function classifyFiles(files: readonly File[]): Promise<void> {
  const mine = begin(files);
  const first = files.length > 1 ? await firstReadable(files) : files[0];
  if (mine !== turn) return;
  await show(first);
  if (files.length > 1 && mine === turn) await list(files, mine);
}

/** The first of `files` that can be read as a picture; the first of all if none can. */
async function firstReadable(files: readonly File[]): Promise<File> {
  for (const file of files) {
    const bitmap = await decode(file).catch(() => undefined);
    bitmap?.close();
    if (bitmap) return file;
  }
  return files[0];
}

/** One picture on the stage, and its answer. */
async function show(file: File): Promise<void> {
  const mine = ++staged;
  view.clear();
  const name = nameOf(file);
  const start = performance.now();
  const bitmap = await decode(file).catch(() => undefined);
  const decoded = performance.now() - start;
  if (mine !== staged) return bitmap?.close();
  if (!bitmap) return view.showProblem(`${name}: ${UNREADABLE}.`);
  view.showPicture(bitmap, name);
  try {
    const { answer, pixels, resize } = await classify(bitmap);
    if (mine !== staged) return;
    const times = { decode: decoded, resize, network: answer.milliseconds };
    view.showResult({ top: answer.scores.slice(0, TOP), sure: answer.sure, pixels, times });
    view.announce(answer.scores.slice(0, TOP), answer.sure);
  } catch (error) {
    view.showProblem(`${name}: it cannot be classified: ${reason(error)}`);
  } finally {
    bitmap.close();
  }
}

/** Many pictures in the table, one after the other, until something else is given. */
async function list(files: readonly File[], mine: number): Promise<void> {
  const lines = new Table(files.length, (await classifier).card, TOP, (file) => void show(file));
  table = lines;
  for (const file of files) {
    const bitmap = await decode(file).catch(() => undefined);
    const answer = bitmap && (await classify(bitmap).catch(reason));
    if (mine === turn) {
      if (!bitmap || !answer) lines.fail(file, UNREADABLE);
      else if (typeof answer === "string") lines.fail(file, answer);
      else lines.add(file, bitmap, answer.answer);
    }
    bitmap?.close();
    if (mine !== turn) return;
  }
  view.say(lines.tally);
}

async function classifyFrame(): Promise<void> {
  const mine = turn;
  if (elements.video.videoWidth === 0) return; // no frame has come yet
  const start = performance.now();
  const { answer, pixels } = await classify(elements.video);
  if (mine !== turn) return;
  const now = performance.now();
  pace.add(now, now - start);
  const top = answer.scores.slice(0, TOP);
  view.showResult({ top, sure: answer.sure, pixels, times: { frame: pace.time, rate: pace.rate } });
  const { label } = top[0];
  if (label === announced.label || now - announced.at < ANNOUNCE_EVERY) return;
  announced = { label, at: now };
  view.announce(top, answer.sure);
}

interface Classified {
  readonly answer: Answer;
  readonly pixels: Uint8Array;
  /** Milliseconds that it took to resize the picture. */
  readonly resize: number;
}

async function classify(source: ImageBitmap | HTMLVideoElement): Promise<Classified> {
  const network = await classifier;
  const start = performance.now();
  const pixels = toPixels(new CanvasPicture(source), network.size);
  const resize = performance.now() - start;
  return { answer: await network.classify(pixels), pixels, resize };
}

async function startCamera(): Promise<void> {
  const mine = begin();
  announced = { label: "", at: -ANNOUNCE_EVERY };
  pace = new Pace();
  try {
    if (!(await camera.start())) return;
    elements.camera.textContent = "Stop the camera";
    view.showVideo();
  } catch (error) {
    if (mine !== turn) return; // a picture came while the browser asked for permission
    begin();
    view.showProblem(`The camera cannot be used: ${reason(error)}`);
  }
}

function nameOf(file: File): string {
  return file.name || "pasted picture";
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

listen(elements.file, {
  files: (files) => void classifyFiles(files),
  nothing: () => view.showProblem("That was no picture file. Save the picture first, then drop or choose the file."),
});
elements.camera.addEventListener("click", () => {
  if (camera.running) begin();
  else void startCamera();
});
elements.network.addEventListener("change", () => void change());
elements.save.addEventListener("click", () => {
  if (table) save(table.csv, "predictions.csv");
});
if (!Camera.available) {
  elements.camera.disabled = true;
  elements.camera.textContent = "Camera needs https";
}

try {
  view.showChoice(await cards);
  view.showCard((await cards)[0]);
  await classifier;
  view.showState(ready);
  if (!needsToken() && (await keepOffline())) view.showState((ready = "Ready. Works offline, too."));
} catch (error) {
  view.showState("Not ready.");
  view.showProblem(`The page could not be loaded: ${reason(error)}. Reload it.`);
}
