// What all clients share, whatever OpenAPI document they are generated from.

export type { AuthResource } from "./auth.js";
export { Client, type ClientOptions } from "./client.js";
export {
  fieldErrors,
  isProblem,
  NetworkError,
  ProblemError,
  UnexpectedAnswerError,
  type AnyProblem,
  type ProblemTest,
} from "./errors.js";
export { List, type Page } from "./lists.js";
export type { Operations } from "./operations.js";
export type { RetryPolicy } from "./retry.js";
export type { Ending, SessionState } from "./session.js";
export { browserStore, browserTabs, memoryStore, type SessionRecord, type SessionStore, type Tabs } from "./store.js";
export { newIdempotencyKey } from "./transport.js";
export type * from "./types.js";
