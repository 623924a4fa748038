// Runs in the page, for tests only. Writes down what a track sounds like and when, on the page's performance clock, and
// collects the packets that the SDK's worker was given (tests/e2e/browser.py puts a tap in front of that worker's code).
window.measure = (() => {
  // Sound is read in a worker of its own: the page's thread draws a face and would read late and lose blocks.
  const reader = () => {
    const STEP_S = 0.005;
    const tracks = {};
    const sounds = {};

    function levelsOf(value, pcm) {
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
      sounds[name] = [];
      const stream = readable.getReader();
      for (;;) {
        const { value, done } = await stream.read();
        if (done || tracks[name] !== rows) break;
        const pcm = new Float32Array(value.numberOfFrames);
        value.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
        rows.push([value.timestamp / 1000, performance.timeOrigin + performance.now(), levelsOf(value, pcm)]);
        sounds[name].push([value.sampleRate, pcm]);
        value.close();
      }
      await stream.cancel().catch(() => undefined);
    }

    onmessage = ({ data }) => {
      if (data.readable) void listen(data.name, data.readable);
      else if (data.sound) postMessage({ name: data.name, sound: sounds[data.name] ?? [] });
      else postMessage({ name: data.name, rows: tracks[data.name] ?? [] });
    };
  };

  // Text is what crosses to the test; numbers in it as they are in memory.
  const base64 = (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let text = "";
    for (let from = 0; from < bytes.length; from += 0x8000) {
      text += String.fromCharCode(...bytes.subarray(from, from + 0x8000));
    }
    return btoa(text);
  };

  const ask = (question) =>
    new Promise((resolve) => {
      if (worker === null) return resolve({ rows: [], sound: [] });
      const wanted = question.sound ? "sound" : "rows";
      worker.addEventListener("message", function answer({ data }) {
        if (data.name !== question.name || !(wanted in data)) return;
        worker.removeEventListener("message", answer);
        resolve(data);
      });
      worker.postMessage(question);
    });

  let worker = null;
  let poses = [];
  const listened = {};
  const packets = [];
  const channel = new BroadcastChannel("visavis-tap");
  channel.onmessage = ({ data }) => {
    packets.push(data);
  };

  return {
    // From now on, per block: [AudioData timestamp in ms, performance.now() when it was read, rms of every 5 ms].
    listen(name, track) {
      listened[name] = track;
      worker ??= new Worker(URL.createObjectURL(new Blob([`(${reader})()`], { type: "text/javascript" })));
      const { readable } = new MediaStreamTrackProcessor({ track });
      worker.postMessage({ name, readable }, [readable]);
    },
    async heard(name) {
      const { rows } = await ask({ name });
      return rows.map(([stamp, absolute, levels]) => [stamp, absolute - performance.timeOrigin, levels]);
    },
    // Whether the voice still comes over the link that is listened to.
    onOneLink: () => window.visavis.session.voiceStream?.getAudioTracks()[0] === listened.voice,
    // What was heard since `listen`: [samples per second, int16 samples in base64].
    async sound(name) {
      const { sound } = await ask({ name, sound: true });
      const samples = new Int16Array(sound.reduce((sum, [, pcm]) => sum + pcm.length, 0));
      let at = 0;
      for (const [, pcm] of sound) {
        for (const value of pcm) samples[at++] = Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
      }
      return [sound[0]?.[0] ?? 48000, base64(samples)];
    },
    // From now on, whatever is drawn: performance.now() in ms, then 52 weights and 28 joint components.
    watch() {
      poses = [];
      window.visavis.session.on("frame", ({ pose }) => {
        const row = new Float64Array(81);
        row[0] = performance.now();
        row.set(pose.weights, 1);
        row.set(pose.joints, 53);
        poses.push(row);
      });
    },
    poses() {
      const all = new Float64Array(poses.length * 81);
      poses.forEach((row, index) => all.set(row, index * 81));
      return base64(all);
    },
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
      poses = [];
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
