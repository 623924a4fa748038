import type { VisavisError, VisavisErrorCode } from "../sdk";

/** What a person can do about it. */
export type NoticeAction = "talk" | "type" | "retry" | "sound" | "dismiss";

/** A message to the person in front of the page. */
export interface Notice {
  readonly title: string;
  readonly text: string;
  readonly actions: readonly NoticeAction[];
  /** Not about the connection: it stays when that is made. */
  readonly stays?: boolean;
}

export const ACTION_LABELS: Readonly<Record<NoticeAction, string>> = {
  talk: "Try again",
  type: "Type instead",
  retry: "Try now",
  sound: "Turn sound on",
  dismiss: "All right",
};

const TITLES: Readonly<Record<VisavisErrorCode, string>> = {
  "browser-unsupported": "This browser cannot do it",
  "origin-unreachable": "The service is out of reach",
  "origin-refused": "The service said no",
  "origin-busy": "All places are taken",
  "pop-unreachable": "The media server is out of reach",
  "pop-refused": "The media server said no",
  "pop-busy": "The media server is full",
  "connection-timeout": "No sound comes through",
  "connection-lost": "Connection lost",
  "microphone-missing": "No microphone found",
  "microphone-denied": "The microphone is blocked",
  "microphone-busy": "The microphone is taken",
  "microphone-failed": "The microphone did not open",
  "text-empty": "Nothing to send",
  "text-too-long": "That is too long",
  "session-ended": "The conversation is over",
  kicked: "The conversation was ended",
  closed: "The conversation is over",
};

/**
 * Say an error.
 *
 * @param connected whether the conversation goes on without what failed.
 */
export function errorNotice(error: VisavisError, connected: boolean): Notice {
  return { title: TITLES[error.code], text: error.message, actions: actionsFor(error, connected) };
}

function actionsFor(error: VisavisError, connected: boolean): readonly NoticeAction[] {
  if (error.code.startsWith("microphone-")) return connected ? ["talk", "dismiss"] : ["talk", "type"];
  if (error.code.startsWith("text-")) return ["dismiss"];
  if (error.code === "browser-unsupported") return [];
  return ["retry"];
}

/** While the session tries again by itself. @param seconds until the next attempt; null while one is under way. */
export function retryNotice(error: VisavisError, seconds: number | null): Notice {
  const when = seconds === null ? "Trying now…" : `Next try in ${seconds} s.`;
  return { title: TITLES[error.code], text: `${error.message} ${when}`, actions: seconds === null ? [] : ["retry"] };
}

export const SOUND_NOTICE: Notice = {
  title: "The sound is off",
  text: "Your browser waits for a click before it plays sound.",
  actions: ["sound"],
  stays: true,
};

export const MICROPHONE_LOST_NOTICE: Notice = {
  title: "The microphone is gone",
  text: "It was unplugged or taken away. You can go on typing, or plug it in again.",
  actions: ["talk", "dismiss"],
};

/** A face that was asked for is not there; the one before it goes on. @param text a whole sentence. */
export function modelNotice(text: string): Notice {
  return { title: "That face cannot be used", text, actions: ["dismiss"], stays: true };
}
