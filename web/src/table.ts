/** Many pictures: a line of the table for each, their number by class, and all of them as CSV. */

import type { Card } from "./card";
import type { Answer } from "./classifier";
import { answerLine, errorLine, header } from "./csv";
import { elements } from "./elements";
import { middleSquare } from "./transform";
import { number, percent } from "./view";

/** Further lines are in the CSV alone: a page of many thousands is slow. */
const MOST_LINES = 500;
const THUMBNAIL = 48;

export class Table {
  readonly #csv: string[];
  /** Answer in words -> how many pictures have it. */
  readonly #counts = new Map<string, number>();
  #failed = 0;

  /** Shows an empty table for `total` pictures. `open` is called with the picture whose name was clicked. */
  constructor(
    private readonly total: number,
    private readonly card: Card,
    private readonly top: number,
    private readonly open: (file: File) => void,
  ) {
    this.#csv = [header(top)];
    elements.rows.replaceChildren();
    elements.unlisted.hidden = total <= MOST_LINES;
    elements.unlisted.textContent = `The first ${number.format(MOST_LINES)} are listed. All of them are in the CSV.`;
    elements.save.disabled = true;
    elements.many.hidden = false;
    this.#count();
  }

  /** Takes the next picture's answer. */
  add(file: File, bitmap: ImageBitmap, answer: Answer): void {
    const [best] = answer.scores;
    const said = answer.sure ? best.label : `not sure: ${best.label}`;
    this.#line(file, answerLine(file.name, answer, this.card, this.top), [said, percent.format(best.score)], bitmap);
    const counted = answer.sure ? best.label : "not sure";
    this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1);
    this.#count();
  }

  /** Takes why the next picture has no answer. */
  fail(file: File, error: string): void {
    this.#line(file, errorLine(file.name, error, this.top), [error, ""]);
    this.#failed++;
    this.#count();
  }

  /** All answers, in words. */
  get tally(): string {
    const counts = [...this.#counts].sort((first, second) => second[1] - first[1]);
    const parts = counts.map(([said, count]) => `${said} ${number.format(count)}`);
    if (this.#failed > 0) parts.push(`without an answer ${number.format(this.#failed)}`);
    return `${number.format(this.total)} pictures: ${parts.join(", ")}.`;
  }

  /** The answers so far, one a line. */
  get csv(): string {
    return this.#csv.join("");
  }

  #line(file: File, csv: string, [said, score]: [said: string, score: string], bitmap?: ImageBitmap): void {
    this.#csv.push(csv);
    if (this.#csv.length - 1 > MOST_LINES) return;
    const row = elements.rows.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    const name = document.createElement("button");
    name.type = "button";
    name.className = "name";
    const words = document.createElement("span");
    words.textContent = file.name;
    name.append(thumbnail(bitmap), words);
    name.addEventListener("click", () => this.open(file));
    head.append(name);
    row.append(head);
    row.insertCell().textContent = said;
    row.insertCell().textContent = score;
    row.classList.toggle("failed", bitmap === undefined);
  }

  #count(): void {
    const done = this.#csv.length - 1;
    elements.save.disabled = done === 0;
    elements.tally.textContent =
      done < this.total ? `${number.format(done)} of ${number.format(this.total)} pictures` : this.tally;
  }
}

/** The middle square of the picture, small; empty without one. */
function thumbnail(bitmap?: ImageBitmap): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL;
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  if (bitmap && context) {
    const { left, top, side } = middleSquare(bitmap);
    context.imageSmoothingEnabled = side > THUMBNAIL;
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
  }
  return canvas;
}

/** Gives the visitor a file of text. */
export function save(text: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers begin to read it later
}
