// Helpers of the tests: clients, new users, and a fetch that records requests and can replace responses.

import { inject } from "vitest";
import { Gatepost, type ClientOptions } from "../src/index.js";
import type { Fetch } from "../src/transport.js";

export const baseUrl = inject("baseUrl");
export const PASSWORD = "correct horse battery";
let people = 0;

export function newClient(options: Partial<ClientOptions> = {}): Gatepost {
  return new Gatepost({ baseUrl, ...options });
}

export function newPerson(): { email: string; name: string; password: string } {
  people += 1;
  return { email: `person-${process.pid}-${Date.now()}-${people}@example.com`, name: "Alice", password: PASSWORD };
}

/** Return a client with a new user who is signed in. */
export async function signedUp(options: Partial<ClientOptions> = {}): Promise<Gatepost> {
  const client = newClient(options);
  await client.auth.register(newPerson());
  return client;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly status: number;
}

/** Return a fetch that calls the service and records each request. `disturb` may replace the response or throw. */
export function watchedFetch(disturb?: (call: Omit<Call, "status">, go: () => Promise<Response>) => Promise<Response>): {
  fetch: Fetch;
  calls: Call[];
  to: (path: string) => Call[];
} {
  const calls: Call[] = [];
  const watched: Fetch = async (url, init) => {
    const call = {
      method: init.method ?? "GET",
      path: url.slice(baseUrl.length).replace(/\?.*/, ""),
      headers: init.headers as Record<string, string>,
    };
    const go = () => fetch(url, init);
    const response = await (disturb ? disturb(call, go) : go());
    calls.push({ ...call, status: response.status });
    return response;
  };
  return { fetch: watched, calls, to: (path) => calls.filter((call) => call.path === path) };
}

/** Return an error response in the format of the service. */
export function problemResponse(status: number, code: string, headers: Record<string, string> = {}): Response {
  const problem = { type: `/problems/${code}`, title: code, status, code, detail: "Not now.", request_id: "r" };
  return new Response(JSON.stringify(problem), {
    status,
    headers: { "Content-Type": "application/problem+json", ...headers },
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** Return the reason with which a promise is rejected. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error("The promise was not rejected.");
    },
    (error: unknown) => error,
  );
}
