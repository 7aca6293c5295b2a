/** The network itself: onnxruntime in WebAssembly, on one thread, reading raw pixels. */

import * as ort from "onnxruntime-web/wasm";

import { fetchModelFile } from "./access";
import { type Card, sizeOf } from "./card";
import { ranked, type Score } from "./scores";

export interface Answer {
  /** Every class, the most probable first. */
  readonly scores: readonly Score[];
  /** Whether the largest logit reaches the threshold of the network, if it has one. */
  readonly sure: boolean;
  /** What the network took. */
  readonly milliseconds: number;
}

export class Classifier {
  /** The run before, which a next one waits for: a session runs one picture at a time. */
  #before: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly session: ort.InferenceSession,
    readonly card: Card,
  ) {}

  static async load(card: Card): Promise<Classifier> {
    // More threads need headers (COOP, COEP) that a plain static host does not send, and gain nothing at this size.
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { wasm: new URL("ort-wasm-simd-threaded.wasm", document.baseURI).href };
    const network = new Uint8Array(await (await fetchModelFile(card.file)).arrayBuffer());
    const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
    const classifier = new Classifier(session, card);
    // The first run allocates memory; no picture should wait for it.
    await classifier.classify(new Uint8Array(classifier.size ** 2 * 3));
    return classifier;
  }

  /** Height and width of the image that the network reads. */
  get size(): number {
    return sizeOf(this.card);
  }

  /** Classifies RGB pixels, `size` x `size`, row by row. */
  classify(pixels: Uint8Array): Promise<Answer> {
    const answer = this.#before.then(() => this.#run(pixels));
    this.#before = answer.catch(() => undefined);
    return answer;
  }

  async #run(pixels: Uint8Array): Promise<Answer> {
    const start = performance.now();
    const image = new ort.Tensor("uint8", pixels, [1, this.size, this.size, 3]);
    const { logits } = await this.session.run({ image });
    const milliseconds = performance.now() - start;
    const values = logits.data as Float32Array;
    const sure = Math.max(...values) >= (this.card.threshold ?? -Infinity);
    return { scores: ranked(values, this.card), sure, milliseconds };
  }
}
