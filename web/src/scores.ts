/** From the logits of a network to the probabilities of its classes. */

import type { Card } from "./card";

/** One class of an answer; `score` is its probability. */
export interface Score {
  readonly label: string;
  /** Its place among the labels. */
  readonly index: number;
  readonly score: number;
}

/** The softmax of the logits at the network's temperature, sorted. Throws where a logit is not a finite number. */
export function ranked(logits: Float32Array, { labels, temperature }: Card): Score[] {
  if (!logits.every(Number.isFinite)) throw new Error("the network's output is not finite");
  const best = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - best) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return labels
    .map((label, index) => ({ label, index, score: weights[index] / total }))
    .sort((first, second) => second.score - first.score);
}
