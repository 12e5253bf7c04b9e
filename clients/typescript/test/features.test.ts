// Clients that are generated for the features of a project: names, types, requests, errors of the generator, and their size.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DocumentError, MEMBERS, resourcesOf } from "../generator/resources.mjs";
import { Client, isProblem } from "../src/index.js";
import { DOCUMENT } from "./document.js";
import { baseUrl, failure, newPerson, problemResponse } from "./support.js";

const PACKAGE = resolve(import.meta.dirname, "..");
const TSC = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const TYPE_CHECK_MS = 300_000;
let folder = "";

function generate(...args: string[]): string {
  return execFileSync("node", [join(PACKAGE, "generator", "generate.mjs"), ...args], { encoding: "utf8", stdio: "pipe" });
}

/** Check the types of a module beside generated clients, as a project that has the client as a dependency. */
function checkTypes(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
  const strict = { strict: true, noUncheckedIndexedAccess: true, erasableSyntaxOnly: true, verbatimModuleSyntax: true };
  const modules = { module: "nodenext", target: "es2022", lib: ["es2023", "dom", "dom.iterable"], types: [], noEmit: true };
  const compilerOptions = { ...strict, ...modules, customConditions: ["@gatepost/source"], skipLibCheck: true };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [name] }));
  execFileSync("node", [TSC], { cwd: folder, encoding: "utf8", stdio: ["ignore", "inherit", "inherit"] });
}

