/**
 * Resizing a square exactly as Pillow does (libImaging/Resample.c): weights in fixed point with 22 bits, a horizontal
 * pass and a vertical one, each rounded to 8 bits.
 */

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

interface Filter {
  /** Half the width of the filter, in pixels of the coarser of the two images. */
  readonly support: number;
  weight(distance: number): number;
}

/** The average of an area of whole pixels. */
const BOX: Filter = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/** Keys 1981, with a = -0.5. */
const BICUBIC: Filter = {
  support: 2,
  weight(distance) {
    const x = Math.abs(distance);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
  },
};

/** The pixels that one target pixel is made of: `weights`, times 2^22, of those from `first` on. */
interface Taps {
  readonly first: number;
  readonly weights: Int32Array;
}

function tapsFor(from: number, to: number): Taps[] {
  const filter = from > to ? BOX : BICUBIC;
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: to }, (_, target) => {
    const centre = (target + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, x) => filter.weight((x + first - centre + 0.5) / stretch));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: Int32Array.from(weights, (weight) => fixedPoint(weight / total)) };
  });
}

function fixedPoint(weight: number): number {
  return Math.trunc(weight * 2 ** PRECISION_BITS + (weight < 0 ? -0.5 : 0.5));
}

/** Takes the rows of a square from the top, any number at a time, so that no large picture is held whole. */
export class Resampler {
  readonly #taps: Taps[];
  /** RGB rows of the target's width, one for each row of the source. */
  readonly #narrow: Uint8ClampedArray;
  #filled = 0;

  /** Of a square of `from` x `from` pixels it makes one of `to` x `to`. */
  constructor(
    from: number,
    private readonly to: number,
  ) {
    this.#taps = tapsFor(from, to);
    this.#narrow = new Uint8ClampedArray(from * to * 3);
  }

  /** Adds rows of opaque RGBA pixels, `from` of them a row. */
  push(rgba: Uint8ClampedArray): void {
    const width = this.#narrow.length / (this.to * 3);
    for (let row = 0; row < rgba.length; row += width * 4) {
      for (const { first, weights } of this.#taps) {
        let red = HALF;
        let green = HALF;
        let blue = HALF;
        let at = row + first * 4;
        for (const weight of weights) {
          red += rgba[at] * weight;
          green += rgba[at + 1] * weight;
          blue += rgba[at + 2] * weight;
          at += 4;
        }
        this.#narrow[this.#filled++] = red >> PRECISION_BITS;
        this.#narrow[this.#filled++] = green >> PRECISION_BITS;
        this.#narrow[this.#filled++] = blue >> PRECISION_BITS;
      }
    }
  }

  /** The target's RGB pixels, row by row, once every row of the source was pushed. */
  pixels(): Uint8Array {
    const stride = this.to * 3;
    const target = new Uint8ClampedArray(this.to * stride);
    this.#taps.forEach(({ first, weights }, row) => {
      for (let x = 0; x < stride; x++) {
        let sum = HALF;
        weights.forEach((weight, y) => {
          sum += this.#narrow[(first + y) * stride + x] * weight;
        });
        target[row * stride + x] = sum >> PRECISION_BITS;
      }
    });
    return new Uint8Array(target.buffer);
  }
}
