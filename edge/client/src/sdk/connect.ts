import type { ConnectOptions } from "./options";
import { Session } from "./session";

/**
 * Begin a conversation.
 *
 * ```ts
 * const session = await connect({ originUrl: "https://origin.example", microphone: true, renderer });
 * session.on("transcript", ({ role, text }) => console.log(role, text));
 * session.sendText("Hello!");
 * ```
 *
 * Resolves when sound can flow. From then on the session reconnects by itself. To have the first attempt repeated as
 * well, use `new Session(options)` and `start()`.
 *
 * @throws VisavisError with a code and a sentence for people.
 */
export async function connect(options: ConnectOptions): Promise<Session> {
  const session = new Session(options);
  await session.startOnce();
  return session;
}
