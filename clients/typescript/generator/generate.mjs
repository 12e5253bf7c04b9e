#!/usr/bin/env node
// Generates a typed client from an OpenAPI document of Gatepost: the types, and a resource with a method per operation.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { DocumentError, moduleOf } from "./resources.mjs";

const USAGE = `Usage: gatepost-generate (--url URL | --input FILE) --out FOLDER

  --url URL      the address of the document, such as http://127.0.0.1:8000/openapi.json
  --input FILE   a file with the document
  --out FOLDER   the folder of generated.ts (the types) and index.ts (the client), which are replaced
`;
const PACKAGE = "@gatepost/client";
const TIMEOUT_MS = 20_000;

/** The generator cannot do what was asked for; the text is printed. */
class Failure extends Error {}

/** @param {{url?: string | undefined, input?: string | undefined}} source @returns {Promise<any>} */
async function read({ url, input }) {
  const name = url ?? input ?? "";
  try {
    if (url === undefined) {
      return JSON.parse(readFileSync(name, "utf8"));
    }
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) {
      throw new Error(`the status is ${response.status}`);
    }
    return await response.json();
  } catch (error) {
    const { message, cause } = /** @type {Error} */ (error);
    throw new Failure(`${name} cannot be read: ${cause instanceof Error ? cause.message : message}.`);
  }
}

/** Return the text of generated.ts. @param {any} document */
async function typesOf(document) {
  let writer;
  try {
    writer = await import("openapi-typescript");
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ERR_MODULE_NOT_FOUND") {
      const packages = "openapi-typescript@~7.13.0 typescript@~5.9.0";
      throw new Failure(`openapi-typescript is missing: npm install --save-dev ${packages}`);
    }
    throw error;
  }
  return writer.COMMENT_HEADER + writer.astToString(await writer.default(document));
}

async function main() {
  const text = /** @type {const} */ ({ type: "string" });
  // `core` is for the package of the client itself: where its own resources import the client from.
  const options = { url: text, input: text, out: text, core: text };
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    throw new Failure(`${/** @type {Error} */ (error).message}\n${USAGE}`);
  }
  const { url, input, out, core } = values;
  if (out === undefined || (url === undefined) === (input === undefined)) {
    throw new Failure(USAGE);
  }
  const document = await read({ url, input });
  if (typeof document?.openapi !== "string") {
    throw new Failure(`${url ?? input} is not an OpenAPI document.`);
  }
  const module = moduleOf(document, { core: core ?? PACKAGE, isPackage: core !== undefined });
  const types = await typesOf(document);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "generated.ts"), types);
  writeFileSync(join(out, core === undefined ? "index.ts" : "resources.ts"), module);
  console.log(`Wrote ${out}.`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Failure || error instanceof DocumentError)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
