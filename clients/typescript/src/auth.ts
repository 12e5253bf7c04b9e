// Sign-up, sign-in and sign-out, which change the session of the client.

import type { Client, Credentials } from "./client.js";
import { isProblem } from "./errors.js";
import type { components } from "./generated.js";
import type { List } from "./lists.js";
import { abortable } from "./retry.js";
import type { SessionManager, Tokens } from "./session.js";
import type { Answer, CommonOptions, ListOptions, MethodOptions, OperationAt } from "./types.js";

type Schemas = components["schemas"];
type PrivateUser = Schemas["PrivateUser"];
type Signal = Pick<CommonOptions, "signal">;
type Listing<P extends `/api/v1/auth/${"sessions" | "events"}`> = ListOptions<OperationAt<"get", P>>;

const AUTH = "/api/v1/auth";

/** Sign-up, sign-in and sign-out, and the user's own sessions. */
export class AuthResource {
  readonly #client: Client;
  readonly #session: SessionManager;

  constructor(client: Client, session: SessionManager) {
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
  me(options: MethodOptions<OperationAt<"get", "/api/v1/auth/me">> = {}): Promise<Answer<PrivateUser>> {
    return this.#client.call("get", `${AUTH}/me`, options);
  }

  /** List the user's active sessions; `current` marks this one. */
  sessions(options: Listing<"/api/v1/auth/sessions"> = {}): List<Schemas["Session"]> {
    return this.#client.list(`${AUTH}/sessions`, options);
  }

  /** List the events about the user's account and sessions. */
  events(options: Listing<"/api/v1/auth/events"> = {}): List<Schemas["OwnEvent"]> {
    return this.#client.list(`${AUTH}/events`, options);
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
