// Uses the client of orval. Its URLs are relative, as for a page that the same host serves.

import { createPost, getMe, listPosts, logIn } from "./generated/orval.js";
import { baseUrl, credentials, LIMIT, POSTS, print } from "./support.js";

const send = globalThis.fetch;
globalThis.fetch = (path, options) => send(baseUrl + path, options);

const login = await logIn(credentials);
if (login.status !== 200) {
  throw new Error(login.data.detail);
}
const options = { headers: { Authorization: `Bearer ${login.data.access_token}` } };
const me = await getMe(options);
if (me.status !== 200) {
  throw new Error(`Status ${me.status}.`);
}
for (let number = 1; number <= POSTS; number++) {
  const created = await createPost({ title: `Post ${number}`, content: "Text." }, options);
  if (created.status !== 201) {
    throw new Error(created.data.detail);
  }
}

const titles: string[] = [];
let pages = 0;
let cursor: string | null | undefined;
do {
  const page = await listPosts({ author_id: me.data.id, limit: LIMIT, ...(cursor ? { cursor } : {}) });
  if (page.status !== 200) {
    throw new Error(`Status ${page.status}.`);
  }
  titles.push(...page.data.items.map((post) => post.title));
  cursor = page.data.pagination.next_cursor;
  pages += 1;
} while (cursor);

const refused = await logIn({ ...credentials, password: "wrong" });
const anonymous = await getMe();
const invalid = await listPosts({ limit: 0 });
if (refused.status !== 401 || anonymous.status !== 401 || invalid.status !== 422) {
  throw new Error(JSON.stringify([refused, anonymous, invalid]));
}
print({
  email: me.data.email,
  titles,
  pages,
  invalidCredentials: refused.data.code,
  unauthorized: anonymous.data.code,
  invalidFields: Object.keys(invalid.data.errors),
});
