/**
 * The Visavis browser SDK: `connect()` to a character, hear it, see it, talk to it.
 *
 * @packageDocumentation
 */
export { connect } from "./connect";
export { Session } from "./session";
export { Face } from "./face";
export { TEXT_CHARS_MAX, type ConnectOptions } from "./options";
export { VisavisError, type VisavisErrorCode } from "./errors";
export { STAGES, type Stage } from "./budget";
export {
  FACE_STATES,
  type Caption,
  type CaptionWord,
  type ConnectionState,
  type ConversationEvents,
  type FaceStateName,
  type MicrophoneState,
  type SessionEvents,
  type TranscriptEntry,
} from "./events";
export type { LinkProtocol, LinkStats, MotionPath, TransportChoice } from "../transports/link";
export type { PipeCounters } from "../transports/messages";
export type { SessionStats } from "./stats";
export type { DebugTrace, DrawnTrace, GainTrace, ReceivedTrace } from "./debug";
export type { MotionSample, MotionSource } from "../stream/timeline";
export type { AnimationFrame } from "../avatar/frame";
export { BLENDSHAPES, JOINTS, RIG_PROFILE } from "../avatar/rig";
export { RendererError, type Renderer, type RendererFactory } from "../render/renderer";
