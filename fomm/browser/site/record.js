// Records frames to a WebM file: the browser encodes each, and this writes the container.

const BITS = 0.35; // a second, for each pixel and frame a second: so much keeps the mark
const KEY_EVERY = 60; // frames

/** Records the frames of a canvas. */
export class Recorder {
  #chunks = [];
  #failed = null;

  /** Return whether this browser can encode video. */
  static get isThere() {
    return "VideoEncoder" in self;
  }

  /** @param {number} width @param {number} height @param {number} fps about how many frames a second */
  constructor(width, height, fps) {
    // sides of encoded pictures are even: an odd last column or row is left out
    [this.width, this.height, this.count] = [width & ~1, height & ~1, 0];
    this.encoder = new VideoEncoder({
      output: (chunk) => {
        const data = new Uint8Array(chunk.byteLength);
        chunk.copyTo(data);
        this.#chunks.push({ data, time: Math.round(chunk.timestamp / 1000), key: chunk.type === "key" });
      },
      error: (reason) => { this.#failed = reason; },
    });
    const bitrate = Math.max(1e6, this.width * this.height * fps * BITS);
    this.encoder.configure({ codec: "vp8", width: this.width, height: this.height, bitrate, framerate: fps });
  }

  /** Take a frame of a canvas, shown at a time in seconds. */
  async add(canvas, time) {
    const area = { x: 0, y: 0, width: this.width, height: this.height };
    const frame = new VideoFrame(canvas, { timestamp: Math.round(time * 1e6), visibleRect: area });
    this.encoder.encode(frame, { keyFrame: this.count % KEY_EVERY === 0 });
    frame.close();
    this.count++;
    while (this.encoder.encodeQueueSize > 4) await new Promise((done) => setTimeout(done, 5));
  }

  /**
   * Return the file.
   * @param {string} title says what made it
   * @returns {Promise<Blob>}
   */
  async finish(title) {
    await this.encoder.flush();
    this.encoder.close();
    if (this.#failed) throw new Error(`The browser could not encode the video: ${this.#failed.message}`);
    return new Blob([writeWebm(this.#chunks, this.width, this.height, title)], { type: "video/webm" });
  }
}

/** Return bytes of a WebM file of VP8 frames; times are milliseconds. */
function writeWebm(chunks, width, height, title) {
  const last = chunks.length > 1 ? chunks.at(-1).time - chunks.at(-2).time : 40;
  const head = element(0x1a45dfa3, [
    element(0x4286, [1]), element(0x42f7, [1]), element(0x42f2, [4]), element(0x42f3, [8]),
    element(0x4282, text("webm")), element(0x4287, [4]), element(0x4285, [2]),
  ]);
  const info = element(0x1549a966, [
    element(0x2ad7b1, number(1e6, 4)), element(0x4489, double(chunks.at(-1).time + last)),
    element(0x7ba9, text(title)), element(0x4d80, text("fomm")), element(0x5741, text("fomm")),
  ]);
  const track = element(0x1654ae6b, [element(0xae, [
    element(0xd7, [1]), element(0x73c5, [1]), element(0x83, [1]), element(0x86, text("V_VP8")),
    element(0xe0, [element(0xb0, number(width, 2)), element(0xba, number(height, 2))]),
  ])]);
  const tag = element(0x1254c367, [element(0x7373, [
    element(0x63c0, []), element(0x67c8, [element(0x45a3, text("COMMENT")), element(0x4487, text(title))]),
  ])]);
  const clusters = [];
  for (const { data, time, key } of chunks) {
    if (key || !clusters.length || time - clusters.at(-1).time > 30000) clusters.push({ time, blocks: [] });
    const { time: start, blocks } = clusters.at(-1);
    blocks.push(element(0xa3, [[0x81, ...number(time - start, 2), key ? 0x80 : 0], data]));
  }
  const body = clusters.map(({ time, blocks }) => element(0x1f43b675, [element(0xe7, number(time, 4)), ...blocks]));
  return join([head, element(0x18538067, [info, track, tag, ...body])]);
}

const text = (words) => new TextEncoder().encode(words);

function number(value, bytes) {
  return Array.from({ length: bytes }, (_, k) => Math.floor(value / 256 ** (bytes - 1 - k)) & 255);
}

function double(value) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return new Uint8Array(view.buffer);
}

function join(parts) {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let to = 0;
  for (const part of parts) {
    joined.set(part, to);
    to += part.length;
  }
  return joined;
}

/** Return an element of the container: its number, its length in eight bytes, and what is in it. */
function element(id, content) {
  const inside = content.length && typeof content[0] !== "number" ? join(content) : content;
  const name = number(id, id > 0xffffff ? 4 : id > 0xffff ? 3 : id > 0xff ? 2 : 1);
  return join([name, [1, ...number(inside.length, 7)], inside]);
}
