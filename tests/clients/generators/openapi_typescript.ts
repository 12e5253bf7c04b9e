// Uses the types of openapi-typescript with openapi-fetch. The compiler checks that each result has its type.

import createClient from "openapi-fetch";
import type { paths } from "./generated/openapi_typescript.js";
import { baseUrl, credentials, LIMIT, POSTS, present, print } from "./support.js";

const client = createClient<paths>({ baseUrl });
const login = await client.POST("/api/v1/auth/login", { body: credentials });
const headers = { Authorization: `Bearer ${present(login.data).access_token}` };
const me = present((await client.GET("/api/v1/auth/me", { headers })).data);
for (let number = 1; number <= POSTS; number++) {
  const created = await client.POST("/api/v1/posts", {
    headers,
    body: { title: `Post ${number}`, content: "Text." },
  });
  present(created.data);
}

const titles: string[] = [];
let pages = 0;
let cursor: string | null | undefined;
do {
  const query = { author_id: me.id, limit: LIMIT, ...(cursor ? { cursor } : {}) };
  const page = present((await client.GET("/api/v1/posts", { params: { query } })).data);
  titles.push(...page.items.map((post) => post.title));
  cursor = page.pagination.next_cursor;
  pages += 1;
} while (cursor);

const wrong = { ...credentials, password: "wrong" };
const refused = present((await client.POST("/api/v1/auth/login", { body: wrong })).error);
const anonymous = present((await client.GET("/api/v1/auth/me")).error);
const invalid = present((await client.GET("/api/v1/posts", { params: { query: { limit: 0 } } })).error);
if (refused.status !== 401 || anonymous.status !== 401 || invalid.status !== 422) {
  throw new Error(JSON.stringify([refused, anonymous, invalid]));
}
print({
  email: me.email,
  titles,
  pages,
  invalidCredentials: refused.code,
  unauthorized: anonymous.code,
  invalidFields: Object.keys(invalid.errors),
});
