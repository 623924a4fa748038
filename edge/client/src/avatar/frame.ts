/** The face at one instant. Mirrors core/avatar/frame.py. */
export interface AnimationFrame {
  /** 52 ARKit weights in [0, 1], in the order of BLENDSHAPES. */
  readonly weights: Float32Array;
  /** 7 unit quaternions (x, y, z, w), w >= 0, flattened, in the order of JOINTS. */
  readonly joints: Float32Array;
  /** Lip-sync confidence in [0, 1]. */
  readonly syncScore: number;
}
