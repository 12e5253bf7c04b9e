// The package: its generated types match the OpenAPI document, and its archive can be installed and used.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { baseUrl } from "./support.js";

const PACKAGE = resolve(import.meta.dirname, "..");
const TSC = createRequire(import.meta.url).resolve("typescript/bin/tsc");
let folder = "";

function run(command: string, args: string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gatepost-package-"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the generated files match docs/openapi.json", () => {
  const { scripts } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as { scripts: { generate: string } };
  const [command = "", ...args] = scripts.generate.replace("--out src", `--out ${folder}`).split(" ");
  run(command, args, PACKAGE);
  for (const name of ["generated.ts", "resources.ts"]) {
    expect(readFileSync(join(folder, name), "utf8"), "run `make openapi`").toBe(readFileSync(join(PACKAGE, "src", name), "utf8"));
  }
});

test("the packed archive can be installed, imported and type-checked", { timeout: 300_000 }, () => {
  run("npm", ["pack", "--silent", "--pack-destination", folder], PACKAGE);
  const archive = readdirSync(folder).find((name) => name.endsWith(".tgz")) ?? "";
  const listed = run("tar", ["-tzf", join(folder, archive)], folder).split("\n").filter(Boolean);
  expect(listed).toContain("package/dist/index.js");
  expect(listed).toContain("package/dist/index.d.ts");
  expect(listed.filter((name) => !/^package\/((dist|generator)\/|package\.json|README\.md|LICENSE)/.test(name))).toEqual([]);

  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", type: "module", private: true }));
  run("npm", ["install", "--offline", "--silent", "--no-audit", "--no-fund", join(folder, archive)], folder);
  // The package has no dependencies.
  expect(readdirSync(join(folder, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["@gatepost"]);
  const script = `
    import { Gatepost } from "@gatepost/client";
    const client = new Gatepost({ baseUrl: process.argv[1] });
    console.log((await client.call("get", "/health")).data.status);
  `;
  expect(run("node", ["--input-type=module", "--eval", script, baseUrl], folder)).toBe("healthy\n");

  writeFileSync(
    join(folder, "use.ts"),
    `import { Gatepost, type ListedPost } from "@gatepost/client";
     export const posts: Promise<ListedPost[]> = new Gatepost({ baseUrl: "" }).posts.list({ query: { sort: "title" } }).toArray();
     // @ts-expect-error The sort key does not exist.
     new Gatepost({ baseUrl: "" }).posts.list({ query: { sort: "colour" } });
    `,
  );
  for (const [module, moduleResolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
    const compilerOptions = { module, moduleResolution, noEmit: true, strict: true, target: "es2022", types: [] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
    run("node", [TSC], folder);
  }
});
