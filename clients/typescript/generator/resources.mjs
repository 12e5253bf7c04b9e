// Turns an OpenAPI document into resources: their names, their methods, and the text of the TypeScript module.

const API = "/api/v1/";
const VERBS = /** @type {const} */ (["get", "put", "post", "patch", "delete"]);
// The members of the client, which no resource may replace.
export const MEMBERS = wordsIn("call close constructor list makeResource onSessionChange perform session usesCookies");
// The methods of this resource change the session. They are written by hand, in src/auth.ts.
const BY_HAND = "auth";
const WIDTH = 120;
// The names that the module, or the client itself, has for something else than a schema of the document.
const TAKEN = wordsIn("AnyProblem components core FieldErrors Gatepost operations paths Problem ProblemCode Schemas");
// The names that the parameters of a method cannot have.
const RESERVED = wordsIn(
  `arguments await body break case catch class const continue debugger default delete do else enum eval export extends false
  finally for function if implements import in instanceof interface let new null options package private protected public
  return static super switch this throw true try typeof var void while with yield`,
);

/** The document cannot be turned into a client; the text says why and what to change. */
export class DocumentError extends Error {}

/**
 * @typedef {{name: string, required: boolean, in: string, schema?: {type?: string}}} Parameter
 * @typedef {{operationId: string, path: string, verb: typeof VERBS[number], about: string, parameters: Parameter[],
 *   body: "required" | "optional" | "none", isList: boolean, isVoid: boolean}} Operation
 * @typedef {{name: string, methods: Map<string, Operation>}} Resource
 */

/**
 * Return the resources of a document, by their names. Throws DocumentError if two operations have the same name.
 * @param {any} document
 * @returns {Resource[]}
 */
export function resourcesOf(document) {
  const groups = groupBy(operationsOf(document), (operation) => camel(words(segments(operation.path)[0] ?? "")));
  const resources = [...groups].map(([name, operations]) => ({ name, methods: methodsOf(name, operations) }));
  return resources.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param {string} name @param {Operation[]} operations */
function methodsOf(name, operations) {
  if (MEMBERS.includes(name)) {
    const reason = `client.${name} is a member of every client`;
    throw new DocumentError(`${operations[0]?.path}: ${reason}. Serve the resource under another path.`);
  }
  const ownWords = new Set(operations.flatMap(wordsOfResource).flatMap(formsOf));
  /** @type {Map<string, Operation>} */
  const methods = new Map();
  for (const operation of operations) {
    const method = methodName(operation.operationId, ownWords);
    const other = methods.get(method);
    if (other) {
      const both = [other, operation].map((one) => `${one.operationId} (${one.verb.toUpperCase()} ${one.path})`);
      throw new DocumentError(`${both.join(" and ")} would both be client.${name}.${method}. Rename one of the views.`);
    }
    methods.set(method, operation);
  }
  return methods;
}

/**
 * Return the name of a method: the operationId in camel case, without the words that name the resource and without a final
 * "of". What a list returns is named without "list", unless it is the resource itself: list_trips_of -> trips.
 * @param {string} operationId @param {Set<string>} ownWords
 */
export function methodName(operationId, ownWords) {
  const [verb = "", ...others] = words(operationId);
  const rest = others.filter((word) => !formsOf(word).some((form) => ownWords.has(form)));
  if (rest.at(-1) === "of") {
    rest.pop();
  }
  return camel(verb === "list" && rest.length ? rest : [verb, ...rest]);
}

/** The words of the path that name a resource: of `/people/{person_id}`, people and person. @param {Operation} operation */
function wordsOfResource({ path }) {
  const [resource = "", parameter = ""] = segments(path);
  const id = /^\{(\w+)_id\}$/.exec(parameter);
  return [...words(resource), ...words(id?.[1] ?? "")];
}

/** The possible singular and plural forms of a word. @param {string} word */
function formsOf(word) {
  return [word, word.replace(/s$/, ""), word.replace(/es$/, ""), word.replace(/ies$/, "y")];
}

/** @param {any} document @returns {Operation[]} */
function operationsOf(document) {
  const found = [];
  const ids = new Set();
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    const [first] = segments(path);
    for (const verb of VERBS) {
      if (item[verb] && path.startsWith(API) && first && first !== BY_HAND && !first.startsWith("{")) {
        found.push(operationOf(document, path, verb, item));
      }
    }
  }
  for (const { operationId, path } of found) {
    if (!operationId) {
      throw new DocumentError(`${path}: an operation has no operationId.`);
    }
    if (ids.has(operationId)) {
      throw new DocumentError(`${path}: ${operationId} is the operationId of two operations.`);
    }
    ids.add(operationId);
  }
  return found;
}

