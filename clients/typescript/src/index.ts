// The public interface of the client of the Gatepost API for browsers and Node.

export * from "./core.js";
export type { components, operations, paths } from "./generated.js";
export * from "./resources.js";
