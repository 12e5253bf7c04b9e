// The methods of the client against the real service: requests and results.

import { expect, expectTypeOf, test } from "vitest";
import { fieldErrors, isProblem, List, NetworkError, UnexpectedAnswerError, type FieldErrors, type ListedPost } from "../src/index.js";
import { baseUrl, failure, newClient, newPerson, PASSWORD, problemResponse, signedUp, watchedFetch } from "./support.js";

test("a user signs up, signs out and signs in", async () => {
  const client = newClient();
  expect(client.session).toEqual({ status: "signed_out", reason: "never" });
  const person = newPerson();
  const user = await client.auth.register(person);
  expect(user).toMatchObject({ name: "Alice", email: person.email, role: "user" });
  expect(client.session).toEqual({ status: "signed_in", account: user.id });
  expect((await client.auth.me()).data).toEqual(user);

  await client.auth.logout();
  expect(client.session).toEqual({ status: "signed_out", reason: "signed_out" });
  const refused = await failure(client.auth.me());
  expect(isProblem(refused, "authentication_required")).toBe(true);

  await client.auth.login({ email: person.email, password: PASSWORD });
  expect((await client.auth.me()).data.id).toBe(user.id);
});

test("a wrong password is a problem and starts no session", async () => {
  const client = newClient();
  const error = await failure(client.auth.login({ email: "nobody@example.com", password: "wrong password" }));
  expect(isProblem(error, "invalid_credentials")).toBe(true);
  expect(client.session.status).toBe("signed_out");
});

test("a validation error names the invalid fields", async () => {
  const client = newClient();
  const error = await failure(client.auth.register({ email: "no address", name: "A", password: "short" }));
  expect(Object.keys(fieldErrors(error)).sort()).toEqual(["email", "name", "password"]);
  expect(fieldErrors(error).email?.[0]).toMatch(/email/i);
  if (!isProblem(error)) {
    throw error;
  }
  expect(error.status).toBe(422);
  expect(error.requestId).toMatch(/\w/);
  if (error.code === "validation_error") {
    expectTypeOf(error.errors).toEqualTypeOf<FieldErrors>();
  } else {
    expectTypeOf(error.errors).toEqualTypeOf<undefined>();
  }
});

test("nested errors have paths, and other errors have no fields", async () => {
  const nested = { items: { "0": { name: ["Must not be empty."] } }, title: ["Unknown field."] };
  const response = problemResponse(422, "validation_error");
  const body = { ...((await response.json()) as object), errors: nested };
  const { fetch } = watchedFetch(async () => new Response(JSON.stringify(body), response));
  const error = await failure(newClient({ fetch }).posts.get(1));
  expect(fieldErrors(error)).toEqual({ "items.0.name": ["Must not be empty."], title: ["Unknown field."] });
  expect(fieldErrors(new Error("other"))).toEqual({});
});

test("a post is created, read, changed with If-Match and deleted", async () => {
  const client = await signedUp();
  const written = await client.posts.create({ title: "Hello", content: "My first post." });
  expect(written.status).toBe(201);
  expect(written.location).toBe(`/api/v1/posts/${written.data.id}`);
  expect(written.data).toMatchObject({ title: "Hello", status: "published", author: { name: "Alice" } });

  const { id } = written.data;
  const read = await client.posts.get(id);
  expect(read.etag).toBe(written.etag);
  const changed = await client.posts.update(id, { title: "Hello again" }, { ifMatch: read });
  expect(changed.data.title).toBe("Hello again");

  for (const write of [
    () => client.posts.update(id, { title: "Lost" }, { ifMatch: read }),
    () => client.posts.replace(id, { title: "Lost", content: "Lost" }, { ifMatch: read.etag ?? "" }),
    () => client.posts.delete(id, { ifMatch: read }),
  ]) {
    expect(isProblem(await failure(write()), "precondition_failed")).toBe(true);
  }
  expect((await client.posts.get(id)).data.title).toBe("Hello again");
  await client.posts.delete(id, { ifMatch: changed });
  expect(isProblem(await failure(client.posts.get(id)), "not_found")).toBe(true);
});

test("an unchanged resource is not transferred again", async () => {
  const { fetch, calls } = watchedFetch();
  const client = await signedUp({ fetch });
  const { data } = await client.posts.create({ title: "Still", content: "the same" });
  const first = await client.posts.get(data.id);
  expect(await client.posts.get(data.id, { known: first })).toBe(first);
  expect(calls.at(-1)?.status).toBe(304);
  await client.posts.update(data.id, { content: "another" });
  expect((await client.posts.get(data.id, { known: first })).data.content).toBe("another");
});

