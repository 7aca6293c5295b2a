/** Pictures as the browser decodes them, and their pixels. */

import type { Picture } from "./transform";

/**
 * Decodes a file: upright by its EXIF orientation; its numbers as they are, converted by no colour profile.
 *
 * Rejects where the browser cannot read it as a picture.
 */
export function decode(file: Blob): Promise<ImageBitmap> {
  return createImageBitmap(file, {
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
    colorSpaceConversion: "none",
  });
}

/** `colorType` is newer than TypeScript's library of the DOM. */
interface Settings extends CanvasRenderingContext2DSettings {
  readonly colorType: "float16";
}

/**
 * A canvas multiplies colours by alpha, and divides again when it is read. In floating point nothing is lost by that;
 * browsers that have only 8 bits lose a little where a picture is half transparent, nothing where it is opaque.
 */
const SETTINGS: Settings = { willReadFrequently: true, colorType: "float16" };

/** The pixels of a decoded picture, or of the current frame of a video. */
export class CanvasPicture implements Picture {
  readonly width: number;
  readonly height: number;
  readonly #canvas = new OffscreenCanvas(1, 1).getContext("2d", SETTINGS);

  constructor(private readonly source: ImageBitmap | HTMLVideoElement) {
    const isVideo = source instanceof HTMLVideoElement;
    this.width = isVideo ? source.videoWidth : source.width;
    this.height = isVideo ? source.videoHeight : source.height;
  }

  read(left: number, top: number, width: number, height: number): Uint8ClampedArray {
    const context = this.#canvas;
    if (!context) throw new Error("this browser gives no canvas to read pixels from");
    context.canvas.width = width;
    context.canvas.height = height;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.source, -left, -top);
    return context.getImageData(0, 0, width, height).data;
  }
}
