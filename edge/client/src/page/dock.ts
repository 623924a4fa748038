import type { FaceStateName, MicrophoneState } from "../sdk";
import { byId, setIcon } from "./dom";

const MIC_LABELS: Readonly<Record<MicrophoneState, string>> = {
  off: "Turn microphone on",
  on: "Mute microphone",
  muted: "Unmute microphone",
  lost: "Microphone lost. Turn microphone on again",
};

/** What the dock asks for. */
export interface DockActions {
  /** @returns true when the line was taken and the box may be emptied. */
  readonly send: (text: string) => boolean;
  readonly toggleMicrophone: () => void;
  readonly interrupt: () => void;
}

/** Microphone, text box, send, interrupt. */
export class DockView {
  readonly #form = byId<HTMLFormElement>("dock");
  readonly #text = byId<HTMLInputElement>("text");
  readonly #send = byId<HTMLButtonElement>("send");
  readonly #mic = byId<HTMLButtonElement>("mic");
  readonly #micIcon = byId<SVGUseElement>("mic-icon");
  readonly #micLabel = byId("mic-label");
  readonly #micLevel = byId("mic-level");
  readonly #interrupt = byId<HTMLButtonElement>("interrupt");
  #connected = false;

  constructor(actions: DockActions) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#text.value.trim() !== "" && actions.send(this.#text.value)) this.#text.value = "";
      this.#enable();
    });
    this.#text.addEventListener("input", () => {
      this.#enable();
    });
    this.#mic.addEventListener("click", actions.toggleMicrophone);
    this.#interrupt.addEventListener("click", () => {
      actions.interrupt();
      this.#mic.focus();
    });
    this.setMicrophone("off");
  }

  show(shown: boolean): void {
    this.#form.hidden = !shown;
  }

  focusText(): void {
    if (!this.#form.hidden) this.#text.focus();
  }

  /** Where the keyboard goes when a conversation begins; the text box only for those who type, as it opens a phone's keyboard. */
  focus(typing: boolean): void {
    if (this.#form.hidden) return;
    if (typing) this.#text.focus();
    else this.#mic.focus();
  }

  setName(name: string): void {
    this.#text.placeholder = `Write to ${name}…`;
  }

  setConnected(connected: boolean): void {
    this.#connected = connected;
    this.#enable();
  }

  setState(state: FaceStateName): void {
    this.#interrupt.disabled = state !== "speaking";
  }

  setMicrophone(state: MicrophoneState): void {
    this.#mic.setAttribute("aria-pressed", String(state === "on"));
    this.#mic.dataset["state"] = state;
    this.#mic.title = `${MIC_LABELS[state]} (M)`;
    this.#micLabel.textContent = MIC_LABELS[state];
    setIcon(this.#micIcon, state === "on" ? "mic" : "mic-off");
  }

  /** @param level 0…1 */
  setLevel(level: number): void {
    this.#micLevel.style.setProperty("--level", level.toFixed(3));
  }

  #enable(): void {
    this.#send.disabled = !this.#connected || this.#text.value.trim() === "";
  }
}
