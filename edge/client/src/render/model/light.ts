/** The page's light: warm from the front, cool from the side of the night, a rim that parts the head from the sky. */
import {
  BackSide, Color, DirectionalLight, HemisphereLight, Mesh, MeshBasicMaterial, type Object3D, PMREMGenerator, Scene,
  SphereGeometry, BufferAttribute, type MeshStandardMaterial, type Texture, type WebGLRenderer,
} from "three"; // prettier-ignore

const WARM = 0xffe2bd;
const COOL = 0x8f9cff;
const SKY = 0xb9c0ff;
const GROUND = 0x4a3a52;
/** From here on a surface mirrors more than it shows of itself, and is black where there is nothing to mirror. */
const METALNESS_MIN = 0.3;
const SURROUNDINGS_PIXELS = 64;

/** @param soft for materials that shade themselves, as VRM's: less of everything but the front. */
export function addLight(scene: Scene, soft: boolean): void {
  const key = new DirectionalLight(WARM, soft ? 2.2 : 2.9);
  key.position.set(-0.9, 1.1, 2.2);
  const fill = new DirectionalLight(COOL, soft ? 0.2 : 0.8);
  fill.position.set(2.2, 0.2, 1.2);
  const rim = new DirectionalLight(COOL, soft ? 0.4 : 3);
  rim.position.set(1.4, 1.2, -2);
  scene.add(key, fill, rim, new HemisphereLight(SKY, GROUND, soft ? 0.9 : 1.5));
}

/** Whether a model has surfaces that need surroundings to mirror. */
export function isMetallic(root: Object3D): boolean {
  let found = false;
  root.traverse((node) => {
    if (!("isMesh" in node)) return;
    for (const material of [(node as Mesh).material].flat()) {
      found ||= "metalness" in material && (material as MeshStandardMaterial).metalness > METALNESS_MIN;
    }
  });
  return found;
}

/** A small night sky with a lamp in it, as surroundings to mirror. Dispose it. */
export function surroundings(renderer: WebGLRenderer): Texture {
  const scene = new Scene();
  const geometry = new SphereGeometry(5, 24, 16);
  const position = geometry.getAttribute("position");
  const colours = new Float32Array(position.count * 3);
  const [low, high, lamp] = [new Color(0x2a2238), new Color(0x98a2f0), new Color(WARM)];
  for (let i = 0; i < position.count; i += 1) {
    const [x, y, z] = [position.getX(i) / 5, position.getY(i) / 5, position.getZ(i) / 5];
    const colour = low.clone().lerp(high, (y + 1) / 2);
    const near = Math.max(0, (-0.35 * x + 0.45 * y + 0.82 * z) * 1.05 - 0.25);
    colour.lerp(lamp, Math.min(1, near)).multiplyScalar(1 + 1.6 * near);
    colour.toArray(colours, i * 3);
  }
  geometry.setAttribute("color", new BufferAttribute(colours, 3));
  const material = new MeshBasicMaterial({ vertexColors: true, side: BackSide });
  scene.add(new Mesh(geometry, material));
  const generator = new PMREMGenerator(renderer);
  const { texture } = generator.fromScene(scene, 0.06, 0.1, 20, { size: SURROUNDINGS_PIXELS });
  generator.dispose();
  geometry.dispose();
  material.dispose();
  return texture;
}