/** Return the size of the built program, compressed as servers do, and its text. */
async function built(program: string): Promise<{ bytes: number; text: string }> {
  const input = join(folder, "program.ts");
  writeFileSync(input, program);
  const output = await build({
    configFile: false,
    root: folder,
    logLevel: "error",
    resolve: { conditions: ["@gatepost/source"] },
    build: { write: false, modulePreload: false, target: "es2022", rollupOptions: { input } },
  });
  const text = (output as { output: { code: string }[] }).output[0]?.code ?? "";
  return { bytes: gzipSync(text).length, text };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gatepost-features-"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  mkdirSync(join(folder, "node_modules", "@gatepost"), { recursive: true });
  symlinkSync(PACKAGE, join(folder, "node_modules", "@gatepost", "client"));
  writeFileSync(join(folder, "openapi.json"), JSON.stringify(DOCUMENT));
  generate("--input", join(folder, "openapi.json"), "--out", join(folder, "api"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("each operation has the method that the rule for names says", () => {
  const found = resourcesOf(DOCUMENT).map(({ name, methods }) => [name, [...methods.keys()]]);
  const ordinary = ["list", "create", "get", "replace", "update", "delete"];
  expect(Object.fromEntries(found)).toEqual({
    _2faCodes: ["send"],
    courses: [...ordinary, "enrolments", "enrol"],
    enrolments: ["grade", "delete"],
    items: ["get", "put", "delete"],
    people: ordinary,
    transfers: ["create"],
    trips: ordinary,
    users: ["trips"],
    weather: ["get"],
  });
});

test("the methods send the requests of their operations", async () => {
  const { Gatepost } = await import(join(folder, "api", "index.ts"));
  const sent: [string, unknown, Record<string, string>][] = [];
  const client = new Gatepost({
    baseUrl: "https://api.example.com",
    fetch: async (url: string, { method, body, headers }: { method: string; body?: string; headers: Record<string, string> }) => {
      sent.push([`${method} ${url.slice("https://api.example.com/api/v1".length)}`, body && JSON.parse(body), headers]);
      if (url.endsWith("/enrolments")) {
        return problemResponse(409, "course_full");
      }
      const isLast = url.includes("cursor");
      const pagination = { next_cursor: isLast ? null : "next", prev_cursor: null };
      const content = { id: 1, items: [{ id: isLast ? 2 : 1 }], pagination };
      const init = { headers: { "Content-Type": "application/json", ETag: '"1"' } };
      return method === "DELETE" ? new Response(null, { status: 204 }) : new Response(JSON.stringify(content), init);
    },
  });
  const last = (): (typeof sent)[number] => sent.at(-1) ?? ["", undefined, {}];

  const trip = await client.trips.create({ name: "North", waypoints: [] }, { idempotencyKey: "mine" });
  expect(last()).toMatchObject(["POST /trips", { name: "North", waypoints: [] }, { "Idempotency-Key": "mine" }]);
  await client.trips.create({ name: "South" });
  expect(last()[2]["Idempotency-Key"]).toMatch(/^[0-9a-f]{32}$/);
  await client.trips.update(1, { name: "East" }, { ifMatch: trip });
  expect(last()).toMatchObject(["PATCH /trips/1", { name: "East" }, { "If-Match": '"1"' }]);
  await client.trips.get(1, { known: trip });
  expect(last()).toMatchObject(["GET /trips/1", undefined, { "If-None-Match": '"1"' }]);
  expect(await client.trips.delete(1)).toBe(undefined);
  expect(await client.users.trips(7).toArray()).toEqual([{ id: 1 }, { id: 2 }]);
  expect(sent.slice(-2).map(([request]) => request)).toEqual(["GET /users/7/trips", "GET /users/7/trips?cursor=next"]);

  await client.items.put("a/b", { val: 1 }, { ifMatch: '"2"' });
  expect(last()).toMatchObject(["PUT /items/a%2Fb", { val: 1 }, { "If-Match": '"2"' }]);
  expect(last()[2]).not.toHaveProperty("If-None-Match");
  await client.items.put("a", { val: 1 }, { ifAbsent: true });
  expect(last()[2]).toMatchObject({ "If-None-Match": "*" });
  await client.transfers.create({ from: "a", to: "b", amount: 3 });
  expect(last()).toMatchObject(["POST /transfers", { from: "a", to: "b", amount: 3 }, { "Idempotency-Key": expect.stringMatching(/^[0-9a-f]{32}$/) }]);
  await client.weather.get({ query: { city: "Oslo" } });
  expect(last()[0]).toBe("GET /weather?city=Oslo");

  const full = await failure(client.courses.enrol(3));
  expect(last().slice(0, 2)).toEqual(["POST /courses/3/enrolments", undefined]);
  expect(full).toMatchObject({ code: "course_full" });
  await expect(client.trips.get()).rejects.toThrow(RangeError);
  expect(client.trips).not.toHaveProperty("call");
});

test("the types are those of the document", { timeout: TYPE_CHECK_MS }, () => {
  checkTypes(
    "use.ts",
    `import { type Answer, fieldErrors, Gatepost, isProblem, type Item, type Trip } from "./api/index.js";
     const client = new Gatepost({ baseUrl: "" });
     export const trip: Promise<Answer<Trip>> = client.trips.create({ name: "North" }, { idempotencyKey: "k" });
     export const names: Promise<string[]> = client.users.trips(1).toArray().then((trips) => trips.map(({ name }) => name));
     export const deleted: Promise<void> = client.trips.delete(1, { ifMatch: await trip });
     export const item: Item = (await client.items.put("a", { val: 1 }, { ifAbsent: true })).data;
     export const temperature: number = (await client.weather.get({ query: { city: "Oslo" } })).data.temperature_c;
     export const read = await client.call("get", "/api/v1/trips/{trip_id}", { params: { trip_id: 1 } });
     export const same: Trip = (await client.trips.get(1, { known: read })).data;
     export const called: Trip[] = await client.list("/api/v1/trips", { query: { sort: "name" } }).toArray();
     export const me: string = (await client.auth.me()).data.email;
     await client.courses.enrol(1);
     await client._2faCodes.send(1);
     await client._2faCodes.send(1, { text: "" });
     export function explain(error: unknown): string {
       if (isProblem(error, "course_full")) {
         return error.code + JSON.stringify(fieldErrors(error));
       }
       // @ts-expect-error No operation has this problem.
       return isProblem(error, "course_empty") ? "" : String(error);
     }
     // @ts-expect-error The name is missing.
     client.trips.create({});
     // @ts-expect-error The sort key is no number.
     client.trips.list({ query: { sort: 1 } });
     // @ts-expect-error Pages are read with cursors.
     client.trips.list({ query: { page: "1" } });
     // @ts-expect-error The id of a trip is a number.
     client.trips.get("1");
     // @ts-expect-error The city is required.
     client.weather.get();
     // @ts-expect-error The city is required here, too.
     client.call("get", "/api/v1/weather", {});
     // @ts-expect-error A grade is not changed with If-Match.
     client.enrolments.grade(1, { grade: "A" }, { ifMatch: "*" });
     // @ts-expect-error There are no posts.
     client.posts.list();
     // @ts-expect-error Nor their path.
     client.call("get", "/api/v1/posts");
    `,
  );
});

test("a project's client works with the features of a real service", { timeout: TYPE_CHECK_MS }, async () => {
  generate("--url", `${baseUrl}/openapi.json`, "--out", join(folder, "real"));
  const { Gatepost } = await import(join(folder, "real", "index.ts"));
  const client = new Gatepost({ baseUrl });
  await client.auth.register(newPerson());
  const note = await client.notes.create({ text: "Buy milk" });
  expect(note).toMatchObject({ status: 201, data: { text: "Buy milk" } });
  checkTypes(
    "real.ts",
    `import { Gatepost, isProblem, type Answer, type NewNote, type Note } from "./real/index.js";
     export async function write(client: Gatepost, body: NewNote): Promise<Answer<Note> | null> {
       try {
         return await client.notes.create(body);
       } catch (error) {
         return isProblem(error, "too_many_notes", "validation_error") ? null : Promise.reject(error);
       }
     }
     export const posts = new Gatepost({ baseUrl: "" }).users.posts(1);
    `,
  );
});

type Names = Record<string, Record<string, string | undefined>>;

test.each<[Names, RegExp]>([
  [
    { "/trips": { get: "list_trips" }, "/trips/all": { get: "list_trip" } },
    /list_trips \(GET .*\/trips\) and list_trip \(GET .*\) would both be client.trips.list. Rename/,
  ],
  [{ "/trips": { get: "list_trips" }, "/notes": { get: "list_trips" } }, /\/notes: list_trips is the operationId of two operations/],
  [{ "/trips": { get: undefined } }, /\/trips: an operation has no operationId/],
  ...MEMBERS.map((name): [Names, RegExp] => [{ [`/${name}`]: { get: "get_it" } }, new RegExp(`client.${name} is a member of every client`)]),
])("names that conflict are errors: %j", (paths, message) => {
  const full = Object.entries(paths).map(([path, methods]) => {
    const operations = Object.entries(methods).map(([method, operationId]) => [method, { operationId, responses: {} }]);
    return [`/api/v1${path}`, Object.fromEntries(operations)];
  });
  const make = () => resourcesOf({ openapi: "3.1.0", paths: Object.fromEntries(full) });
  expect(make).toThrow(DocumentError);
  expect(make).toThrow(message);
});

test("no member of the client can be replaced by a resource", () => {
  const client = new Client({ baseUrl });
  const members = [...Object.getOwnPropertyNames(Client.prototype), ...Object.keys(client)];
  expect([...MEMBERS, "auth"].sort()).toEqual(members.sort());
});

test.each<[string[], RegExp]>([
  [[], /Usage/],
  [["--out", "api"], /Usage/],
  [["--url", "http://127.0.0.1:1/", "--input", "x", "--out", "api"], /Usage/],
  [["--colour"], /Unknown option[^]*Usage/],
  [["--url", "http://127.0.0.1:1/", "--out", "api"], /http:\/\/127.0.0.1:1\/ cannot be read: /],
  [["--url", `${baseUrl}/nowhere`, "--out", "api"], /nowhere cannot be read: the status is 404/],
  [["--input", join(PACKAGE, "package.json"), "--out", "api"], /package.json is not an OpenAPI document/],
])("the generator says why it fails: %j", (args, message) => {
  let output = "";
  try {
    generate(...args);
  } catch (error) {
    output = (error as { stderr: string }).stderr;
  }
  expect(output).toMatch(message);
  expect(output).not.toContain("    at ");
});

test("a page loads only what it uses", async () => {
  // Bytes as of now; a larger limit needs a reason.
  const own = await built('import { Gatepost } from "@gatepost/client"; console.log(new Gatepost({ baseUrl: "" }));');
  expect(own.bytes).toBeLessThan(4_500);
  const core = await built('import { Client } from "@gatepost/client"; console.log(new Client({ baseUrl: "" }));');
  expect(core.bytes).toBeLessThan(4_300);
  const test = await built('import { isProblem } from "./api/index.ts"; console.log(isProblem(null));');
  expect(test.bytes).toBeLessThan(300);
  const project = await built('import { Gatepost } from "./api/index.ts"; console.log(new Gatepost({ baseUrl: "" }));');
  expect(project.text).toContain("/api/v1/trips");
  expect(project.text).not.toContain("/api/v1/posts");
  expect(project.bytes).toBeLessThan(core.bytes + 500);
  expect(isProblem(null)).toBe(false);
});
