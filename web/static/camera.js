// A camera, its frames, and how sharp they are.

const SIDE = 640; // pixels of the longer side that the server looks at while it guides
const SMALL = 160; // and of the picture whose sharpness is measured here

export class Camera {
  constructor(video) {
    this.video = video;
    this.stream = null;
    this.small = new OffscreenCanvas(SMALL, SMALL).getContext("2d", { willReadFrequently: true });
  }

  /** Open it; throws what getUserMedia throws. */
  async start() {
    const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
    this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    this.video.srcObject = this.stream;
    this.video.hidden = false;
    await this.video.play();
    if (!this.video.videoWidth) {
      await new Promise((done) => this.video.addEventListener("loadeddata", done, { once: true }));
    }
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.video.hidden = true;
  }

  get open() { return this.stream !== null; }

  /** The picture of this moment, as it is and as the server is asked about it. */
  grab() {
    const { videoWidth: width, videoHeight: height } = this.video;
    const frame = new OffscreenCanvas(width, height);
    frame.getContext("2d").drawImage(this.video, 0, 0);
    return { frame, at: performance.now(), sharpness: 0 };
  }

  /** A smaller JPEG of a frame, for guidance. */
  glance({ frame }) {
    const scale = Math.min(1, SIDE / Math.max(frame.width, frame.height));
    if (scale === 1) return frame.convertToBlob({ type: "image/jpeg", quality: 0.85 });
    const small = new OffscreenCanvas(Math.round(frame.width * scale), Math.round(frame.height * scale));
    small.getContext("2d").drawImage(frame, 0, 0, small.width, small.height);
    return small.convertToBlob({ type: "image/jpeg", quality: 0.85 });
  }

  /** The JPEG that is decided on. */
  keep({ frame }) { return frame.convertToBlob({ type: "image/jpeg", quality: 0.93 }); }

  /** Variance of the Laplacian within a box (x, y, w, h as shares of the frame). */
  sharpness({ frame }, box = [0.25, 0.15, 0.5, 0.7]) {
    const [x, y, w, h] = box, draw = this.small;
    draw.drawImage(
      frame, x * frame.width, y * frame.height, w * frame.width, h * frame.height, 0, 0, SMALL, SMALL,
    );
    const { data } = draw.getImageData(0, 0, SMALL, SMALL), grey = new Float32Array(SMALL * SMALL);
    for (let i = 0; i < grey.length; i++) {
      grey[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
    }
    let sum = 0, squares = 0, count = 0;
    for (let row = 1; row < SMALL - 1; row++) {
      for (let i = row * SMALL + 1; i < row * SMALL + SMALL - 1; i++) {
        const edge = 4 * grey[i] - grey[i - 1] - grey[i + 1] - grey[i - SMALL] - grey[i + SMALL];
        sum += edge; squares += edge * edge; count++;
      }
    }
    return squares / count - (sum / count) ** 2;
  }
}

/** Why a camera did not open, as a key of the words. */
export const cameraProblem = (error) => ({
  NotAllowedError: "camera.denied", NotFoundError: "camera.none", NotReadableError: "camera.busy",
}[error.name] ?? (navigator.mediaDevices ? "camera.failed" : "camera.insecure"));
