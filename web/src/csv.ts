/** Answers as CSV, in the columns of `cifar-edge predict --csv`. */

import { type Card, identity } from "./card";
import type { Answer } from "./classifier";

/** Version of the records; Python's (cifar_edge/cli/prediction_records.py). */
const VERSION = 1;
/** First characters of cells that spreadsheets compute; the last four are full-width forms. */
const FORMULA = /^[=+\-@\uff1d\uff0b\uff0d\uff20]/;
/** What moves a cursor, ends a line or reorders text: that of cifar_edge/messages.py. */
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

type Cell = string | number | undefined;

export function header(top: number): string {
  const further = ranks(top).flatMap((rank) => [`label_${rank}`, `index_${rank}`, `score_${rank}`]);
  return line(["version", "input", "model", "label", "index", "score", ...further, "error"]);
}

/** The line of an answer by the network of `card`. */
export function answerLine(name: string, { scores, sure }: Answer, card: Card, top: number): string {
  const [best, ...others] = scores.slice(0, top);
  const first = sure ? [best.label, best.index] : ["unknown", undefined];
  const further = ranks(top).flatMap((rank) => {
    const score = others.at(rank - 2);
    return [score?.label, score?.index, score?.score];
  });
  return line([VERSION, name, identity(card), ...first, best.score, ...further, undefined]);
}

/** The line of a picture without an answer. */
export function errorLine(name: string, error: string, top: number): string {
  return line([VERSION, name, ...Array<undefined>(1 + 3 * top), error]);
}

/** 2 to `top`. */
function ranks(top: number): number[] {
  return Array.from({ length: top - 1 }, (_, index) => index + 2);
}

function line(cells: readonly Cell[]): string {
  return cells.map(cell).join(",") + "\n";
}

function cell(value: Cell): string {
  if (typeof value !== "string") return value === undefined ? "" : String(value);
  const shown = value.replace(UNSAFE, "\ufffd");
  const inert = FORMULA.test(shown) ? `'${shown}` : shown;
  return /[",]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
