/** One stage between the end of the user's speech and the first sound of the answer. Mirrors core/session/budget.py. */
export interface Stage {
  readonly name: string;
  readonly title: string;
  readonly targetMs: number;
}

export const STAGES: readonly Stage[] = [
  { name: "detect", title: "end of speech noticed", targetMs: 250 },
  { name: "transcribe", title: "speech to text", targetMs: 60 },
  { name: "think", title: "first clause", targetMs: 150 },
  { name: "speak", title: "voice synthesised", targetMs: 30 },
  { name: "fabric", title: "origin to POP", targetMs: 10 },
  { name: "edge", title: "animated and sent", targetMs: 25 },
  { name: "playout", title: "network and playout", targetMs: 75 },
];
