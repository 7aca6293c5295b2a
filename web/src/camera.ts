/** The camera, live: a few frames a second. */

/** Between two frames that are classified, in milliseconds; more would only flicker. */
const PAUSE = 150;

export class Camera {
  #stream: MediaStream | undefined;

  /** `frame` is called for one frame after the other; `ended` when the camera stops by itself. */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly frame: () => Promise<void>,
    private readonly ended: () => void,
  ) {}

  /** Whether this page may have a camera: it must have come by https, or from this very machine. */
  static get available(): boolean {
    return navigator.mediaDevices !== undefined;
  }

  get running(): boolean {
    return this.#stream !== undefined;
  }

  /** Rejects where there is no camera, or its use was refused. */
  async start(): Promise<void> {
    const stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 640 }, height: { ideal: 480 } },
    });
    this.#stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", this.ended);
    this.video.srcObject = stream;
    await this.video.play();
    void this.#watch(stream);
  }

  stop(): void {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = undefined;
    this.video.srcObject = null;
  }

  async #watch(stream: MediaStream): Promise<void> {
    while (this.#stream === stream) {
      if (!document.hidden) await this.frame();
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}
