/** The part of an audio worklet's global scope that is used; TypeScript has no library for it. */
export interface WorkletProcessor {
  readonly port: MessagePort;
}

interface WorkletScope {
  readonly AudioWorkletProcessor: new () => WorkletProcessor;
  readonly currentFrame: number;
  registerProcessor(name: string, processor: new () => WorkletProcessor): void;
}

export const scope = globalThis as unknown as WorkletScope;
