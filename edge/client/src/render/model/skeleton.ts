/** Turns a model's head, eyes and jaw by the frame's joints. */
import type { VRM } from "@pixiv/three-vrm";
import { Box3, Euler, type Mesh, type Object3D, Quaternion, Vector3 } from "three";
import type { AnimationFrame } from "../../avatar/frame";
import { BLENDSHAPE_INDEX, JOINT_INDEX, JOINTS, type Joint } from "../../avatar/rig";
import type { Mapping } from "./mapping";
import { knownShape } from "./names";
import type { Turning } from "./report";

/** A glance's reach: an eyeLook weight of 1. */
const LOOK_RAD = Math.PI / 6;
/** A jaw bone's turn at jawOpen 1. */
const JAW_RAD = 0.38;
/** Of a turn that the whole model makes when it has no head bone. */
const WHOLE_SHARE = 0.35;

/** Names of bones as the usual tools write them, without prefixes and signs. */
const BONES: Readonly<Record<Joint | "jaw", RegExp>> = {
  neck: /^neck1?$/,
  head: /^(head|jbipchead)$/,
  leftEye: /^(lefteye|eyeleft|eyel|leye)$/,
  rightEye: /^(righteye|eyeright|eyer|reye)$/,
  spine: /^(spine|spine2|chest|upperchest)$/,
  leftShoulder: /^(leftshoulder|shoulderleft|shoulderl)$/,
  rightShoulder: /^(rightshoulder|shoulderright|shoulderr)$/,
  jaw: /^(jaw|jawbone|lowerjaw)$/,
};
const VRM_BONES: Readonly<Record<Joint | "jaw", readonly ("neck" | "head" | "leftEye" | "rightEye" | "upperChest" | "chest" | "spine" | "leftShoulder" | "rightShoulder" | "jaw")[]>> = {
  neck: ["neck"], head: ["head"], leftEye: ["leftEye"], rightEye: ["rightEye"], spine: ["chest", "spine"],
  leftShoulder: ["leftShoulder"], rightShoulder: ["rightShoulder"], jaw: ["jaw"],
}; // prettier-ignore

/** A bone at rest, and how a turn in the model's axes becomes its own. */
interface Bone {
  readonly node: Object3D;
  readonly rest: Quaternion;
  readonly parent: Quaternion;
  readonly parentInverse: Quaternion;
}

const turn = new Quaternion();
const euler = new Euler(0, 0, 0, "YXZ");

/** Where an eye looks, in radians, positive down and towards the character's left: its joint or its weights, whichever says more. */
export function gazeOf(frame: AnimationFrame, side: "Left" | "Right"): { pitch: number; yaw: number } {
  const at = JOINT_INDEX[side === "Left" ? "leftEye" : "rightEye"] * 4;
  const [x, y, z, w] = [0, 1, 2, 3].map((part) => frame.joints[at + part]!) as [number, number, number, number];
  const joint = {
    pitch: Math.asin(clamp(2 * (w * x - y * z))),
    yaw: Math.atan2(2 * (w * y + x * z), 1 - 2 * (x * x + y * y)),
  };
  const weight = (name: "In" | "Out" | "Up" | "Down"): number =>
    frame.weights[BLENDSHAPE_INDEX[`eyeLook${name}${side}`]]!;
  const outward = (weight("Out") - weight("In")) * LOOK_RAD;
  const shown = { pitch: (weight("Down") - weight("Up")) * LOOK_RAD, yaw: side === "Left" ? outward : -outward };
  return { pitch: further(joint.pitch, shown.pitch), yaw: further(joint.yaw, shown.yaw) };
}

const clamp = (value: number): number => Math.min(1, Math.max(-1, value));
const further = (a: number, b: number): number => (Math.abs(a) >= Math.abs(b) ? a : b);

/** Finds bones once, turns them every frame. */
export class Skeleton {
  readonly turning: Turning;
  readonly hasJaw: boolean;
  readonly #root: Object3D;
  readonly #vrm: VRM | null;
  readonly #bones = new Map<Joint | "jaw", Bone>();
  readonly #eyeBones: boolean;
  readonly #pivot: Vector3;
  readonly #home: Vector3;

  /** @param root the model, in its rest pose and in the world. */
  constructor(root: Object3D, vrm: VRM | null) {
    this.#root = root;
    this.#vrm = vrm;
    root.updateWorldMatrix(true, true);
    const box = new Box3().setFromObject(root);
    for (const name of [...JOINTS, "jaw"] as const) {
      const node = vrm === null ? findBone(root, name, box) : vrmBone(vrm, name);
      if (node !== null) this.#bones.set(name, boneOf(node, root));
    }
    const eyesInShapes = movesItsOwnEyes(root);
    this.#eyeBones = vrm === null && this.#bones.has("leftEye") && this.#bones.has("rightEye") && !eyesInShapes;
    const lookAt = Boolean(vrm?.lookAt);
    this.hasJaw = this.#bones.has("jaw");
    this.turning = {
      head: this.#bones.has("head")
        ? (["neck", "head"] as const).flatMap((name) => this.#bones.get(name)?.node.name ?? [])
        : [],
      eyes: lookAt ? "look-at" : this.#eyeBones ? "bones" : eyesInShapes || hasLookShapes(root) ? "shapes" : "none",
      jaw: this.#bones.get("jaw")?.node.name ?? null,
    };
    // Without a head bone the model nods about the lower middle of what there is.
    this.#pivot = new Vector3(
      (box.min.x + box.max.x) / 2,
      box.min.y + (box.max.y - box.min.y) * 0.1,
      (box.min.z + box.max.z) / 2,
    );
    this.#home = root.position.clone();
  }

