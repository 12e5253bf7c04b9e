// Types of one operation, derived from the generated types: parameters, body and response.

import type { components, paths } from "./generated.js";

type CoreSchemas = components["schemas"];

export type Problem = CoreSchemas["Problem"] | CoreSchemas["ValidationProblem"];
export type ProblemCode = CoreSchemas["Problem"]["code"];
export type FieldErrors = CoreSchemas["FieldErrors"];

export type Method = "get" | "put" | "post" | "patch" | "delete";

/** The paths that support a method. */
export type PathWith<M extends Method, Paths = paths> = {
  [P in keyof Paths]: Paths[P] extends Record<M, object> ? P : never;
}[keyof Paths];

export type OperationAt<M extends Method, P extends keyof Paths, Paths = paths> =
  Paths[P] extends Record<M, infer O> ? O : never;

type Json<Content> = Content extends { "application/json": infer T }
  ? T
  : Content extends { [type: string]: infer T }
    ? T
    : undefined;

type Responses<O> = O extends { responses: infer R } ? R : never;

/** The content of an operation's successful response: JSON or text of a 200, 201 or 202, or undefined for a 204. */
export type ResultOf<O> = {
  [S in keyof Responses<O>]: S extends 200 | 201 | 202
    ? Responses<O>[S] extends { content: infer C }
      ? Json<C>
      : undefined
    : S extends 204
      ? undefined
      : never;
}[keyof Responses<O>];

export type PathParameters<O> = O extends { parameters: { path: infer T } } ? T : undefined;

export type QueryOf<O> = O extends { parameters: { query?: infer T } } ? NonNullable<T> : never;

export type BodyOf<O> = O extends { requestBody?: infer B }
  ? NonNullable<B> extends { content: { "application/json": infer T } }
    ? T
    : never
  : never;

type HeadersOf<O> = O extends { parameters: { header?: infer H } }
  ? [NonNullable<H>] extends [never]
    ? never
    : keyof NonNullable<H>
  : never;

/** The paths whose GET returns a list with pagination. */
export type ListPath<Paths = paths> = {
  [P in PathWith<"get", Paths>]: ResultOf<OperationAt<"get", P, Paths>> extends { items: unknown[] } ? P : never;
}[PathWith<"get", Paths>];

/** An item of the list that an operation returns. */
export type ListedBy<O> = ResultOf<O> extends { items: (infer T)[] } ? T : never;

export type ItemOf<P extends ListPath<Paths>, Paths = paths> = ListedBy<OperationAt<"get", P, Paths>>;

type PathOption<O> = PathParameters<O> extends undefined ? { params?: undefined } : { params: PathParameters<O> };
type QueryOption<O, Without extends string = never> = [QueryOf<O>] extends [never]
  ? { query?: undefined }
  : Record<never, never> extends QueryOf<O>
    ? { query?: Omit<QueryOf<O>, Without> | undefined }
    : { query: Omit<QueryOf<O>, Without> };
type BodyOption<O> = [BodyOf<O>] extends [never]
  ? { body?: undefined }
  : O extends { requestBody: unknown }
    ? { body: BodyOf<O> }
    : { body?: BodyOf<O> };

/** A response with its ETag, or the ETag itself. */
export type Tag = string | { readonly etag: string | null };

export interface CommonOptions {
  signal?: AbortSignal | undefined;
  /** Sent as If-Match: if the resource has changed since, the request fails with `precondition_failed`. */
  ifMatch?: Tag | undefined;
  /** Sent as `If-None-Match: *`: if the resource exists already, the request fails with `precondition_failed`. */
  ifAbsent?: boolean | undefined;
  /** For operations that create something: a repeated request with the same key has no further effect. Random by default. */
  idempotencyKey?: string | undefined;
}

interface KnownOption<O> {
  /** A former response to the same GET. It is returned again, as the same object, if the resource has not changed. */
  known?: Answer<ResultOf<O>> | undefined;
}

export type CallOptions<M extends Method, P extends keyof Paths, Paths = paths> = CommonOptions &
  PathOption<OperationAt<M, P, Paths>> &
  QueryOption<OperationAt<M, P, Paths>> &
  BodyOption<OperationAt<M, P, Paths>> &
  KnownOption<OperationAt<M, P, Paths>>;

/** The options of a resource's method that returns a list. */
export type ListOptions<O> = Pick<CommonOptions, "signal"> & QueryOption<O, "page">;

interface HeaderOptions<O> {
  "If-Match": "ifMatch";
  "If-None-Match": 304 extends keyof Responses<O> ? "known" : "ifAbsent";
  "Idempotency-Key": "idempotencyKey";
}

/** The options of a resource's other methods: those that the operation has parameters for. */
export type MethodOptions<O> = Pick<
  CommonOptions & KnownOption<O>,
  "signal" | HeaderOptions<O>[HeadersOf<O> & keyof HeaderOptions<O>]
> &
  QueryOption<O>;

/** Makes the options optional if none of them is required. */
export type OptionalIfEmpty<T> = Record<never, never> extends T ? [options?: T] : [options: T];

/** A successful response. */
export interface Answer<T> {
  readonly data: T;
  readonly status: number;
  readonly etag: string | null;
  readonly location: string | null;
  /** Whether this is the stored response to an earlier request with the same Idempotency-Key. */
  readonly replayed: boolean;
  readonly requestId: string | null;
}
