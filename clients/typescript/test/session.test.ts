// Sessions: expired tokens, tabs that refresh at the same time, and sessions that are ended on another device.

import { afterEach, expect, test } from "vitest";
import { browserStore, browserTabs, fieldErrors, Gatepost, isProblem, memoryStore, NetworkError } from "../src/index.js";
import type { SessionStore, Tabs } from "../src/index.js";
import { ACCESS_SECONDS, ADMIN } from "./server.js";
import { baseUrl, failure, newClient, newPerson, problemResponse, signedUp, sleep, watchedFetch } from "./support.js";

const REFRESH = "/api/v1/auth/refresh";
const open: Gatepost[] = [];
let browsers = 0;

afterEach(() => open.splice(0).forEach((client) => client.close()));

/** Wait until every access token has expired. */
function expiry(): Promise<void> {
  return sleep(ACCESS_SECONDS * 1000 + 200);
}

/** Return a replacement for Web Locks, which Node 20 does not have. */
function locks(): (tabs: Tabs) => Tabs {
  let last: Promise<unknown> = Promise.resolve();
  return (tabs) => ({
    ...tabs,
    withLock: (work) => {
      const turn = last.then(work, work);
      last = turn;
      return turn;
    },
  });
}

/** Return a function that opens tabs of one browser: they share a store, messages and, with `hasLocks`, a lock. */
function browser(options: { hasLocks: boolean }): () => ReturnType<typeof tab> {
  const store = memoryStore();
  const name = `browser-${++browsers}`;
  const withLocks = options.hasLocks ? locks() : (tabs: Tabs) => tabs;
  return () => tab(store, withLocks(browserTabs(name)));
}

function tab(store: SessionStore, tabs: Tabs) {
  const { fetch, to } = watchedFetch();
  const client = new Gatepost({ baseUrl, store, tabs, fetch });
  open.push(client);
  return { client, refreshes: () => to(REFRESH).length };
}

test("concurrent calls with an expired token share one refresh", async () => {
  const { fetch, to } = watchedFetch();
  const client = await signedUp({ fetch });
  await expiry();
  const answers = await Promise.all(Array.from({ length: 20 }, () => client.auth.me()));
  expect(new Set(answers.map((answer) => answer.data.id)).size).toBe(1);
  expect(to("/api/v1/auth/me").filter((call) => call.status === 401)).toHaveLength(20);
  expect(to(REFRESH).map((call) => call.status)).toEqual([200]);
});

test("a reopened page continues the session, and the store contains no access token", async () => {
  const store = memoryStore();
  const before = await signedUp({ store });
  const { fetch, to } = watchedFetch();
  const after = newClient({ store, fetch });
  expect(after.session).toEqual(before.session);
  expect((await after.auth.me()).status).toBe(200);
  expect(to(REFRESH)).toHaveLength(1);
  expect(Object.keys(store.read() ?? {}).sort()).toEqual(["account", "csrfToken", "refreshToken", "version"]);
});

test.each([{ hasLocks: true }, { hasLocks: false }])("two tabs refresh at the same time and stay signed in: %o", async (kind) => {
  const newTab = browser(kind);
  const [first, second] = [newTab(), newTab()];
  await first.client.auth.register(newPerson());
  await expect.poll(() => second.client.session).toEqual(first.client.session);
  await expiry();
  await Promise.all([first, second, first, second].map(({ client }) => client.auth.me()));
  expect(first.client.session.status).toBe("signed_in");
  // With locks, one tab uses the tokens that the other has fetched.
  const refreshes = first.refreshes() + second.refreshes();
  expect(refreshes).toBeLessThanOrEqual(kind.hasLocks ? 1 : 2);
  expect(refreshes).toBeGreaterThanOrEqual(1);
});

