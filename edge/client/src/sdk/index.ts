export { VisavisError, type VisavisErrorCode } from "./errors";
