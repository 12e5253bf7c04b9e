// Makes a method of a resource from the text of its operation.

import type { Client } from "./client.js";

/**
 * The operations of a resource by the names of its methods, such as "post /api/v1/posts body key": the HTTP method, the path,
 * and words that say how to call it. "body": a body follows the path parameters; "key": an Idempotency-Key is accepted;
 * "list": the result is a list with pagination; "void": there is no result.
 */
export type Operations<Name extends string = string> = Readonly<Record<Name, string>>;

type Untyped = Pick<Client, "perform"> & { list(path: string, options: object): unknown };

/** Return the method of an operation. Its arguments are the path parameters, the body and the options. */
export function methodOf(client: Untyped, operation: string): (...values: unknown[]) => unknown {
  const [method = "", path = "", ...traits] = operation.split(" ");
  const names = path.match(/\w+(?=\})/g) ?? [];
  return (...values) => {
    const params = Object.fromEntries(names.map((name) => [name, values.shift()]));
    const body = traits.includes("body") ? values.shift() : undefined;
    const options = { ...(values[0] as object | undefined), params, body };
    if (traits.includes("list")) {
      return client.list(path, options);
    }
    const answer = client.perform(method, path, options);
    return traits.includes("void") ? answer.then(() => {}) : answer;
  };
}
