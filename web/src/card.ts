/** What is known of the networks: `model.json`, written beside their files from the metadata of these. */

import { fetchModelFile } from "./access";

export interface Card {
  /** Name of the file that holds the network. */
  readonly file: string;
  /** Size of that file. */
  readonly bytes: number;
  readonly model: string;
  readonly precision: string;
  /** SHA-256 of the weights that it was exported from. */
  readonly weights_sha256: string;
  readonly labels: readonly string[];
  readonly parameters: number;
  /** Multiply-accumulates for one picture. */
  readonly macs: number;
  /** Share of `test_images` that it classifies correctly; null if it was not measured. */
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

/** Weights and precision, as Python's records name the model that gave an answer. */
export function identity({ model, precision, weights_sha256 }: Card): string {
  return `${model}.${precision}@${weights_sha256.slice(0, 12)}`;
}

/** A card for each network, that of the page's first network first. */
export async function loadCards(): Promise<Card[]> {
  return (await (await fetchModelFile("model.json")).json()) as Card[];
}

const number = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });

/** A network in the list of those that one can choose. */
export function choice(card: Card): string {
  const accuracy = card.test_accuracy === null ? "" : `${percent.format(card.test_accuracy)}, `;
  return `${card.model}, ${card.precision}: ${accuracy}${short.format(card.bytes / 1e3)} kB`;
}

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
