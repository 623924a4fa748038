// Runs in the page, for tests only. Writes down what a track sounds like and when, on the page's performance clock, and
// collects the packets that the SDK's worker was given (tests/e2e/browser.py puts a tap in front of that worker's code).
window.measure = (() => {
  // Sound is read in a worker of its own: the page's thread draws a face and would read late and lose blocks.
  const reader = () => {
    const STEP_S = 0.005;
    const tracks = {};

    function levelsOf(value) {
      const pcm = new Float32Array(value.numberOfFrames);
      value.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
      const step = Math.round(STEP_S * value.sampleRate);
      const levels = [];
      for (let from = 0; from + step <= pcm.length; from += step) {
        let sum = 0;
        for (let index = from; index < from + step; index += 1) sum += pcm[index] * pcm[index];
        levels.push(Math.sqrt(sum / step));
      }
      return levels;
    }

    async function listen(name, readable) {
      const rows = [];
      tracks[name] = rows;
      const stream = readable.getReader();
      for (;;) {
        const { value, done } = await stream.read();
        if (done || tracks[name] !== rows) break;
        rows.push([value.timestamp / 1000, performance.timeOrigin + performance.now(), levelsOf(value)]);
        value.close();
      }
      await stream.cancel().catch(() => undefined);
    }

    onmessage = ({ data }) => {
      if (data.readable) void listen(data.name, data.readable);
      else postMessage({ name: data.name, rows: tracks[data.name] ?? [] });
    };
  };

  let worker = null;
  const packets = [];
  const channel = new BroadcastChannel("visavis-tap");
  channel.onmessage = ({ data }) => {
    packets.push(data);
  };

  return {
    // From now on, per block: [AudioData timestamp in ms, performance.now() when it was read, rms of every 5 ms].
    listen(name, track) {
      worker ??= new Worker(URL.createObjectURL(new Blob([`(${reader})()`], { type: "text/javascript" })));
      const { readable } = new MediaStreamTrackProcessor({ track });
      worker.postMessage({ name, readable }, [readable]);
    },
    heard: (name) =>
      new Promise((resolve) => {
        if (worker === null) return resolve([]);
        worker.addEventListener("message", function answer({ data }) {
          if (data.name !== name) return;
          worker.removeEventListener("message", answer);
          resolve(data.rows.map(([stamp, absolute, levels]) => [stamp, absolute - performance.timeOrigin, levels]));
        });
        worker.postMessage({ name });
      }),
    packets: () =>
      packets.map(({ rtpTimestamp, bytes }) => [
        rtpTimestamp,
        Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join(""),
      ]),
    drawn: () => window.visavis.session.debug.drawn.toArray(),
    received: () => window.visavis.session.debug.received.toArray(),
    gains: () => window.visavis.session.debug.gains.toArray(),
    // Packets stay: frames are deltas, so that an independent decoder needs them from the first one on.
    clear() {
      window.visavis.session?.debug.clear();
    },
    // What stands on the canvas, coarse enough to be quick and fine enough to see a mouth move.
    picture() {
      const source = document.getElementById("canvas");
      const small = new OffscreenCanvas(48, 64);
      const context = small.getContext("2d", { willReadFrequently: true });
      context.drawImage(source, 0, 0, 48, 64);
      return Array.from(context.getImageData(0, 0, 48, 64).data);
    },
  };
})();
