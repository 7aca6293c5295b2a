/** The camera, live: a few frames a second, at a steady rate. */

/** From one frame that is classified to the next, in milliseconds; more frames would only flicker. */
const PERIOD = 200;

export class Camera {
  #stream: MediaStream | undefined;
  /** Counts starts and stops: permission may be given after the camera was stopped again. */
  #attempt = 0;

  /** `frame` is called for one frame after the other; `ended` when the camera stops by itself, with why, if known. */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly frame: () => Promise<void>,
    private readonly ended: (error?: unknown) => void,
  ) {}

  /** Whether this page may have a camera: it must have come by https, or from this very machine. */
  static get available(): boolean {
    return navigator.mediaDevices !== undefined;
  }

  get running(): boolean {
    return this.#stream !== undefined;
  }

  /** Returns whether it runs, which it does not if it was stopped meanwhile. Rejects without a camera or permission. */
  async start(): Promise<boolean> {
    const mine = ++this.#attempt;
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } },
    });
    if (mine !== this.#attempt) {
      release(stream);
      return false;
    }
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => this.ended());
    this.video.srcObject = stream;
    await this.video.play();
    void this.#watch(stream);
    return mine === this.#attempt;
  }

  stop(): void {
    this.#attempt++;
    if (this.#stream) release(this.#stream);
    this.#stream = undefined;
    this.video.srcObject = null;
  }

  async #watch(stream: MediaStream): Promise<void> {
    try {
      let due = performance.now();
      while (this.#stream === stream) {
        if (!document.hidden) await this.frame();
        due = Math.max(due + PERIOD, performance.now()); // where a frame takes longer, the next one follows at once
        await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      }
    } catch (error) {
      this.ended(error);
    }
  }
}

function release(stream: MediaStream): void {
  stream.getTracks().forEach((track) => track.stop());
}