test("a list is read page by page", async () => {
  const { fetch, to } = watchedFetch();
  const client = await signedUp({ fetch });
  const state = client.session;
  const account = state.status === "signed_in" ? state.account : 0;
  for (let number = 1; number <= 7; number++) {
    await client.posts.create({ title: `Post ${number}`, content: "…", status: number % 2 ? "published" : "draft" });
  }
  const list = client.posts.list({ query: { author_id: account, limit: 3, sort: "created_at" } });
  expectTypeOf(list).toEqualTypeOf<List<ListedPost>>();
  expect(to("/api/v1/posts").filter((call) => call.method === "GET")).toHaveLength(0);
  const titles: string[] = [];
  for await (const post of list) {
    titles.push(post.title);
  }
  expect(titles).toEqual(["Post 1", "Post 3", "Post 5", "Post 7"]);
  expect(to("/api/v1/posts").filter((call) => call.method === "GET")).toHaveLength(2);

  const pages = [];
  for await (const page of list.pages()) {
    pages.push(page.items.length);
  }
  expect(pages).toEqual([3, 1]);
  const drafts = await client.users.posts(account, { query: { status: "draft" } }).toArray();
  expect(drafts.map((post) => post.title)).toEqual(["Post 6", "Post 4", "Post 2"]);
  expect(await list.toArray(2)).toHaveLength(2);
  expect(await list.toArray(0)).toEqual([]);

  const first = await list.page();
  const second = await list.page(first.nextCursor ?? undefined);
  expect(second.items.map((post) => post.title)).toEqual(["Post 7"]);
  expect(second.prevCursor).not.toBeNull();
});

test("a list has excerpts, and whole contents on request", async () => {
  const client = await signedUp();
  const content = "😀".repeat(300);
  const { data } = await client.posts.create({ title: "Long", content });
  const query = { author_id: data.author.id };
  const [listed] = await client.posts.list({ query }).toArray();
  expect(listed).toMatchObject({ id: data.id, excerpt: "😀".repeat(280) });
  expect(listed).not.toHaveProperty("content");
  const [whole] = await client.posts.list({ query: { ...query, include: "content" } }).toArray();
  expect(whole).toMatchObject({ id: data.id, content });
  expectTypeOf(whole?.content).toEqualTypeOf<string | undefined>();
  const refused = await failure(client.posts.list({ query: { include: "content", limit: 21 } }).page());
  expect(Object.keys(fieldErrors(refused))).toEqual(["limit"]);
});

test("a profile is changed, and an account deleted", async () => {
  const client = await signedUp();
  const { data: me, etag } = await client.auth.me();
  const changed = await client.users.update(me.id, { bio: "I write." }, { ifMatch: etag ?? "" });
  expect(changed.data).toMatchObject({ bio: "I write.", email: me.email });
  expect((await newClient().users.get(me.id)).data).not.toHaveProperty("email");
  expect((await client.users.list({ query: { q: "Alice", limit: 1 } }).page()).items).toHaveLength(1);
  await client.users.delete(me.id);
  expect(isProblem(await failure(newClient().users.get(me.id)), "not_found")).toBe(true);
});

test("any operation of the document can be called by its path", async () => {
  const client = newClient();
  expect((await client.call("get", "/health")).data).toEqual({ status: "healthy" });
  expect((await client.call("get", "/metrics")).data).toContain("# HELP");
  const numbered = await client.call("get", "/api/v1/posts", { query: { page: 1, limit: 5 } });
  expect(numbered.data.pagination).toHaveProperty("total");
  // @ts-expect-error The path does not exist.
  expect(isProblem(await failure(client.call("get", "/api/v1/nowhere")), "not_found")).toBe(true);
  // @ts-expect-error The id is missing.
  await expect(client.call("get", "/api/v1/posts/{post_id}")).rejects.toThrow(RangeError);
  // @ts-expect-error The path has no DELETE.
  expect(isProblem(await failure(client.call("delete", "/api/v1/posts", {})), "method_not_allowed")).toBe(true);
});

test("a call can be aborted", async () => {
  const client = await signedUp();
  await expect(client.posts.get(1, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  const controller = new AbortController();
  const call = failure(client.posts.list({ signal: controller.signal }).toArray());
  controller.abort(new Error("left the page"));
  expect(await call).toEqual(new Error("left the page"));
});

test("a network error, a timeout and a response of another server are distinguished", async () => {
  expect(await failure(newClient({ baseUrl: "http://127.0.0.1:1" }).posts.get(1))).toBeInstanceOf(NetworkError);
  const slow = watchedFetch((_, go) => new Promise<void>((done) => setTimeout(done, 300)).then(go));
  expect(await failure(newClient({ fetch: slow.fetch, timeoutMs: 50 }).posts.get(1))).toBeInstanceOf(NetworkError);
  const odd = watchedFetch(async () => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  const error = await failure(newClient({ fetch: odd.fetch }).posts.get(1));
  expect(error).toBeInstanceOf(UnexpectedAnswerError);
  expect(error).toMatchObject({ status: 502 });
});

test("the base address may end with a slash", async () => {
  expect((await newClient({ baseUrl: `${baseUrl}/` }).call("get", "/health")).status).toBe(200);
});
