// Uses the client of @hey-api/openapi-ts. The compiler checks that each result has its type without a cast.

import { client } from "./generated/hey_api/client.gen.js";
import { createPost, getMe, listPosts, logIn } from "./generated/hey_api/index.js";
import { baseUrl, credentials, LIMIT, POSTS, present, print } from "./support.js";

client.setConfig({ baseUrl });
const login = await logIn({ body: credentials });
const auth = present(login.data).access_token;
const me = present((await getMe({ auth })).data);
for (let number = 1; number <= POSTS; number++) {
  await createPost({ auth, body: { title: `Post ${number}`, content: "Text." }, throwOnError: true });
}

const titles: string[] = [];
let pages = 0;
let cursor: string | null | undefined;
do {
  const query = { author_id: me.id, limit: LIMIT, ...(cursor ? { cursor } : {}) };
  const page = present((await listPosts({ query })).data);
  titles.push(...page.items.map((post) => post.title));
  cursor = page.pagination.next_cursor;
  pages += 1;
} while (cursor);

const refused = present((await logIn({ body: { ...credentials, password: "wrong" } })).error);
const anonymous = present((await getMe()).error);
const invalid = present((await listPosts({ query: { limit: 0 } })).error);
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