  /** The model is drawn with this frame next. */
  apply(frame: AnimationFrame, mapping: Mapping): void {
    if (this.#bones.has("head")) {
      for (const name of ["spine", "leftShoulder", "rightShoulder", "neck", "head"] as const) this.#turn(name, frame);
    } else this.#turnWhole(frame);
    if (this.#vrm?.lookAt) this.#lookAt(frame);
    else if (this.#eyeBones) {
      for (const side of ["Left", "Right"] as const) {
        const { pitch, yaw } = gazeOf(frame, side);
        this.#set(side === "Left" ? "leftEye" : "rightEye", turn.setFromEuler(euler.set(pitch, yaw, 0, "YXZ")));
      }
    }
    if (mapping.jaw.length > 0) {
      const open = mapping.jaw.reduce((sum, [name, gain]) => sum + gain * frame.weights[BLENDSHAPE_INDEX[name]]!, 0);
      this.#set("jaw", turn.setFromEuler(euler.set(Math.max(0, open) * JAW_RAD, 0, 0, "YXZ")));
    }
  }

  #turn(name: Joint, frame: AnimationFrame): void {
    this.#set(name, turn.fromArray(frame.joints, JOINT_INDEX[name] * 4));
  }

  #set(name: Joint | "jaw", rotation: Quaternion): void {
    const bone = this.#bones.get(name);
    if (bone === undefined) return;
    bone.node.quaternion.copy(bone.parentInverse).multiply(rotation).multiply(bone.parent).multiply(bone.rest);
  }

  #turnWhole(frame: AnimationFrame): void {
    const whole = new Quaternion().fromArray(frame.joints, JOINT_INDEX.neck * 4);
    whole.multiply(turn.fromArray(frame.joints, JOINT_INDEX.head * 4));
    turn.identity().slerp(whole, WHOLE_SHARE);
    this.#root.quaternion.copy(turn);
    this.#root.position.copy(this.#home).sub(this.#pivot).applyQuaternion(turn).add(this.#pivot);
  }

  #lookAt(frame: AnimationFrame): void {
    const [left, right] = [gazeOf(frame, "Left"), gazeOf(frame, "Right")];
    const lookAt = this.#vrm!.lookAt!;
    lookAt.yaw = ((left.yaw + right.yaw) * 90) / Math.PI;
    lookAt.pitch = ((left.pitch + right.pitch) * 90) / Math.PI;
  }
}

function boneOf(node: Object3D, root: Object3D): Bone {
  const parent = new Quaternion();
  if (node.parent !== null && node !== root) node.parent.getWorldQuaternion(parent);
  return { node, rest: node.quaternion.clone(), parent, parentInverse: parent.clone().invert() };
}

function vrmBone(vrm: VRM, name: Joint | "jaw"): Object3D | null {
  for (const bone of VRM_BONES[name]) {
    const node = vrm.humanoid.getNormalizedBoneNode(bone);
    if (node !== null) return node;
  }
  return null;
}

/** Real bones before mere nodes; and only those whose middle lies in the model: others would swing it about. */
function findBone(root: Object3D, name: Joint | "jaw", box: Box3): Object3D | null {
  const found: Object3D[] = [];
  root.traverse((node) => {
    const plain = node.name
      .replace(/^(mixamorig\d*:?|CC_Base_|Armature[_|:])/i, "")
      .toLowerCase()
      .replace(/[^a-z0-9]/g, "");
    if (node !== root && BONES[name].test(plain)) found.push(node);
  });
  found.sort((a, b) => Number("isBone" in b) - Number("isBone" in a));
  const room = box.clone().expandByScalar(box.getSize(new Vector3()).length() * 0.02);
  const pivot = new Vector3();
  return (
    found.find((node) => {
      const own = new Box3().setFromObject(node);
      const inside = own.isEmpty() ? room : own.expandByScalar(room.getSize(new Vector3()).length() * 0.1);
      return inside.containsPoint(node.getWorldPosition(pivot));
    }) ?? null
  );
}

function shapesOf(node: Object3D): readonly string[] {
  return "isMesh" in node ? Object.keys((node as Mesh).morphTargetDictionary ?? {}) : [];
}

const isLook = (shape: string): boolean => knownShape(shape)?.channel.startsWith("eyeLook") === true;

function hasLookShapes(root: Object3D): boolean {
  let found = false;
  root.traverse((node) => {
    found ||= shapesOf(node).some(isLook);
  });
  return found;
}

/** Eyeballs with eyeLook shapes of their own would turn twice if bones turned them too. */
function movesItsOwnEyes(root: Object3D): boolean {
  let found = false;
  root.traverse((node) => {
    found ||= /eye(?!.?(lash|lid|brow))/i.test(node.name) && shapesOf(node).some(isLook);
  });
  return found;
}
