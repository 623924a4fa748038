/** What the contact sheets and the pixel tests load: the renderer and poses by name. */
export { frameOf } from "./frameOf";
export { puppetFactory } from "./puppetRenderer";
