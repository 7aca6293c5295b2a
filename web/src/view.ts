/** What people see and hear of an answer. */

import { type Card, choice, figures, sizeOf } from "./card";
import { elements } from "./elements";
import type { Score } from "./scores";
import { middleSquare } from "./transform";

/** Milliseconds that each step took. */
export interface Times {
  /** Only where there was a file. */
  readonly decode?: number;
  readonly resize: number;
  readonly network: number;
}

/** The camera's, in place of those of its single frames. */
export interface FrameTimes {
  /** Milliseconds from a frame to its answer. */
  readonly frame: number;
  /** Frames a second; undefined at the beginning. */
  readonly rate: number | undefined;
}

export interface Result {
  readonly top: readonly Score[];
  /** Whether the largest logit reaches the threshold of the network, if it has one. */
  readonly sure: boolean;
  readonly pixels: Uint8Array;
  readonly times: Times | FrameTimes;
}

export const percent = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
export const number = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
/** A picture with fewer pixels on a side is shown as squares, not blurred. */
const PIXELATED_BELOW = 128;
const LARGEST_SHOWN = 1024;

/** The networks that can be chosen, where there are several. */
export function showChoice(cards: readonly Card[]): void {
  elements.network.replaceChildren(...cards.map((card, index) => new Option(choice(card), String(index))));
  elements.choice.hidden = cards.length < 2;
}

export function showCard(card: Card): void {
  const size = sizeOf(card);
  elements.seenCaption.textContent = `What the network sees: ${size} × ${size} pixels of the middle square.`;
  elements.figures.replaceChildren(...figures(card).map(([name, value]) => figure(name, value)));
  const otherwise =
    (card.threshold ?? null) === null
      ? "answers with one of them whatever the picture shows"
      : "is meant to be unsure where a picture shows something else";
  elements.limits.textContent = `It knows these and nothing else, and ${otherwise}: ${card.labels.join(", ")}.`;
}

/** What the page is doing, or can do. */
export function showState(text: string): void {
  elements.state.textContent = text;
}

export function showProblem(text: string): void {
  elements.problem.textContent = text;
}

/** The table of many pictures, away. */
export function hideTable(): void {
  elements.many.hidden = true;
  elements.rows.replaceChildren();
}

/** The stage, empty: neither picture nor camera, nor an answer, nor a problem. */
export function clear(): void {
  for (const shown of [elements.picture, elements.video, elements.caption, elements.result]) shown.hidden = true;
  elements.invitation.hidden = false;
  elements.waiting.hidden = false;
  elements.announcement.textContent = "";
  showProblem("");
}

/** The middle square of a decoded picture. */
export function showPicture(bitmap: ImageBitmap, name: string): void {
  const { left, top, side } = middleSquare(bitmap);
  const { picture } = elements;
  picture.width = picture.height = Math.min(side, LARGEST_SHOWN);
  picture.style.imageRendering = side < PIXELATED_BELOW ? "pixelated" : "auto";
  const context = picture.getContext("2d");
  if (context) {
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, side, side, 0, 0, picture.width, picture.height);
  }
  picture.setAttribute("aria-label", name);
  caption(`${name}, ${bitmap.width} × ${bitmap.height}`);
  picture.hidden = false;
}

export function showVideo(): void {
  caption("Live: the network sees the middle square.");
  elements.video.hidden = false;
}

function caption(text: string): void {
  elements.invitation.hidden = true;
  elements.caption.textContent = text;
  elements.caption.hidden = false;
}

export function showResult({ top, sure, pixels, times }: Result): void {
  elements.unsure.hidden = sure;
  elements.unsure.textContent = `Not sure: looks most like ${top[0].label}.`;
  elements.scores.querySelectorAll("li").forEach((item, rank) => showScore(item, top[rank]));
  drawPixels(pixels);
  elements.times.replaceChildren(...("frame" in times ? frameTimes(times) : stepTimes(times)));
  elements.waiting.hidden = true;
  elements.result.hidden = false;
}

function stepTimes({ decode, resize, network }: Times): HTMLElement[] {
  return [
    ...(decode === undefined ? [] : entry("Decoding", duration(decode))),
    ...entry("Resizing", duration(resize)),
    ...entry("Network", duration(network)),
  ];
}

function frameTimes({ frame, rate }: FrameTimes): HTMLElement[] {
  return [
    ...entry("A picture takes", duration(frame)),
    ...(rate === undefined ? [] : entry("Pictures a second", tenths.format(rate))),
  ];
}

/** Says a sentence to whoever hears the page. */
export function say(text: string): void {
  elements.announcement.textContent = text;
}

/** Says the answer to whoever hears the page. */
export function announce([best, ...others]: readonly Score[], sure: boolean): void {
  const rest = others.map(({ label, score }) => `${label} ${percent.format(score)}`).join(", ");
  say(`${sure ? "" : "Not sure: looks most like "}${best.label}, ${percent.format(best.score)}. Then ${rest}.`);
}

/** A line of the list; fewer classes than lines leave the last ones hidden. */
function showScore(item: HTMLElement, score: Score | undefined): void {
  item.hidden = score === undefined;
  if (score === undefined) return;
  const [label, value, bar] = item.children as HTMLCollectionOf<HTMLElement>;
  label.textContent = score.label;
  value.textContent = percent.format(score.score);
  bar.style.setProperty("--score", String(score.score));
}

function drawPixels(pixels: Uint8Array): void {
  const size = Math.sqrt(pixels.length / 3);
  elements.seen.width = elements.seen.height = size;
  const image = new ImageData(size, size);
  for (let at = 0; at < size * size; at++) {
    image.data.set(pixels.subarray(at * 3, at * 3 + 3), at * 4);
    image.data[at * 4 + 3] = 255;
  }
  elements.seen.getContext("2d")?.putImageData(image, 0, 0);
}

/** Many browsers' clocks tick ten times in a millisecond, some once. */
function duration(milliseconds: number): string {
  return milliseconds === 0 ? "under 1 ms" : `${significant.format(milliseconds)} ms`;
}

/** A name and its value, in a list of such. */
function entry(name: string, value: string): HTMLElement[] {
  const term = document.createElement("dt");
  const description = document.createElement("dd");
  term.textContent = name;
  description.textContent = value;
  return [term, description];
}

/** The same in a box of its own, which the layout moves as one. */
function figure(name: string, value: string): HTMLElement {
  const box = document.createElement("div");
  box.append(...entry(name, value));
  return box;
}