test("a hundred concurrent refreshes of two tabs do not end the session", async () => {
  const newTab = browser({ hasLocks: false });
  const [first, second] = [newTab(), newTab()];
  await first.client.auth.register(newPerson());
  await expect.poll(() => second.client.session.status).toBe("signed_in");
  for (let round = 0; round < 50; round++) {
    // As if both tokens had just expired.
    await Promise.all([first, second].map(({ client }) => client.auth.renew()));
  }
  expect(first.refreshes() + second.refreshes()).toBeGreaterThanOrEqual(50);
  expect((await first.client.auth.me()).data).toEqual((await second.client.auth.me()).data);
});

test("signing out signs out every tab", async () => {
  const newTab = browser({ hasLocks: true });
  const [first, second] = [newTab(), newTab()];
  await first.client.auth.register(newPerson());
  await expect.poll(() => second.client.session.status).toBe("signed_in");
  const changes: string[] = [];
  second.client.onSessionChange(() => changes.push(second.client.session.status));
  await first.client.auth.logout();
  await expect.poll(() => changes).toEqual(["signed_out"]);
  expect(isProblem(await failure(second.client.auth.me()), "authentication_required")).toBe(true);
});

test("every tab notices that the session was ended on another device", async () => {
  const person = newPerson();
  const newTab = browser({ hasLocks: true });
  const [here, too] = [newTab(), newTab()];
  await here.client.auth.register(person);
  const there = newClient();
  await there.auth.login({ email: person.email, password: person.password });
  await there.auth.endOtherSessions();
  expect((await there.auth.sessions().toArray()).map((session) => session.current)).toEqual([true]);

  expect(isProblem(await failure(here.client.auth.me()), "token_revoked")).toBe(true);
  expect(here.client.session).toMatchObject({ status: "signed_out", reason: "ended", problem: { code: "token_revoked" } });
  await expect.poll(() => too.client.session).toEqual(here.client.session);
  // Public resources can still be read.
  expect((await here.client.posts.list().page()).items).toBeDefined();
});

test("the replay of a stolen refresh token ends the session and is reported as the reason", async () => {
  const store = memoryStore();
  const client = await signedUp({ store });
  const stolen = store.read()?.refreshToken;
  await client.auth.renew();
  await client.auth.renew();
  await sleep(2_100); // The grace period of the server, and slightly more.
  const answer = await fetch(baseUrl + REFRESH, { method: "POST", headers: { Authorization: `Bearer ${stolen}` } });
  expect(answer.status).toBe(401);
  await failure(client.auth.me());
  expect(client.session).toMatchObject({ status: "signed_out", reason: "ended", problem: { code: "token_revoked" } });
  expect(store.read()?.refreshToken).toBeUndefined();
});

test("a refresh without a response or with a temporary failure does not end the session", async () => {
  let service: "down" | "busy" | "up" = "down";
  const { fetch } = watchedFetch(async (call, go) => {
    if (call.path === REFRESH && service === "down") {
      throw new TypeError("fetch failed");
    }
    return call.path === REFRESH && service === "busy"
      ? problemResponse(503, "database_unavailable", { "Retry-After": "60" })
      : go();
  });
  const store = memoryStore();
  await signedUp({ store });
  const client = newClient({ store, fetch });
  expect(await failure(client.auth.me())).toBeInstanceOf(NetworkError);
  service = "busy";
  expect(isProblem(await failure(client.auth.me()), "database_unavailable")).toBe(true);
  expect(client.session.status).toBe("signed_in");
  service = "up";
  expect((await client.auth.me()).status).toBe(200);
});

test("a refresh whose response is lost is repeated immediately", async () => {
  let isLost = false;
  const { fetch } = watchedFetch(async (call, go) => {
    const response = await go();
    if (call.path === REFRESH && !isLost) {
      isLost = true;
      throw new TypeError("fetch failed");
    }
    return response;
  });
  const client = await signedUp({ fetch });
  await client.auth.renew();
  expect(isLost).toBe(true);
  await client.auth.renew();
  expect((await client.auth.me()).status).toBe(200);
});

