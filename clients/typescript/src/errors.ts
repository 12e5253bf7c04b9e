// The errors that the client throws.

import type { FieldErrors, Problem, ProblemCode } from "./types.js";

/** An error response of the API (RFC 9457). `code` identifies the problem; only `validation_error` has `errors`. */
export class ProblemError<C extends string = ProblemCode> extends Error {
  override readonly name = "ProblemError";
  readonly code: C;
  readonly status: number;
  readonly title: string;
  /** Identifies the request in the logs of the service. */
  readonly requestId: string;
  readonly errors: C extends "validation_error" ? FieldErrors : undefined;
  /** The seconds to wait before a retry, from Retry-After; null without that header. */
  readonly retryAfter: number | null;

  constructor(problem: Problem, retryAfter: number | null = null) {
    super(problem.detail);
    this.code = problem.code as C;
    this.status = problem.status;
    this.title = problem.title;
    this.requestId = problem.request_id;
    this.errors = ("errors" in problem ? problem.errors : undefined) as ProblemError<C>["errors"];
    this.retryAfter = retryAfter;
  }
}

/** All problems, as a union that is discriminated by `code`. */
export type AnyProblem<Codes extends string = ProblemCode> = { [C in Codes]: ProblemError<C> }[Codes];

/** The type of `isProblem` for a document with these codes. */
export interface ProblemTest<Codes extends string> {
  (error: unknown): error is AnyProblem<Codes>;
  <C extends Codes>(error: unknown, ...codes: C[]): error is ProblemError<C>;
}

/** Return whether `error` is a problem and, if `codes` are given, has one of them. */
export function isProblem(error: unknown): error is AnyProblem;
export function isProblem<C extends ProblemCode>(error: unknown, ...codes: C[]): error is ProblemError<C>;
export function isProblem(error: unknown, ...codes: ProblemCode[]): boolean {
  return error instanceof ProblemError && (codes.length === 0 || codes.includes(error.code));
}

/** No response: the network or the server is unreachable, the timeout has passed, or CORS forbids reading the response. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** A response that does not come from the API, but from a proxy or from the server of a wrong address. */
export class UnexpectedAnswerError extends Error {
  override readonly name = "UnexpectedAnswerError";
  readonly status: number;
  readonly retryAfter: number | null;

  constructor(status: number, retryAfter: number | null = null) {
    super(`The response with status ${status} does not come from the API.`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Return the messages of a `validation_error` by the path of the field, such as `title` or `items.0.name`.
 * Returns an empty object for any other error.
 */
export function fieldErrors(error: unknown): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  if (isProblem(error, "validation_error")) {
    collect(error.errors, "", found);
  }
  return found;
}

function collect(errors: FieldErrors, prefix: string, found: Record<string, string[]>): void {
  for (const [name, value] of Object.entries(errors)) {
    if (Array.isArray(value)) {
      found[prefix + name] = value;
    } else {
      collect(value, `${prefix}${name}.`, found);
    }
  }
}
