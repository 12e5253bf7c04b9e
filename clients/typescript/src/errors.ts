// What can go wrong, as errors that a program can tell apart.

import type { FieldErrors, Problem, ProblemCode } from "./types.js";

/** The API said no, and why (RFC 9457). Tell problems apart by `code`; `errors` is there for `validation_error`. */
export class ProblemError<C extends ProblemCode = ProblemCode> extends Error {
  override readonly name = "ProblemError";
  readonly code: C;
  readonly status: number;
  readonly title: string;
  /** For the service's operators to find the request in their logs. */
  readonly requestId: string;
  readonly errors: C extends "validation_error" ? FieldErrors : undefined;
  /** When to try again, in seconds, where the answer said so. */
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

/** Every problem there is, discriminated by `code`. */
export type AnyProblem = { [C in ProblemCode]: ProblemError<C> }[ProblemCode];

/** Whether `error` is a problem, with one of these codes if any are given. */
export function isProblem(error: unknown): error is AnyProblem;
export function isProblem<C extends ProblemCode>(error: unknown, ...codes: C[]): error is ProblemError<C>;
export function isProblem(error: unknown, ...codes: ProblemCode[]): boolean {
  return error instanceof ProblemError && (codes.length === 0 || codes.includes(error.code));
}

/** No answer came: offline, the server is down, it took too long, or CORS forbids to read the answer. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** An answer that is not the API's: of a proxy, say, or of a wrong address. */
export class UnexpectedAnswerError extends Error {
  override readonly name = "UnexpectedAnswerError";
  readonly status: number;
  readonly retryAfter: number | null;

  constructor(status: number, retryAfter: number | null = null) {
    super(`The answer, of status ${status}, is not one of the API.`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * The texts of a `validation_error` by the path of the field, such as `title` or `items.0.name`.
 * Empty for any other error, so that a form can show what concerns its fields and leave the rest.
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
