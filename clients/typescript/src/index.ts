// The public interface of the client of the Gatepost API for browsers and Node.

export { Gatepost, type ClientOptions } from "./client.js";
export {
  fieldErrors,
  isProblem,
  NetworkError,
  ProblemError,
  UnexpectedAnswerError,
  type AnyProblem,
} from "./errors.js";
export { List, type Page } from "./lists.js";
export type { RetryPolicy } from "./retry.js";
export type { AuthResource, PostsResource, UsersResource } from "./resources.js";
export type { Ending, SessionState } from "./session.js";
export { browserStore, browserTabs, memoryStore, type SessionRecord, type SessionStore, type Tabs } from "./store.js";
export { newIdempotencyKey } from "./transport.js";
export type * from "./types.js";
export type { components, operations, paths } from "./generated.js";
