// Retries: which requests are retried, how often, and after what delay.

import { expect, test } from "vitest";
import { isProblem, UnexpectedAnswerError } from "../src/index.js";
import { parseRetryAfter, sleep } from "../src/retry.js";
import { ADMIN } from "./server.js";
import { failure, newClient, newPerson, problemResponse, signedUp, watchedFetch } from "./support.js";

const POSTS = "/api/v1/posts";
const BODY = { title: "Once", content: "and only once" };

/** Return a fetch that refuses the first `times` requests for posts. */
function refusing(times: number, refuse: () => Response) {
  let left = times;
  return watchedFetch(async (call, go) => (call.path.startsWith(POSTS) && left-- > 0 ? refuse() : go()));
}

test("during maintenance the client waits as long as Retry-After says", async () => {
  const admin = newClient();
  await admin.auth.login(ADMIN);
  const waits: number[] = [];
  const client = newClient({ onWait: ({ ms }) => waits.push(ms) });
  await admin.call("patch", "/api/v1/service-context", { body: { maintenance: true, retry_after: 2 } });
  const began = performance.now();
  const call = client.posts.list().page();
  await sleep(200);
  await admin.call("patch", "/api/v1/service-context", { body: { maintenance: false } });
  expect((await call).items).toBeDefined();
  expect(performance.now() - began).toBeGreaterThanOrEqual(2000);
  expect(waits[0]).toBeGreaterThanOrEqual(2000);
});

test.each([
  ["rate_limited", 429],
  ["overloaded", 503],
])("%s is retried, for writes too", async (code, status) => {
  const { fetch, to } = refusing(2, () => problemResponse(status, code, { "Retry-After": "0" }));
  const client = await signedUp({ fetch });
  const written = await client.posts.create(BODY);
  const keys = to(POSTS).map((call) => call.headers["Idempotency-Key"]);
  expect(to(POSTS).map((call) => call.status)).toEqual([status, status, 201]);
  expect(new Set(keys).size).toBe(1);
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
  expect((await client.posts.get(written.data.id)).data.title).toBe("Once");
});

test("the number of retries is limited, and there is none if the delay would be too long", async () => {
  const always = refusing(100, () => problemResponse(503, "overloaded", { "Retry-After": "0" }));
  expect(isProblem(await failure(newClient(always).posts.get(1)), "overloaded")).toBe(true);
  expect(always.calls).toHaveLength(4);
  const long = refusing(100, () => problemResponse(503, "maintenance", { "Retry-After": "120" }));
  const error = await failure(newClient(long).posts.get(1));
  expect(error).toMatchObject({ code: "maintenance", retryAfter: 120 });
  expect(long.calls).toHaveLength(1);
  const never = refusing(100, () => problemResponse(503, "overloaded", { "Retry-After": "0" }));
  await failure(newClient({ ...never, retry: { retries: 0 } }).posts.get(1));
  expect(never.calls).toHaveLength(1);
});

test("without Retry-After the delays grow", async () => {
  const { fetch, calls } = refusing(100, () => new Response("busy", { status: 503 }));
  const waits: number[] = [];
  const client = newClient({ fetch, retry: { retries: 2 }, onWait: ({ ms }) => waits.push(ms) });
  expect(await failure(client.posts.get(1))).toBeInstanceOf(UnexpectedAnswerError);
  expect(calls).toHaveLength(3);
  expect(waits[0]).toBeGreaterThanOrEqual(500);
  expect(waits[1]).toBeGreaterThanOrEqual(1000);
});

test("other errors are not retried, nor is a POST without Idempotency-Key", async () => {
  const gone = refusing(100, () => problemResponse(404, "not_found"));
  await failure(newClient(gone).posts.get(1));
  expect(gone.calls).toHaveLength(1);
  const { fetch, calls } = watchedFetch(async () => problemResponse(503, "overloaded", { "Retry-After": "0" }));
  await failure(newClient({ fetch }).auth.register(newPerson()));
  expect(calls).toHaveLength(1);
});

test("a POST whose response was lost is not executed twice with the same key", async () => {
  let isLost = false;
  const { fetch } = watchedFetch(async (call, go) => {
    const response = await go();
    if (call.path === POSTS && call.method === "POST" && !isLost) {
      isLost = true;
      throw new TypeError("fetch failed");
    }
    return response;
  });
  const client = await signedUp({ fetch });
  const options = { idempotencyKey: "my-key" };
  await failure(client.posts.create(BODY, options));
  const again = await client.posts.create(BODY, options);
  expect(again.replayed).toBe(true);
  const account = client.session.status === "signed_in" ? client.session.account : 0;
  expect(await client.users.posts(account).toArray()).toHaveLength(1);
  const other = await failure(client.posts.create({ ...BODY, title: "Twice" }, options));
  expect(isProblem(other, "idempotency_key_reused")).toBe(true);
});

test("the client waits for a running request with the same key", async () => {
  const { fetch, to } = refusing(1, () => problemResponse(409, "idempotency_in_progress", { "Retry-After": "0" }));
  const client = await signedUp({ fetch });
  expect((await client.posts.create(BODY)).status).toBe(201);
  expect(to(POSTS)).toHaveLength(2);
});

test("a wait can be aborted", async () => {
  const { fetch } = refusing(100, () => problemResponse(503, "overloaded", { "Retry-After": "9" }));
  const controller = new AbortController();
  const call = failure(newClient({ fetch }).posts.get(1, { signal: controller.signal }));
  setTimeout(() => controller.abort(new Error("enough")), 100);
  const began = performance.now();
  expect(await call).toEqual(new Error("enough"));
  expect(performance.now() - began).toBeLessThan(8000);
});

test("Retry-After may be a date", () => {
  const now = Date.parse("2026-01-31T12:00:00Z");
  expect(parseRetryAfter("Sat, 31 Jan 2026 12:00:07 GMT", now)).toBe(7);
  expect(parseRetryAfter("Sat, 31 Jan 2026 11:00:00 GMT", now)).toBe(0);
  expect(parseRetryAfter("30", now)).toBe(30);
  expect(parseRetryAfter("soon", now)).toBeNull();
  expect(parseRetryAfter(null, now)).toBeNull();
});