test("a request is not repeated as another user who has signed in meanwhile", async () => {
  const store = memoryStore();
  const other = newClient({ store });
  const { fetch, to } = watchedFetch(async (call, go) => {
    const response = await go();
    if (call.path === "/api/v1/posts") {
      await other.auth.register(newPerson());
    }
    return response;
  });
  const client = newClient({ store, fetch });
  await client.auth.register(newPerson());
  await expiry();
  const error = await failure(client.posts.create({ title: "Mine", content: "My post." }));
  expect(isProblem(error, "token_expired")).toBe(true);
  expect(to("/api/v1/posts").map((call) => call.status)).toEqual([401]);
  expect((await client.auth.me()).data).toEqual((await other.auth.me()).data);
});

test("with the cookie transport the refresh token is in a cookie", async () => {
  const sent: { path: string; init: RequestInit }[] = [];
  const answer = { access_token: "a", csrf_token: "c", token_type: "Bearer", user: { id: 7 } };
  const client = newClient({
    transport: "cookie",
    fetch: async (url, init) => {
      sent.push({ path: url.slice(baseUrl.length), init });
      const isExpired = sent.length === 2;
      return isExpired ? problemResponse(401, "token_expired") : Response.json(answer);
    },
  });
  await client.auth.login({ email: "alice@example.com", password: "correct horse battery" });
  await client.auth.me();
  await client.auth.logout();
  const [login, expired, refresh, again, logout] = sent.map(({ path, init }) => ({
    path,
    credentials: init.credentials,
    body: JSON.parse(String(init.body ?? "null")) as unknown,
    ...(init.headers as Record<string, string>),
  }));
  expect(login).toMatchObject({ credentials: "include", body: { cookie: true, email: "alice@example.com" } });
  expect(expired).toMatchObject({ credentials: "omit", Authorization: "Bearer a" });
  expect(refresh).toMatchObject({ path: REFRESH, credentials: "include", body: { cookie: true }, "X-CSRF-TOKEN": "c" });
  expect(refresh).not.toHaveProperty("Authorization");
  expect(again).toMatchObject({ credentials: "omit", Authorization: "Bearer a" });
  expect(logout).toMatchObject({ credentials: "include", "X-CSRF-TOKEN": "c" });
  expect(logout).not.toHaveProperty("Authorization");
});

test("invalid content of the store is ignored", () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, text: string) => void kept.set(key, text) };
  const store = browserStore("name", storage as unknown as Storage);
  expect(store.read()).toBeNull();
  for (const text of ["{", "null", "1", '{"version": "1"}']) {
    kept.set("name", text);
    expect(store.read()).toBeNull();
  }
  const record = { version: 3, account: 1, refreshToken: "r" };
  store.write(record);
  expect(store.read()).toEqual(record);
});

test("confirming the password makes the token fresh, and keeps the session", async () => {
  const person = newPerson();
  const store = memoryStore();
  const before = newClient({ store });
  const user = await before.auth.register(person);
  const client = newClient({ store });
  await client.auth.me();
  expect(isProblem(await failure(client.users.delete(user.id)), "fresh_token_required")).toBe(true);
  const record = store.read();
  const refused = await failure(client.auth.reauthenticate("wrong"));
  expect(fieldErrors(refused)).toEqual({ password: ["Is not your password."] });
  expect(client.session.status).toBe("signed_in");
  await client.auth.reauthenticate(person.password);
  expect(store.read()).toEqual(record);
  await client.users.delete(user.id);
  expect(isProblem(await failure(client.auth.me()), "token_revoked")).toBe(true);
});

test("an administrator lists and ends the sessions of a user", async () => {
  const person = newPerson();
  const client = newClient();
  const user = await client.auth.register(person);
  await newClient().auth.login({ email: person.email, password: person.password });
  const admin = newClient();
  await admin.auth.login(ADMIN);
  const sessions = await admin.users.sessions(user.id, { query: { sort: "created_at" } }).toArray();
  expect(sessions.map((session) => session.current)).toEqual([false, false]);
  await admin.users.endSession(user.id, sessions[0]!.id);
  expect(isProblem(await failure(client.auth.me()), "token_revoked")).toBe(true);
  await admin.users.endSessions(user.id);
  expect(await admin.users.sessions(user.id).toArray()).toEqual([]);
});
