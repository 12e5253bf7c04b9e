// What the generated types say of one operation: its parameters, body and answer, by method and path.

import type { components, paths } from "./generated.js";

export type Schemas = components["schemas"];

export type Problem = Schemas["Problem"] | Schemas["ValidationProblem"];
export type ProblemCode = Schemas["Problem"]["code"];
export type FieldErrors = Schemas["FieldErrors"];

export type Post = Schemas["Post"];
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

/** The paths that offer a method. */
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

/** What an operation answers when all is well: the JSON of a 200 or 201, text, or undefined for a 204. */
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

/** The POST paths under which a retry can be told from a second wish. */
export type KeyedPath = {
  [P in keyof paths]: paths[P]["post"] extends { parameters: { header?: infer H } }
    ? [NonNullable<H>] extends [never]
      ? never
      : "Idempotency-Key" extends keyof NonNullable<H>
        ? P
        : never
    : never;
}[keyof paths];

/** The paths whose GET answers the list envelope. */
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

/** An answer with its entity tag, or the tag alone. */
export type Tag = string | { readonly etag: string | null };

export interface CommonOptions {
  signal?: AbortSignal | undefined;
  /** Only if the resource is still the one with this tag; 412 `precondition_failed` otherwise. */
  ifMatch?: Tag | undefined;
  /** Of a creation: the same key, body and caller give the first answer again. The client makes one if this is absent. */
  idempotencyKey?: string | undefined;
}

export type CallOptions<M extends Method, P extends keyof paths> = CommonOptions &
  PathOption<OperationAt<M, P>> &
  QueryOption<OperationAt<M, P>> &
  BodyOption<OperationAt<M, P>> & {
    /** A former answer of this very GET: it is given again, the same object, if the resource has not changed. */
    known?: Answer<ResultOf<OperationAt<M, P>>> | undefined;
  };

/** May the options be left out altogether? */
export type OptionalIfEmpty<T> = Record<never, never> extends T ? [options?: T] : [options: T];

/** What came back. */
export interface Answer<T> {
  readonly data: T;
  readonly status: number;
  readonly etag: string | null;
  readonly location: string | null;
  /** Whether this is the first answer to an Idempotency-Key, given again. */
  readonly replayed: boolean;
  readonly requestId: string | null;
}
