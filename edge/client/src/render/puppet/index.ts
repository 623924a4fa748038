export { PUPPET_FORMAT, type PuppetData } from "./format";
export { PuppetRenderer, puppetFactory } from "./puppetRenderer";
export { validatePuppet } from "./validate";
