/**
 * How an image of any size becomes the RGB pixels that the network reads. The rule is that of the Python runtime
 * (cifar_edge/runtime/transform.py), bit for bit: the middle square, whatever is transparent over grey, area averaging
 * down, bicubic up.
 */

import { Resampler } from "./resample";

/** Read at once, in pixels: phones allow a canvas of 16 million. */
const STRIP_PIXELS = 4 * 1024 * 1024;

/** What shows through transparent pixels: the value that the network maps to zero. */
const GREY = 128;

/** A decoded picture, upright. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** RGBA of a part of the picture, row by row, its colours not multiplied by alpha. The caller may change the array. */
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

/** RGB of `size` x `size` pixels, row by row. */
export function toPixels(picture: Picture, size: number): Uint8Array {
  const { left, top, side } = middleSquare(picture);
  if (side === size) return withoutAlpha(overGrey(picture.read(left, top, side, side)));
  const resampler = new Resampler(side, size);
  const height = Math.max(1, Math.floor(STRIP_PIXELS / side));
  for (let row = 0; row < side; row += height) {
    resampler.push(overGrey(picture.read(left, top + row, side, Math.min(height, side - row))));
  }
  return resampler.pixels();
}

/** In place; the array rounds to the nearest whole number, which is what Pillow's alpha_composite comes to. */
function overGrey(rgba: Uint8ClampedArray): Uint8ClampedArray {
  for (let at = 0; at < rgba.length; at += 4) {
    const alpha = rgba[at + 3];
    if (alpha === 255) continue;
    for (let channel = at; channel < at + 3; channel++) {
      rgba[channel] = (rgba[channel] * alpha + GREY * (255 - alpha)) / 255;
    }
    rgba[at + 3] = 255;
  }
  return rgba;
}

function withoutAlpha(rgba: Uint8ClampedArray): Uint8Array {
  return Uint8Array.from({ length: (rgba.length / 4) * 3 }, (_, at) => rgba[Math.floor(at / 3) * 4 + (at % 3)]);
}
