// Starts the service for the tests: gunicorn on a free local port, with a new SQLite database.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";

export const ADMIN = { email: "carol@example.com", password: "correct horse battery" };
/** The lifetime of access tokens in these tests. */
export const ACCESS_SECONDS = 3;
const ROOT = resolve(import.meta.dirname, "../../..");
const START_MS = 60_000;

declare module "vitest" {
  export interface ProvidedContext {
    baseUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), "gatepost-client-"));
  const port = await freePort();
  const baseUrl = `http://127.0.0.1:${port}`;
  const env = {
    ...process.env,
    APP_ENV: "testing",
    FEATURES: "tests.features.notes",
    DATABASE_URL: `sqlite:///${join(folder, "gatepost.db")}`,
    JWT_SECRET_KEY: randomBytes(48).toString("base64url"),
    RATELIMIT_ENABLED: "false",
    REFRESH_GRACE_SECONDS: "2",
    ACCESS_TOKEN_SECONDS: String(ACCESS_SECONDS),
    WEB_CONCURRENCY: "2",
    BIND: `127.0.0.1:${port}`,
  };
  const python = findPython();
  const flask = (args: string[], input = "") =>
    execFileSync(python, ["-m", "flask", "--app", "run", ...args], { cwd: ROOT, env, input, stdio: "pipe" });
  flask(["db", "upgrade"]);
  flask(["users", "create-admin", "--email", ADMIN.email, "--name", "Carol"], `${ADMIN.password}\n`);
  const log: Buffer[] = [];
  const server = spawn(python, ["-m", "gunicorn", "-c", "gunicorn.conf.py", "tests.support.short_tokens:app"], { cwd: ROOT, env });
  server.stdout.on("data", (data: Buffer) => log.push(data));
  server.stderr.on("data", (data: Buffer) => log.push(data));
  try {
    await waitUntilHealthy(`${baseUrl}/health`, server);
  } catch (error) {
    server.kill("SIGKILL");
    console.error(Buffer.concat(log).toString().slice(-4000));
    throw error;
  }
  project.provide("baseUrl", baseUrl);
  return async () => {
    await stop(server);
    rmSync(folder, { recursive: true, force: true });
  };
}

function findPython(): string {
  const python = process.env.GATEPOST_PYTHON ?? join(ROOT, ".venv", "bin", "python");
  if (!existsSync(python)) {
    throw new Error(`${python} is missing. Run \`make venv\` in the repository first.`);
  }
  return python;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  const { port } = probe.address() as AddressInfo;
  await new Promise((done) => probe.close(done));
  return port;
}

async function waitUntilHealthy(url: string, server: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + START_MS; Date.now() < deadline; ) {
    if (server.exitCode !== null) {
      throw new Error(`The server exited with ${server.exitCode}.`);
    }
    const response = await fetch(url).catch(() => null);
    if (response?.ok) {
      return;
    }
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("The server did not start in time.");
}

async function stop(server: ChildProcess): Promise<void> {
  const ended = new Promise((done) => server.once("exit", done));
  server.kill("SIGTERM");
  await ended;
}
