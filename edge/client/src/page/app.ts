import { Session, VisavisError, type FaceStateName, type SessionEvents } from "../sdk";
import { puppetFactory } from "../render/puppet";
import { BudgetView } from "./budget";
import { CaptionsView } from "./captions";
import { DockView } from "./dock";
import { byId } from "./dom";
import { LevelMeter } from "./levelMeter";
import { forget, recall, remember } from "./memory";
import { ModelDoor } from "./modelDoor";
import { errorNotice, MICROPHONE_LOST_NOTICE, retryNotice, SOUND_NOTICE, type NoticeAction } from "./notices";
import { NoticeView } from "./noticeView";
import { loadSettings } from "./settings";
import { listenForShortcuts } from "./shortcuts";
import { StageView } from "./stage";
import { ThemeSwitch } from "./theme";
import { TranscriptView } from "./transcript";

const ACTIVITIES: Readonly<Record<FaceStateName, string>> = {
  idle: "here for you",
  listening: "listening",
  thinking: "thinking",
  speaking: "speaking",
};
const DEFAULT_CHARACTER = "mira";

type Mode = "talk" | "type";

declare global {
  interface Window {
    /** For measurements and tests; null while no conversation runs. */
    visavis?: { session: Session | null; stage: StageView };
  }
}

/** The demo page: what is seen and pressed on one side, the SDK on the other. */
export class App {
  readonly #shell = byId("shell");
  readonly #stage = new StageView(puppetFactory);
  readonly #captions = new CaptionsView();
  readonly #transcript = new TranscriptView();
  readonly #budget = new BudgetView();
  readonly #theme = new ThemeSwitch();
  readonly #meter: LevelMeter;
  readonly #dock: DockView;
  readonly #notice: NoticeView;
  readonly #door = new ModelDoor(this.#stage, (notice) => {
    this.#notice.show(notice);
  });
  #session: Session | null = null;
  #mode: Mode = "talk";
  #starting = false;
  #name = "Mira";
  #countdown: ReturnType<typeof setInterval> | null = null;

  constructor() {
    this.#dock = new DockView({
      send: (text) => this.#send(text),
      toggleMicrophone: () => void this.#toggleMicrophone(),
      interrupt: () => this.#session?.interrupt(),
    });
    this.#meter = new LevelMeter((level) => {
      this.#dock.setLevel(level);
    });
    this.#notice = new NoticeView((action) => {
      this.#act(action);
    });
    byId("start-talking").addEventListener("click", () => void this.#start("talk"));
    byId("start-typing").addEventListener("click", () => void this.#start("type"));
    byId("panel-toggle").addEventListener("click", () => {
      this.#togglePanel();
    });
    byId("panel-close").addEventListener("click", () => {
      this.#togglePanel(false);
    });
    byId("stage").addEventListener("pointerdown", () => {
      if (this.#shell.dataset["panel"] === "open") this.#togglePanel(false);
    });
    byId("help-toggle").addEventListener("click", () => {
      byId<HTMLDialogElement>("help").showModal();
    });
    listenForShortcuts({
      m: () => void this.#toggleMicrophone(),
      p: () => {
        this.#togglePanel();
      },
      t: () => {
        this.#theme.next();
      },
      "/": () => {
        this.#dock.focusText();
      },
      "?": () => {
        byId<HTMLDialogElement>("help").showModal();
      },
      Escape: () => {
        if (this.#shell.dataset["panel"] === "open") this.#togglePanel(false);
        else this.#session?.interrupt();
      },
    });
    addEventListener("pagehide", () => this.#session?.close());
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) void this.#start(this.#mode);
    });
    window.visavis = { session: null, stage: this.#stage };
  }

  /** Show the character at once, and go on with a conversation that a reload interrupted. */
  async open(): Promise<void> {
    this.#transcript.restore();
    const query = new URLSearchParams(location.search);
    if (query.get("mode") === "mirror") {
      byId("welcome-line").textContent = "Speak, and the character speaks with your voice.";
      byId("start-typing").hidden = true; // nobody would answer
    }
    void this.#stage.load(query.get("character") ?? DEFAULT_CHARACTER);
    this.#door.openAddress(query.get("model"));
    const before = recall("mode", "tab");
    if (before === "talk" || before === "type") await this.#start((await microphoneAllowed()) ? before : "type");
  }

  // --- the conversation ----------------------------------------------------------------------------------------

  async #start(mode: Mode): Promise<void> {
    if (this.#starting) return;
    this.#starting = true;
    this.#session?.close();
    this.#mode = mode;
    this.#shell.dataset["phase"] = "conversation";
    byId("welcome").hidden = true;
    this.#notice.hide();
    this.#dock.show(true);
    this.#dock.setConnected(false);
    try {
      const settings = await loadSettings().catch((cause: unknown) => {
        throw new VisavisError(
          "pop-unreachable",
          "This page's own server does not answer. Reload the page in a moment.",
          { cause },
        );
      });
      const session = new Session({
        originUrl: settings.originUrl,
        ...(settings.popUrl === null ? {} : { popUrl: settings.popUrl }),
        ...(settings.character === null ? {} : { character: settings.character }),
        mode: settings.mode,
        transport: settings.transport,
        microphone: mode === "talk" ? true : "later",
        renderer: this.#stage.face,
      });
      this.#adopt(session);
      remember("mode", mode, "tab");
      this.#starting = false;
      await session.start();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#starting = false;
    }
  }

  #failed(error: unknown): void {
    if (!(error instanceof VisavisError)) throw error;
    if (error.code === "closed") return;
    this.#session?.close();
    this.#dock.show(false);
    forget("mode", "tab");
    this.#notice.show(errorNotice(error, false));
  }

  #adopt(session: Session): void {
    this.#session = session;
    window.visavis = { session, stage: this.#stage };
    const on = <Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): void => {
      session.on(name, (event) => {
        if (this.#session === session) listener(event);
      });
    };
    on("connection", (event) => {
      this.#showConnection(event);
    });
    on("character", ({ id, name, puppet }) => {
      this.#name = name || this.#name;
      this.#transcript.characterName = this.#name;
      this.#dock.setName(this.#name);
      byId("character-name").textContent = this.#name;
      void this.#stage.load(puppet ?? (id || DEFAULT_CHARACTER));
    });
    on("state", ({ state }) => {
      this.#showState(state);
    });
    on("transcript", (entry) => {
      this.#transcript.add(entry);
      if (entry.role === "user") this.#captions.user(entry.text);
    });
    on("caption", (caption) => {
      this.#captions.add(caption);
    });
    on("word", ({ captionId, index }) => {
      this.#captions.word(captionId, index);
    });
    on("caption-end", ({ interrupted }) => {
      this.#captions.end(interrupted);
    });
    on("stages", ({ stages }) => {
      this.#budget.show(stages);
    });
    on("fault", ({ message }) => {
      this.#notice.show({ title: "Something went wrong", text: message, actions: ["dismiss"] });
    });
    on("microphone", ({ state }) => {
      this.#dock.setMicrophone(state);
      const stream = session.microphoneStream;
      if (state === "on" && stream) this.#meter.start(stream);
      else this.#meter.stop();
      if (state === "lost") this.#notice.show(MICROPHONE_LOST_NOTICE);
    });
    on("sound-blocked", ({ blocked }) => {
      if (blocked) this.#notice.show(SOUND_NOTICE);
      else if (this.#notice.shown === SOUND_NOTICE) this.#notice.hide();
    });
  }

  #send(text: string): boolean {
    try {
      this.#session?.sendText(text);
      return this.#session !== null;
    } catch (error) {
      if (error instanceof VisavisError) this.#notice.show(errorNotice(error, true));
      return false;
    }
  }

  async #toggleMicrophone(): Promise<void> {
    const session = this.#session;
    if (session === null) {
      await this.#start("talk");
      return;
    }
    try {
      await session.setMicrophone(session.microphone !== "on");
      if (this.#notice.shown?.actions.includes("talk") === true) this.#notice.hide();
    } catch (error) {
      if (error instanceof VisavisError) this.#notice.show(errorNotice(error, session.connection === "connected"));
    }
  }

  #act(action: NoticeAction): void {
    const open = this.#session !== null && this.#session.connection !== "closed";
    this.#notice.hide();
    if (action === "talk") void (open ? this.#toggleMicrophone() : this.#start("talk"));
    else if (action === "type") void this.#start("type");
    else if (action === "sound") void this.#session?.resumeSound();
    else if (action === "retry" && open) this.#session?.retryNow();
    else if (action === "retry") void this.#start(this.#mode);
  }

  // --- what is seen --------------------------------------------------------------------------------------------

  #showState(state: FaceStateName): void {
    this.#shell.dataset["state"] = state;
    byId("activity-text").textContent = ACTIVITIES[state];
    this.#stage.describe(this.#name, ACTIVITIES[state]);
    this.#dock.setState(state);
  }

  #showConnection({ state, error, retryInMs, attempt, resumed }: SessionEvents["connection"]): void {
    if (this.#countdown !== null) clearInterval(this.#countdown);
    this.#countdown = null;
    this.#shell.dataset["connection"] = state;
    if (state === "switching") {
      // The face lives on and the conversation will: a quiet word is enough.
      this.#pill("switching network…", "wait");
      return;
    }
    this.#dock.setConnected(state === "connected");
    if (state === "connected") {
      if (!resumed) this.#transcript.newConversation();
      if (this.#notice.shown?.stays !== true) this.#notice.hide();
      this.#pill("connected", "quiet");
      if (document.activeElement === document.body) this.#dock.focus(this.#mode === "type");
      return;
    }
    this.#captions.clear();
    if (state === "closed") {
      this.#meter.stop();
      this.#pill(error ? "not connected" : "", "bad");
      if (error !== null) this.#notice.show(errorNotice(error, false));
      return;
    }
    this.#pill(state === "connecting" && attempt === 0 ? "connecting" : "reconnecting", "wait");
    if (error === null) return;
    const untilMs = performance.now() + (retryInMs ?? 0);
    const show = (): void => {
      const seconds = retryInMs === null ? null : Math.max(1, Math.ceil((untilMs - performance.now()) / 1_000));
      this.#notice.show(retryNotice(error, seconds));
    };
    show();
    if (retryInMs !== null) this.#countdown = setInterval(show, 500);
  }

  #pill(text: string, tone: "quiet" | "wait" | "bad"): void {
    const pill = byId("connection");
    pill.hidden = text === "";
    pill.dataset["tone"] = tone;
    byId("connection-text").textContent = text;
  }

  #togglePanel(open = this.#shell.dataset["panel"] !== "open"): void {
    // On a wide page the panel is always there; the key goes to it.
    if (byId("panel-toggle").offsetParent === null) {
      byId("transcript").focus();
      return;
    }
    this.#shell.dataset["panel"] = open ? "open" : "closed";
    byId("panel-toggle").setAttribute("aria-expanded", String(open));
    if (open) byId("panel").focus();
    else byId("panel-toggle").focus();
  }
}

/** Whether the microphone may be opened without asking; browsers that do not say are not asked either. */
async function microphoneAllowed(): Promise<boolean> {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false;
  }
}
