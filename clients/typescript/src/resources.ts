// Methods for the most common operations. All other operations can be called with `call` and `list`.

import type { Gatepost, Credentials } from "./client.js";
import { isProblem } from "./errors.js";
import type { List } from "./lists.js";
import { abortable } from "./retry.js";
import type { SessionManager, Tokens } from "./session.js";
import type {
  Answer,
  CommonOptions,
  ListedPost,
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

/** Sign-up, sign-in and sign-out, and the user's own sessions. */
export class AuthResource {
  readonly #client: Gatepost;
  readonly #session: SessionManager;

  constructor(client: Gatepost, session: SessionManager) {
    this.#client = client;
    this.#session = session;
  }

  /** Create an account and sign in. */
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

  /** End the session in every tab. If the service cannot be reached, sign out locally and throw the error. */
  async logout(options: Signal = {}): Promise<void> {
    // With cookies the access token is not sent, because the service accepts only one credential.
    const credentials: Credentials = this.#client.usesCookies
      ? { token: false, cookies: true, csrfToken: this.#session.csrfToken }
      : { token: true, cookies: false };
    try {
      await this.#client.perform("post", `${AUTH}/logout`, options, credentials);
    } catch (error) {
      if (!isProblem(error) || error.status !== 401) {
        throw error;
      }
    } finally {
      this.#session.end("signed_out");
    }
  }

  /** Renew the tokens before they expire, for example after the user's role has changed. */
  async renew(options: Signal = {}): Promise<void> {
    await abortable(this.#session.renew(this.#session.accessToken), options.signal);
  }

  /** Get the signed-in user. */
  me(options: Reading<PrivateUser> = {}): Promise<Answer<PrivateUser>> {
    return this.#client.call("get", `${AUTH}/me`, options);
  }

  /** List the user's active sessions; `current` marks this one. */
  sessions(options: Listing<QueryOf<OperationAt<"get", "/api/v1/auth/sessions">>> = {}): List<Session> {
    return this.#client.list(`${AUTH}/sessions`, options);
  }

  /** End one of the user's sessions. */
  async endSession(id: number, options: Signal = {}): Promise<void> {
    await this.#client.call("delete", `${AUTH}/sessions/{session_id}`, { ...options, params: { session_id: id } });
  }

  /** End all sessions of the user except this one. */
  async endOtherSessions(options: Signal = {}): Promise<void> {
    await this.#client.call("delete", `${AUTH}/sessions`, options);
  }

  /**
   * Confirm the user's password. Requests that require a recent login (`fresh_token_required`) then succeed in this tab,
   * until the access token expires.
   */
  async reauthenticate(password: string, options: Signal = {}): Promise<void> {
    const account = this.#session.account();
    const { data } = await this.#client.call("post", `${AUTH}/reauthenticate`, { ...options, body: { password } });
    this.#session.replaceAccessToken(account, data.access_token);
  }

  /** Change the user's password, which ends the other sessions. */
  async changePassword(body: Schemas["PasswordChange"], options: Signal = {}): Promise<void> {
    await this.#client.call("post", `${AUTH}/password`, { ...options, body });
  }
}

/** Posts. Pass the result of a read as `ifMatch` of a write to prevent lost updates. */
export class PostsResource {
  readonly #client: Gatepost;

  constructor(client: Gatepost) {
    this.#client = client;
  }

  /**
   * List published posts, newest first, or the user's drafts with `query: { status: "draft" }`. The posts have excerpts;
   * `query: { include: "content" }` adds the whole contents, with a `limit` of at most 20.
   */
  list(options: Listing<QueryOf<OperationAt<"get", "/api/v1/posts">>> = {}): List<ListedPost> {
    return this.#client.list("/api/v1/posts", options);
  }

  get(id: number, options: Reading<Post> = {}): Promise<Answer<Post>> {
    return this.#client.call("get", "/api/v1/posts/{post_id}", { ...options, params: { post_id: id } });
  }

  create(body: NewPost, options: Creating = {}): Promise<Answer<Post>> {
    return this.#client.call("post", "/api/v1/posts", { ...options, body });
  }

  /** Change the given members. */
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

  /** Create an account for another user. Requires an administrator. */
  create(body: NewUser, options: Creating = {}): Promise<Answer<User>> {
    return this.#client.call("post", "/api/v1/users", { ...options, body });
  }

  /** Change the given members. */
  update(id: number, body: ProfileChanges, options: Conditional = {}): Promise<Answer<User>> {
    return this.#client.call("patch", "/api/v1/users/{user_id}", { ...options, body, params: { user_id: id } });
  }

  replace(id: number, body: Profile, options: Conditional = {}): Promise<Answer<User>> {
    return this.#client.call("put", "/api/v1/users/{user_id}", { ...options, body, params: { user_id: id } });
  }

  /**
   * Delete an account and everything that belongs to it. To delete the own account requires a recent login. The account is
   * gone for all users when the promise resolves, even if the service deletes the rest of its many posts later.
   */
  async delete(id: number, options: Conditional = {}): Promise<void> {
    await this.#client.call("delete", "/api/v1/users/{user_id}", { ...options, params: { user_id: id } });
  }

  /** List a user's active sessions. Requires an administrator, as the next two do. */
  sessions(
    id: number,
    options: Listing<QueryOf<OperationAt<"get", "/api/v1/users/{user_id}/sessions">>> = {},
  ): List<Session> {
    return this.#client.list("/api/v1/users/{user_id}/sessions", { ...options, params: { user_id: id } });
  }

  /** End one session of a user. */
  async endSession(id: number, sessionId: number, options: Signal = {}): Promise<void> {
    const params = { user_id: id, session_id: sessionId };
    await this.#client.call("delete", "/api/v1/users/{user_id}/sessions/{session_id}", { ...options, params });
  }

  /** End all sessions of a user. */
  async endSessions(id: number, options: Signal = {}): Promise<void> {
    await this.#client.call("delete", "/api/v1/users/{user_id}/sessions", { ...options, params: { user_id: id } });
  }

  /** List an author's published posts, or the user's own drafts with `query: { status: "draft" }`. */
  posts(
    id: number,
    options: Listing<QueryOf<OperationAt<"get", "/api/v1/users/{user_id}/posts">>> = {},
  ): List<ListedPost> {
    return this.#client.list("/api/v1/users/{user_id}/posts", { ...options, params: { user_id: id } });
  }
}
