/** What is known of the network: `model.json`, written beside `model.onnx` from that file's own metadata. */

import { fetchModelFile } from "./access";

export interface Card {
  /** Size of `model.onnx`. */
  readonly bytes: number;
  readonly model: string;
  readonly precision: string;
  readonly labels: readonly string[];
  readonly parameters: number;
  /** Multiply-accumulates for one picture. */
  readonly macs: number;
  /** Fraction of `test_images` that it classifies rightly; null where nobody measured it. */
  readonly test_accuracy: number | null;
  readonly test_images: number;
  /** What the logits are divided by before the softmax. */
  readonly temperature: number;
  /** Height and width of the input; absent from a model of contract version 1, whose size is 32. */
  readonly size?: number;
  /** An answer is "not sure" if its largest logit is below this. */
  readonly threshold?: number | null;
}

/** Height and width of the image that the network reads. */
export function sizeOf(card: Card): number {
  return card.size ?? 32;
}

export async function loadCard(): Promise<Card> {
  return (await (await fetchModelFile("model.json")).json()) as Card;
}

const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 2 });

/** The figures for people: name and value, in their order. */
export function figures(card: Card): [name: string, value: string][] {
  const accuracy =
    card.test_accuracy === null
      ? "not measured"
      : `${percent.format(card.test_accuracy)} of ${number.format(card.test_images)} test images`;
  return [
    ["Accuracy", accuracy],
    ["Parameters", number.format(card.parameters)],
    ["Work per picture", `${short.format(card.macs / 1e6)} million multiply-adds`],
    ["Size", `${short.format(card.bytes / 1e3)} kB`],
    ["Network", `${card.model}, ${card.precision}`],
  ];
}
