// A transport for Pipecat's JavaScript client (@pipecat-ai/client-js) that talks to a POP of Visavis. What it does not do:
// choose devices, read the face's motion, come back over another network; the SDK in edge/client does.
//
//   const client = new PipecatClient({ transport: new VisavisTransport(), enableMic: false, callbacks: { … } });
//   await client.connect({ originUrl: "http://127.0.0.1:8081" });
//   await client.sendText("What is your name?");
import { logger, RTVIMessage, Transport, TransportStartError } from "@pipecat-ai/client-js";

const BOT = { id: "bot", name: "bot", local: false };

export class VisavisTransport extends Transport {
  #peer = null;
  #channel = null;
  #location = null;
  #token = "";
  #microphone = null;
  #microphoneWanted = false;
  #voice = null;
  #rtc;

  /** @param {RTCConfiguration & object} rtc passed on to RTCPeerConnection. */
  constructor(rtc = { bundlePolicy: "max-bundle" }) {
    super();
    this.#rtc = rtc;
    this._state = "disconnected";
    this._maxMessageSize = 16_384;
  }

  initialize(options, messageHandler) {
    this._options = options;
    this._callbacks = options.callbacks ?? {};
    this._onMessage = messageHandler;
    this.#microphoneWanted = options.enableMic ?? false;
    this.state = "disconnected";
  }

  async initDevices() {
    this.state = "initializing";
    if (this.#microphoneWanted) {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      this.#microphone = stream.getAudioTracks()[0];
    }
    this.state = "initialized";
  }

  _validateConnectionParams(params) {
    if (typeof params?.originUrl !== "string" && params?.ticket === undefined) {
      throw new TransportStartError("connect() wants { originUrl } or { ticket }.");
    }
    return params;
  }

  /** @param {{originUrl?: string, character?: string, ticket?: object}} params where to ask for a ticket, or one. */
  async _connect(params) {
    this.state = "connecting";
    const ticket = params.ticket ?? (await this.#fetchTicket(params));
    const pop = ticket.pops[0];
    this.#token = pop.token;
    const peer = new RTCPeerConnection({ ...this.#rtc, iceServers: ticket.ice_servers ?? [] });
    this.#peer = peer;
    this.#channel = peer.createDataChannel("control");
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#channel.onclose = () => this.#lost();
    peer.ontrack = ({ track }) => {
      this.#voice = track;
      this._callbacks.onTrackStarted?.(track, BOT);
    };
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === "failed") this.#lost();
    };
    const direction = this.#microphone === null ? "recvonly" : "sendrecv";
    peer.addTransceiver(this.#microphone ?? "audio", { direction });
    await peer.setLocalDescription(await peer.createOffer());
    const url = `${pop.url.replace(/\/$/, "")}/v1/sessions/${ticket.session_id}/webrtc`;
    const response = await this.#request(url, "POST", "application/sdp", peer.localDescription.sdp);
    const location = response.headers.get("Location");
    this.#location = location === null ? null : new URL(location, url).href;
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
    await this.#opened();
    this.state = "connected";
    this._callbacks.onConnected?.();
    this._callbacks.onBotConnected?.(BOT);
  }

  async #fetchTicket({ originUrl, character }) {
    const url = `${originUrl.replace(/\/$/, "")}/v1/sessions`;
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(character === undefined ? {} : { character }),
      signal: this._abortController?.signal,
    });
    if (response.status !== 201) throw new TransportStartError(`The origin gave no ticket (HTTP ${response.status}).`);
    return response.json();
  }

  async #request(url, method, type, body) {
    const headers = { "Content-Type": type, Authorization: `Bearer ${this.#token}` };
    const response = await fetch(url, { method, headers, body, signal: this._abortController?.signal });
    if (!response.ok) throw new TransportStartError(`The POP refused the connection (HTTP ${response.status}).`);
    return response;
  }

  #opened() {
    return new Promise((resolve, reject) => {
      if (this.#channel.readyState === "open") resolve();
      this.#channel.onopen = () => resolve();
      const give = setTimeout(() => reject(new TransportStartError("No media comes through to the POP.")), 10_000);
      give.unref?.();
    });
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      logger.warn("[Visavis Transport] a message that is not JSON was dropped");
      return;
    }
    if (message.label === "rtvi-ai") this._onMessage(message);
  }

  #lost() {
    if (this.#peer === null) return;
    this._callbacks.onBotDisconnected?.(BOT);
    void this._disconnect();
  }

  async _disconnect() {
    const peer = this.#peer;
    if (peer === null) return;
    this.#peer = null;
    this.state = "disconnecting";
    if (this.#location !== null) {
      const headers = { Authorization: `Bearer ${this.#token}` };
      await fetch(this.#location, { method: "DELETE", headers, keepalive: true }).catch(() => undefined);
    }
    this.#microphone?.stop();
    this.#microphone = this.#voice = this.#channel = this.#location = null;
    await peer.close();
    this.state = "disconnected";
    this._callbacks.onDisconnected?.();
  }

  sendReadyMessage() {
    this.state = "ready";
    this.sendMessage(RTVIMessage.clientReady());
  }

  sendMessage(message) {
    this.#channel?.send(JSON.stringify(message));
  }

  get state() {
    return this._state;
  }

  set state(state) {
    if (this._state === state) return;
    this._state = state;
    this._callbacks.onTransportStateChanged?.(state);
  }

  tracks() {
    const local = this.#microphone === null ? {} : { audio: this.#microphone };
    return this.#voice === null ? { local } : { local, bot: { audio: this.#voice } };
  }

  enableMic(enable) {
    if (this.#microphone !== null) this.#microphone.enabled = enable;
  }

  get isMicEnabled() {
    return this.#microphone?.enabled ?? false;
  }

  // There are no cameras and screens to share here, and the system's devices are used.
  getAllMics = async () => [];
  getAllCams = async () => [];
  getAllSpeakers = async () => [];
  updateMic() {}
  updateCam() {}
  updateSpeaker() {}
  enableCam() {}
  enableScreenShare() {}
  selectedMic = {};
  selectedCam = {};
  selectedSpeaker = {};
  isCamEnabled = false;
  isSharingScreen = false;
}
