import { VisavisError } from "./errors";

const CONSTRAINTS: MediaTrackConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: 1,
};

/**
 * Ask for the microphone.
 *
 * @throws VisavisError "microphone-denied", "microphone-missing", "microphone-busy" or "microphone-failed".
 */
export async function openMicrophone(): Promise<MediaStream> {
  const devices = (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
  if (!devices) {
    throw new VisavisError(
      "microphone-failed",
      "Browsers give the microphone to secure pages only. Open this page over https, or type instead.",
    );
  }
  try {
    return await devices.getUserMedia({ audio: CONSTRAINTS });
  } catch (cause) {
    throw microphoneError(cause);
  }
}

/** Say what getUserMedia's DOMException means. Source: Media Capture and Streams section 10.3. */
export function microphoneError(cause: unknown): VisavisError {
  switch (cause instanceof Error ? cause.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return new VisavisError(
        "microphone-denied",
        "The microphone is blocked for this page. Allow it at the lock or microphone sign beside the address, or type instead.",
        { cause },
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return new VisavisError(
        "microphone-missing",
        "No microphone was found. Plug one in and try again, or type instead.",
        { cause },
      );
    case "NotReadableError":
    case "AbortError":
      return new VisavisError(
        "microphone-busy",
        "The microphone is there, but another program holds it. Close that program and try again, or type instead.",
        { cause },
      );
    default:
      return new VisavisError("microphone-failed", "The microphone could not be opened. Try again, or type instead.", {
        cause,
      });
  }
}
