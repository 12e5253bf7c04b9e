// The operations by name. Whatever has none here can be reached with `call` and `list`.

import type { Gatepost, Presentation } from "./client.js";
import { isProblem } from "./errors.js";
import type { List } from "./lists.js";
import { abortable } from "./retry.js";
import type { SessionKeeper, Tokens } from "./session.js";
import type {
  Answer,
  CommonOptions,
  NewPost,
  NewUser,
  OperationAt,
  Post,
  PostChanges,
  PrivateUser,
  Profile,
  ProfileChanges,
  QueryOf,
  Schemas,
  Session,
  User,
} from "./types.js";

type Signal = Pick<CommonOptions, "signal">;
type Conditional = Pick<CommonOptions, "signal" | "ifMatch">;
type Creating = Pick<CommonOptions, "signal" | "idempotencyKey">;
type Reading<T> = Signal & { known?: Answer<T> | undefined };
type Listing<Q> = Signal & { query?: Omit<Q, "page"> | undefined };

const AUTH = "/api/v1/auth";

/** Signing in and out, and the sessions of whoever is signed in. */
export class AuthResource {
  readonly #client: Gatepost;
  readonly #session: SessionKeeper;

  constructor(client: Gatepost, session: SessionKeeper) {
    this.#client = client;
    this.#session = session;
  }

  /** Make an account and sign in. */
  register(body: Schemas["Registration"], options: Signal = {}): Promise<PrivateUser> {
    return this.#signIn("register", body, options);
  }

  /** Sign in. */
  login(body: Schemas["Login"], options: Signal = {}): Promise<PrivateUser> {
    return this.#signIn("login", body, options);
  }

  async #signIn(name: "register" | "login", body: object, options: Signal): Promise<PrivateUser> {
    const cookies = this.#client.usesCookies;
    const sent = cookies ? { ...body, cookie: true } : body;
    const request = { body: sent, signal: options.signal };
    const { data } = await this.#client.perform("post", `${AUTH}/${name}`, request, { token: false, cookies });
    const answer = data as Tokens & { user: PrivateUser };
    this.#session.begin(answer.user.id, answer);
    return answer.user;
  }

  /** End the session, here and in every tab; here even if the service can't be told, which is then thrown. */
  async logout(options: Signal = {}): Promise<void> {
    // The cookie is shown instead of the token: the service takes one credential at a time.
    const presentation: Presentation = this.#client.usesCookies
      ? { token: false, cookies: true, csrfToken: this.#session.csrfToken }
      : { token: true, cookies: false };
    try {
      await this.#client.perform("post", `${AUTH}/logout`, options, presentation);
    } catch (error) {
      if (!isProblem(error) || error.status !== 401) {
        throw error;
      }
    } finally {
      this.#session.end("signed_out");
    }
  }

  /** Exchange the tokens before they expire, for instance after the role or the verified address has changed. */
  async renew(options: Signal = {}): Promise<void> {
    await abortable(this.#session.renew(this.#session.accessToken), options.signal);
  }

  /** Read oneself. */
  me(options: Reading<PrivateUser> = {}): Promise<Answer<PrivateUser>> {
    return this.#client.call("get", `${AUTH}/me`, options);
  }

  /** One's live sessions, the current one marked. */
  sessions(options: Listing<QueryOf<OperationAt<"get", "/api/v1/auth/sessions">>> = {}): List<Session> {
    return this.#client.list(`${AUTH}/sessions`, options);
  }

  /** End one of one's sessions. */
  async endSession(id: number, options: Signal = {}): Promise<void> {
    await this.#client.call("delete", `${AUTH}/sessions/{session_id}`, { ...options, params: { session_id: id } });
  }

  /** End all of one's sessions but this one. */
  async endOtherSessions(options: Signal = {}): Promise<void> {
    await this.#client.call("delete", `${AUTH}/sessions`, options);
  }

  /** Change one's password, which ends one's other sessions. */
  async changePassword(body: Schemas["PasswordChange"], options: Signal = {}): Promise<void> {
    await this.#client.call("post", `${AUTH}/password`, { ...options, body });
  }
}

/** Posts. An answer to a read can be given as `ifMatch` of the write that follows it. */
export class PostsResource {
  readonly #client: Gatepost;

  constructor(client: Gatepost) {
    this.#client = client;
  }

  /** Published posts, newest first; one's own drafts with `query: { status: "draft" }`. */
  list(options: Listing<QueryOf<OperationAt<"get", "/api/v1/posts">>> = {}): List<Post> {
    return this.#client.list("/api/v1/posts", options);
  }

  get(id: number, options: Reading<Post> = {}): Promise<Answer<Post>> {
    return this.#client.call("get", "/api/v1/posts/{post_id}", { ...options, params: { post_id: id } });
  }

  create(body: NewPost, options: Creating = {}): Promise<Answer<Post>> {
    return this.#client.call("post", "/api/v1/posts", { ...options, body });
  }

  /** Change some members. */
  update(id: number, body: PostChanges, options: Conditional = {}): Promise<Answer<Post>> {
    return this.#client.call("patch", "/api/v1/posts/{post_id}", { ...options, body, params: { post_id: id } });
  }

  replace(id: number, body: NewPost, options: Conditional = {}): Promise<Answer<Post>> {
    return this.#client.call("put", "/api/v1/posts/{post_id}", { ...options, body, params: { post_id: id } });
  }

  async delete(id: number, options: Conditional = {}): Promise<void> {
    await this.#client.call("delete", "/api/v1/posts/{post_id}", { ...options, params: { post_id: id } });
  }
}

/** Accounts and profiles. */
export class UsersResource {
  readonly #client: Gatepost;

  constructor(client: Gatepost) {
    this.#client = client;
  }

  list(options: Listing<QueryOf<OperationAt<"get", "/api/v1/users">>> = {}): List<User> {
    return this.#client.list("/api/v1/users", options);
  }

  get(id: number, options: Reading<User> = {}): Promise<Answer<User>> {
    return this.#client.call("get", "/api/v1/users/{user_id}", { ...options, params: { user_id: id } });
  }

  /** Make an account for somebody else, as an administrator. */
  create(body: NewUser, options: Creating = {}): Promise<Answer<User>> {
    return this.#client.call("post", "/api/v1/users", { ...options, body });
  }

  /** Change some members. */
  update(id: number, body: ProfileChanges, options: Conditional = {}): Promise<Answer<User>> {
    return this.#client.call("patch", "/api/v1/users/{user_id}", { ...options, body, params: { user_id: id } });
  }

  replace(id: number, body: Profile, options: Conditional = {}): Promise<Answer<User>> {
    return this.#client.call("put", "/api/v1/users/{user_id}", { ...options, body, params: { user_id: id } });
  }

  /** Delete an account with all that is its own; one's own needs a token from a login. */
  async delete(id: number, options: Conditional = {}): Promise<void> {
    await this.#client.call("delete", "/api/v1/users/{user_id}", { ...options, params: { user_id: id } });
  }

  /** An author's published posts; drafts too for the author. */
  posts(
    id: number,
    options: Listing<QueryOf<OperationAt<"get", "/api/v1/users/{user_id}/posts">>> = {},
  ): List<Post> {
    return this.#client.list("/api/v1/users/{user_id}/posts", { ...options, params: { user_id: id } });
  }
}
