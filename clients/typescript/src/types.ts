// Types of one operation, derived from the generated types: parameters, body and response, by method and path.

import type { components, paths } from "./generated.js";

export type Schemas = components["schemas"];

export type Problem = Schemas["Problem"] | Schemas["ValidationProblem"];
export type ProblemCode = Schemas["Problem"]["code"];
export type FieldErrors = Schemas["FieldErrors"];

export type Post = Schemas["Post"];
/** A post in a list: `excerpt`, and `content` only with `include: "content"`. */
export type ListedPost = Schemas["ListedPost"];
export type NewPost = Schemas["NewPost"];
export type PostChanges = Schemas["PostChanges"];
export type User = Schemas["User"];
export type PublicUser = Schemas["PublicUser"];
export type PrivateUser = Schemas["PrivateUser"];
export type NewUser = Schemas["NewUser"];
export type Profile = Schemas["Profile"];
export type ProfileChanges = Schemas["ProfileChanges"];
export type Session = Schemas["Session"];

export type Method = "get" | "put" | "post" | "patch" | "delete";

/** The paths that support a method. */
export type PathWith<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends object ? P : never;
}[keyof paths];

export type OperationAt<M extends Method, P extends keyof paths> = NonNullable<paths[P][M]>;

type Json<Content> = Content extends { "application/json": infer T }
  ? T
  : Content extends { [type: string]: infer T }
    ? T
    : undefined;

type Responses<O> = O extends { responses: infer R } ? R : never;

/** The content of an operation's successful response: JSON or text of a 200 or 201, or undefined for a 204. */
export type ResultOf<O> = {
  [S in keyof Responses<O>]: S extends 200 | 201
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

/** The paths whose POST accepts an Idempotency-Key. */
export type IdempotentPath = {
  [P in keyof paths]: paths[P]["post"] extends { parameters: { header?: infer H } }
    ? [NonNullable<H>] extends [never]
      ? never
      : "Idempotency-Key" extends keyof NonNullable<H>
        ? P
        : never
    : never;
}[keyof paths];

/** The paths whose GET returns a list with pagination. */
export type ListPath = {
  [P in PathWith<"get">]: ResultOf<OperationAt<"get", P>> extends { items: unknown[] } ? P : never;
}[PathWith<"get">];

export type ItemOf<P extends ListPath> =
  ResultOf<OperationAt<"get", P>> extends { items: (infer T)[] } ? T : never;

type PathOption<O> = PathParameters<O> extends undefined ? { params?: undefined } : { params: PathParameters<O> };
type QueryOption<O> = [QueryOf<O>] extends [never] ? { query?: undefined } : { query?: QueryOf<O> };
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
  /** For operations that create something: a repeated request with the same key has no further effect. Random by default. */
  idempotencyKey?: string | undefined;
}

export type CallOptions<M extends Method, P extends keyof paths> = CommonOptions &
  PathOption<OperationAt<M, P>> &
  QueryOption<OperationAt<M, P>> &
  BodyOption<OperationAt<M, P>> & {
    /** A former response to the same GET. It is returned again, as the same object, if the resource has not changed. */
    known?: Answer<ResultOf<OperationAt<M, P>>> | undefined;
  };

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
