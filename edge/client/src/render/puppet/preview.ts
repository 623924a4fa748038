/** The preview page: a slider for each weight and joint axis, presets, visemes in a row, pictures. */
import posesFile from "../../../puppets/poses.json";
import { BLENDSHAPES, JOINTS } from "../../avatar/rig";
import { AXES } from "./format";
import { frameOf } from "./frameOf";
import { PuppetRenderer } from "./puppetRenderer";
import { versionOf } from "./version";

type NamedPoses = Readonly<Record<string, Readonly<Record<string, number>>>>;
const poses = posesFile as Readonly<Record<string, NamedPoses>>;

const JOINT_RANGE_RAD = 0.5;
const VISEME_MS = 420;

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The preview page has no #${id}.`);
  return found;
}

const stage = element("stage") as HTMLCanvasElement;
const message = element("message");
const sliders = new Map<string, HTMLInputElement>();
const pose: Record<string, number> = {};
let renderer: PuppetRenderer | null = null;
let speakingSince: number | null = null;

function addSlider(parent: HTMLElement, name: string, min: number, max: number): void {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: String(min), max: String(max), step: "0.01", value: "0" });
  input.addEventListener("input", () => {
    pose[name] = Number(input.value);
  });
  label.append(name, input);
  parent.append(label);
  sliders.set(name, input);
}

function take(values: Readonly<Record<string, number>>): void {
  for (const [name, slider] of sliders) {
    pose[name] = values[name] ?? 0;
    slider.value = String(pose[name]);
  }
}

function addPresets(): void {
  for (const [group, entries] of Object.entries(poses)) {
    const title = document.createElement("h2");
    title.textContent = group;
    const buttons = document.createElement("fieldset");
    for (const [name, values] of Object.entries(entries)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.addEventListener("click", () => {
        take(values);
      });
      buttons.append(button);
    }
    element("presets").append(title, buttons);
  }
}

function load(data: unknown): void {
  try {
    const next = new PuppetRenderer(stage, data);
    renderer?.close();
    renderer = next;
    element("title").textContent = `${next.data.name} (${next.data.version.slice(0, 15)}…)`;
    message.textContent = `${next.data.layers.length} layers`;
    void versionOf(next.data).then((version) => {
      if (renderer !== next || version === next.data.version) return;
      message.textContent = `The version is not the hash of the content; it should be ${version}.`;
    });
    fit();
  } catch (error) {
    message.textContent = error instanceof Error ? error.message : String(error);
  }
}

function fit(): void {
  renderer?.resize(stage.clientWidth, stage.clientHeight, window.devicePixelRatio);
}

/** The visemes one after the other, each blended into the next. */
function speakingPose(now: number, since: number): Record<string, number> {
  const visemes = Object.values(poses["visemes"] ?? {});
  const at = (now - since) / VISEME_MS;
  const from = visemes[Math.floor(at) % visemes.length] ?? {};
  const to = visemes[(Math.floor(at) + 1) % visemes.length] ?? {};
  const share = Math.min(1, (at % 1) * 2);
  const mixed: Record<string, number> = { ...pose };
  for (const name of new Set([...Object.keys(from), ...Object.keys(to)])) {
    mixed[name] = (from[name] ?? 0) * (1 - share) + (to[name] ?? 0) * share;
  }
  return mixed;
}

function tick(now: number): void {
  renderer?.draw(frameOf(speakingSince === null ? pose : speakingPose(now, speakingSince)), now);
  requestAnimationFrame(tick);
}

function save(): void {
  stage.toBlob((blob) => {
    if (blob === null) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${renderer?.data.id ?? "puppet"}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

for (const name of BLENDSHAPES) addSlider(element("weights"), name, 0, 1);
for (const joint of JOINTS) {
  for (const axis of AXES) addSlider(element("joints"), `${joint}.${axis}`, -JOINT_RANGE_RAD, JOINT_RANGE_RAD);
}
addPresets();
element("rest").addEventListener("click", () => {
  take({});
});
element("save").addEventListener("click", save);
element("speak").addEventListener("click", () => {
  speakingSince = speakingSince === null ? performance.now() : null;
  element("speak").setAttribute("aria-pressed", String(speakingSince !== null));
});
element("file").addEventListener("change", (event) => {
  const file = (event.target as HTMLInputElement).files?.[0];
  void file
    ?.text()
    .then((text) => {
      load(JSON.parse(text));
    })
    .catch((error: unknown) => {
      message.textContent = `That file is not JSON: ${String(error)}`;
    });
});
window.addEventListener("resize", fit);
void fetch("characters/mira/puppet.json")
  .then((response) => response.json())
  .then(load)
  .catch((error: unknown) => {
    message.textContent = `The puppet did not load: ${String(error)}`;
  });
requestAnimationFrame(tick);
