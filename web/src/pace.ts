/** How fast the camera's frames are answered, over the last of them: single times would flicker. */

const FRAMES = 15;

export class Pace {
  readonly #ends: number[] = [];
  readonly #times: number[] = [];

  /** A frame was answered at `end`, and took `time`; both in milliseconds. */
  add(end: number, time: number): void {
    for (const [values, value] of [[this.#ends, end], [this.#times, time]] as const) {
      values.push(value);
      if (values.length > FRAMES) values.shift();
    }
  }

  /** What a frame takes, in milliseconds: the median. */
  get time(): number {
    const sorted = [...this.#times].sort((first, second) => first - second);
    return sorted[Math.floor(sorted.length / 2)];
  }

  /** Frames a second; undefined until the clock has ticked between two. */
  get rate(): number | undefined {
    const ends = this.#ends;
    const passed = ends[ends.length - 1] - ends[0];
    return passed > 0 ? (1000 * (ends.length - 1)) / passed : undefined;
  }
}