/**
 * @param {any} document
 * @param {string} path
 * @param {typeof VERBS[number]} verb
 * @param {any} item
 * @returns {Operation}
 */
function operationOf(document, path, verb, item) {
  const operation = item[verb];
  const responses = operation.responses ?? {};
  const body = resolve(document, operation.requestBody);
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])];
  const page = resolve(document, resolve(document, responses["200"])?.content?.["application/json"]?.schema);
  return {
    operationId: operation.operationId,
    path,
    verb,
    about: operation.description ?? operation.summary ?? "",
    parameters: parameters.map((parameter) => resolve(document, parameter)),
    body: body?.content?.["application/json"] ? (body.required ? "required" : "optional") : "none",
    isList: verb === "get" && Boolean(page?.properties?.items && page.properties.pagination),
    isVoid: "204" in responses && !("200" in responses || "201" in responses),
  };
}

/**
 * Return a value of the document, or what it refers to.
 * @param {any} document
 * @param {any} value
 * @returns {any}
 */
function resolve(document, value) {
  if (typeof value?.$ref !== "string") {
    return value;
  }
  let found = document;
  for (const key of value.$ref.replace(/^#\//, "").split("/")) {
    found = found?.[key.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return resolve(document, found);
}

/**
 * Return the text of the module with the resources of a document.
 * @param {any} document
 * @param {{core: string, isPackage: boolean}} target where the module imports the client from, and whether the module is
 *   part of the client's own package, whose types of problems are those of the document
 */
export function moduleOf(document, { core, isPackage }) {
  const resources = resourcesOf(document);
  const taken = [...TAKEN, ...resources.map(({ name }) => typeName(name))];
  const aliases = Object.keys(document.components?.schemas ?? {}).filter(
    (name) => /^[A-Za-z]\w*$/.test(name) && !name.endsWith("Problem") && !taken.includes(name),
  );
  return [
    "// Resources with a method for each operation. Generated from the OpenAPI document: do not edit.\n",
    `import * as core from "${core}";`,
    `import type { components, operations, paths } from "./generated.js";\n`,
    ...(isPackage ? [] : [PROJECT.replace("CORE", core)]),
    `export type Schemas = components["schemas"];`,
    ...aliases.map((name) => `export type ${name} = Schemas["${name}"];`),
    "",
    ...resources.map(interfaceOf),
    classOf(resources),
  ].join("\n");
}

const PROJECT = `\
export * from "CORE";
export type { components, operations, paths } from "./generated.js";

export type ProblemCode = Schemas["Problem"]["code"];
export type AnyProblem = core.AnyProblem<ProblemCode>;
/** Return whether \`error\` is a problem and, if codes are given, has one of them. */
export const isProblem = core.isProblem as unknown as core.ProblemTest<ProblemCode>;
`;

/** @param {Resource} resource */
function interfaceOf({ name, methods }) {
  const lines = [...methods].map(([method, operation]) => `${comment(operation.about)}${signature(method, operation)}`);
  return `export interface ${typeName(name)} {\n${lines.join("\n")}\n}\n`;
}

/** @param {string} method @param {Operation} operation */
function signature(method, operation) {
  const operationType = `operations["${operation.operationId}"]`;
  const options = `core.${operation.isList ? "ListOptions" : "MethodOptions"}<${operationType}>`;
  const needsOptions = operation.parameters.some((parameter) => parameter.in === "query" && parameter.required);
  const values = pathParameters(operation).map(({ name, type }) => `${argument(name)}: ${type}`);
  if (operation.body !== "none") {
    // A parameter before a required one cannot be omitted, but it can be undefined.
    const mark = operation.body === "required" ? ":" : needsOptions ? ": undefined |" : "?:";
    values.push(`body${mark} core.BodyOf<${operationType}>`);
  }
  values.push(`options${needsOptions ? "" : "?"}: ${options}`);
  const answer = operation.isVoid ? "void" : `core.Answer<core.ResultOf<${operationType}>>`;
  const result = operation.isList ? `core.List<core.ListedBy<${operationType}>>` : `Promise<${answer}>`;
  const line = `  ${method}(${values.join(", ")}): ${result};`;
  const lines = values.map((value) => `    ${value},\n`);
  return line.length <= WIDTH ? line : `  ${method}(\n${lines.join("")}  ): ${result};`;
}

/** @param {Resource[]} resources */
function classOf(resources) {
  const fields = resources.map(({ name, methods }) => {
    const entries = [...methods].map(([method, operation]) => `    ${method}: "${entryOf(operation)}",\n`);
    return `  readonly ${name} = this.makeResource<${typeName(name)}>({\n${entries.join("")}  });\n`;
  });
  return `/** A client with the resources of the document. */
export class Gatepost extends core.Client<paths> {
${fields.join("")}}
`;
}

/** @param {Operation} operation */
function entryOf(operation) {
  const hasKey = operation.parameters.some(({ name }) => name === "Idempotency-Key");
  const traits = { body: operation.body !== "none", key: hasKey, list: operation.isList, void: operation.isVoid };
  const words = Object.entries(traits).filter(([, has]) => has).map(([trait]) => trait);
  return [operation.verb, operation.path, ...words].join(" ");
}

/** @param {string} text */
function comment(text) {
  const lines = text.trim().replaceAll("*/", "*\\/").split("\n");
  if (lines.length === 1) {
    return lines[0] ? `  /** ${lines[0]} */\n` : "";
  }
  return `  /**\n${lines.map((line) => `   * ${line}`.trimEnd()).join("\n")}\n   */\n`;
}

/** The segments of a path below the API. @param {string} path */
function segments(path) {
  return path.slice(API.length).split("/");
}

/**
 * The parameters of a path in its order, with their types.
 * @param {Operation} operation
 */
function pathParameters({ path, parameters }) {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => {
    const type = parameters.find((parameter) => parameter.in === "path" && parameter.name === name)?.schema?.type;
    return { name, type: type === "integer" || type === "number" ? "number" : "string" };
  });
}

/** @param {string} text */
function wordsIn(text) {
  return text.split(/\s+/);
}

/** The words of a name, in lower case. @param {string} text */
function words(text) {
  const parts = text.split(/[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])/);
  return parts.filter(Boolean).map((word) => word.toLowerCase());
}

/** @param {string[]} parts */
function camel(parts) {
  const name = parts.map((word, index) => (index ? capital(word) : word)).join("");
  return /^\d/.test(name) ? `_${name}` : name;
}

/** @param {string} parameter */
function argument(parameter) {
  const name = camel(words(parameter));
  return RESERVED.includes(name) ? `${name}_` : name;
}

/** @param {string} word */
function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** @param {string} resource */
function typeName(resource) {
  return `${capital(resource)}Resource`;
}

/** @template T @param {T[]} items @param {(item: T) => string} keyOf @returns {Map<string, T[]>} */
function groupBy(items, keyOf) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const item of items) {
    groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  }
  return groups;
}
