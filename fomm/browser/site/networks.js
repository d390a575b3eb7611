// The networks: opened once, by WebGPU where the browser has it, else by WebAssembly.

const NAMES = ["keypoints", "source", "render", "detector", "mesh"];

/** The networks of the page, see `fomm/browser/networks.py` for their inputs and outputs. */
export class Networks {
  /**
   * Open all networks.
   * @param {(share: number) => void} tell is told how much of the work is done, in [0, 1]
   * @param {string} engine "webgpu", "wasm", or "auto"
   */
  static async open(tell, engine = "auto") {
    if (engine !== "wasm" && (await navigator.gpu?.requestAdapter().catch(() => null))) {
      try {
        return await Networks.#openBy("webgpu", tell);
      } catch (reason) {
        if (engine === "webgpu") throw reason;
        console.warn(`WebGPU could not be used: ${reason}`);
      }
    }
    return Networks.#openBy("wasm", tell);
  }

  static async #openBy(engine, tell) {
    const networks = new Networks();
    networks.ort = await import(`./runtime/ort.${engine}.bundle.min.mjs`);
    networks.engine = engine;
    networks.threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
    networks.ort.env.wasm.numThreads = networks.threads;
    networks.ort.env.logLevel = "error";
    networks.sessions = {};
    for (const [number, name] of NAMES.entries()) {
      const answer = await fetch(`networks/${name}.onnx`);
      if (!answer.ok) throw new Error(`networks/${name}.onnx cannot be loaded (${answer.status})`);
      // the networks of faces are so small that a processor is quicker at them
      const provider = name === "detector" || name === "mesh" ? "wasm" : engine;
      networks.sessions[name] = await networks.ort.InferenceSession.create(await answer.arrayBuffer(), {
        executionProviders: [provider],
        graphOptimizationLevel: "all",
      });
      tell((number + 1) / NAMES.length);
    }
    return networks;
  }

  /**
   * Run a network.
   * @param {string} name
   * @param {Record<string, [Float32Array, number[]]>} inputs numbers and shape of each
   * @returns {Promise<Record<string, [Float32Array, number[]]>>} the same of each output
   */
  async run(name, inputs) {
    const feeds = {};
    for (const [key, [data, shape]] of Object.entries(inputs)) feeds[key] = new this.ort.Tensor("float32", data, shape);
    const results = await this.sessions[name].run(feeds), outputs = {};
    for (const [key, tensor] of Object.entries(results)) outputs[key] = [await tensor.getData(), tensor.dims];
    return outputs;
  }
}
