/**
 * How a picture of any size becomes the 32x32 RGB pixels that the network reads. The rule is that of the Python runtime
 * (cifar_edge/runtime/transform.py), bit for bit on opaque pixels: the middle square, area averaging down, bicubic up.
 */

import { Resampler } from "./resample";

/** Pixels on a side of what the network reads. */
export const IMAGE_SIZE = 32;

/** Read at once, in pixels: phones allow a canvas of 16 million. */
const STRIP_PIXELS = 4 * 1024 * 1024;

/** A decoded picture: upright, and with nothing transparent left in what `read` gives. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** RGBA of a part of the picture, row by row. */
  read(left: number, top: number, width: number, height: number): Uint8ClampedArray;
}

/** The square that counts: the largest one in the middle. */
export interface Square {
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

export function middleSquare({ width, height }: { width: number; height: number }): Square {
  const side = Math.min(width, height);
  return { left: Math.floor((width - side) / 2), top: Math.floor((height - side) / 2), side };
}

/** RGB of 32x32 pixels, row by row. */
export function toPixels(picture: Picture): Uint8Array {
  const { left, top, side } = middleSquare(picture);
  if (side === IMAGE_SIZE) return withoutAlpha(picture.read(left, top, side, side));
  const resampler = new Resampler(side, IMAGE_SIZE);
  const height = Math.max(1, Math.floor(STRIP_PIXELS / side));
  for (let row = 0; row < side; row += height) {
    resampler.push(picture.read(left, top + row, side, Math.min(height, side - row)));
  }
  return resampler.pixels();
}

function withoutAlpha(rgba: Uint8ClampedArray): Uint8Array {
  return Uint8Array.from({ length: (rgba.length / 4) * 3 }, (_, at) => rgba[Math.floor(at / 3) * 4 + (at % 3)]);
}
