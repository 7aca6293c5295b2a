/** Pictures as the browser decodes them, and their pixels. */

import type { Picture } from "./transform";

/** What shows through transparent pixels: the value that the network maps to zero. */
const GREY = "rgb(128 128 128)";

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

/** The pixels of a decoded picture, or of the current frame of a video, over grey where they are transparent. */
export class CanvasPicture implements Picture {
  readonly width: number;
  readonly height: number;
  // Read back at once: a canvas on the graphics processor would be slower, and may round otherwise.
  readonly #canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

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
    context.fillStyle = GREY;
    context.fillRect(0, 0, width, height);
    context.drawImage(this.source, -left, -top);
    return context.getImageData(0, 0, width, height).data;
  }
}
