// Resources with a method for each operation. Generated from the OpenAPI document: do not edit.

import * as core from "./core.js";
import type { components, operations, paths } from "./generated.js";

export type Schemas = components["schemas"];
export type Service = Schemas["Service"];
export type PublicKey = Schemas["PublicKey"];
export type KeySet = Schemas["KeySet"];
export type AuditEvent = Schemas["AuditEvent"];
export type Pagination = Schemas["Pagination"];
export type AuditEventPage = Schemas["AuditEventPage"];
export type OwnEvent = Schemas["OwnEvent"];
export type OwnEventPage = Schemas["OwnEventPage"];
export type PrivateUser = Schemas["PrivateUser"];
export type TokenAnswer = Schemas["TokenAnswer"];
export type Login = Schemas["Login"];
export type RefreshToken = Schemas["RefreshToken"];
export type PasswordChange = Schemas["PasswordChange"];
export type FreshToken = Schemas["FreshToken"];
export type Reauthentication = Schemas["Reauthentication"];
export type RefreshedTokens = Schemas["RefreshedTokens"];
export type Refresh = Schemas["Refresh"];
export type Registration = Schemas["Registration"];
export type Session = Schemas["Session"];
export type SessionPage = Schemas["SessionPage"];
export type Author = Schemas["Author"];
export type ListedPost = Schemas["ListedPost"];
export type ListedPostPage = Schemas["ListedPostPage"];
export type Post = Schemas["Post"];
export type NewPost = Schemas["NewPost"];
export type PostChanges = Schemas["PostChanges"];
export type Context = Schemas["Context"];
export type ContextChanges = Schemas["ContextChanges"];
export type PublicUser = Schemas["PublicUser"];
export type User = Schemas["User"];
export type UserPage = Schemas["UserPage"];
export type NewUser = Schemas["NewUser"];
export type Profile = Schemas["Profile"];
export type ProfileChanges = Schemas["ProfileChanges"];
export type Deletion = Schemas["Deletion"];
export type UserExport = Schemas["UserExport"];
export type Health = Schemas["Health"];
export type Readiness = Schemas["Readiness"];
export type OpenApi = Schemas["OpenApi"];
export type ProblemListed = Schemas["ProblemListed"];
export type ProblemList = Schemas["ProblemList"];
export type ProblemExplained = Schemas["ProblemExplained"];

export interface AuditResource {
  /**
   * List the events about all accounts and sessions, including deleted ones.
   *
   * Access: The access token of an administrator.
   */
  events(options?: core.ListOptions<operations["list_events"]>): core.List<core.ListedBy<operations["list_events"]>>;
}

export interface PostsResource {
  /**
   * List published posts, or your own drafts.
   *
   * Access: Anyone; with an access token the response may contain more.
   */
  list(options?: core.ListOptions<operations["list_posts"]>): core.List<core.ListedBy<operations["list_posts"]>>;
  /**
   * Create a post. It is published immediately unless its status is 'draft'.
   *
   * Access: An access token.
   */
  create(
    body: core.BodyOf<operations["create_post"]>,
    options?: core.MethodOptions<operations["create_post"]>,
  ): Promise<core.Answer<core.ResultOf<operations["create_post"]>>>;
  /**
   * Read a post. Only its author and administrators can read a draft.
   *
   * Access: Anyone; with an access token the response may contain more.
   */
  get(
    postId: number,
    options?: core.MethodOptions<operations["get_post"]>,
  ): Promise<core.Answer<core.ResultOf<operations["get_post"]>>>;
  /**
   * Replace a post.
   *
   * Access: An access token.
   */
  replace(
    postId: number,
    body: core.BodyOf<operations["replace_post"]>,
    options?: core.MethodOptions<operations["replace_post"]>,
  ): Promise<core.Answer<core.ResultOf<operations["replace_post"]>>>;
  /**
   * Change the given members of a post.
   *
   * Access: An access token.
   */
  update(
    postId: number,
    body: core.BodyOf<operations["update_post"]>,
    options?: core.MethodOptions<operations["update_post"]>,
  ): Promise<core.Answer<core.ResultOf<operations["update_post"]>>>;
  /**
   * Delete a post.
   *
   * Access: An access token.
   */
  delete(postId: number, options?: core.MethodOptions<operations["delete_post"]>): Promise<void>;
}

export interface ServiceContextResource {
  /**
   * Get the state of maintenance mode.
   *
   * Access: The access token of an administrator.
   */
  get(
    options?: core.MethodOptions<operations["get_context"]>,
  ): Promise<core.Answer<core.ResultOf<operations["get_context"]>>>;
  /**
   * Turn maintenance mode on or off. It takes effect on every worker within a second.
   *
   * Access: The access token of an administrator.
   */
  update(
    body: core.BodyOf<operations["update_context"]>,
    options?: core.MethodOptions<operations["update_context"]>,
  ): Promise<core.Answer<core.ResultOf<operations["update_context"]>>>;
}

export interface UsersResource {
  /**
   * List users. An administrator also sees private members.
   *
   * Access: An access token.
   */
  list(options?: core.ListOptions<operations["list_users"]>): core.List<core.ListedBy<operations["list_users"]>>;
  /**
   * Create an account for another person.
   *
   * Access: The access token of an administrator.
   */
  create(
    body: core.BodyOf<operations["create_user"]>,
    options?: core.MethodOptions<operations["create_user"]>,
  ): Promise<core.Answer<core.ResultOf<operations["create_user"]>>>;
  /**
   * Read a user. The user and administrators also see private members.
   *
   * Access: Anyone; with an access token the response may contain more.
   */
  get(
    userId: number,
    options?: core.MethodOptions<operations["get_user"]>,
  ): Promise<core.Answer<core.ResultOf<operations["get_user"]>>>;
  /**
   * Replace a profile.
   *
   * Access: An access token.
   */
  replace(
    userId: number,
    body: core.BodyOf<operations["replace_user"]>,
    options?: core.MethodOptions<operations["replace_user"]>,
  ): Promise<core.Answer<core.ResultOf<operations["replace_user"]>>>;
  /**
   * Change the given members of a profile.
   *
   * Access: An access token.
   */
  update(
    userId: number,
    body: core.BodyOf<operations["update_user"]>,
    options?: core.MethodOptions<operations["update_user"]>,
  ): Promise<core.Answer<core.ResultOf<operations["update_user"]>>>;
  /**
   * Delete an account with its posts and sessions: your own with a fresh token, or any as an administrator.
   *
   * The account and its posts disappear at once in any case. 202 means that it had so many that some rows are left: the
   * operator's `users purge` deletes them, and so does the same request of an administrator.
   *
   * Access: An access token.
   */
  delete(userId: number, options?: core.MethodOptions<operations["delete_user"]>): Promise<void>;
  /**
   * Download everything stored about you, as one JSON document.
   *
   * Access: The access token of a login or a reauthentication, not of a refresh.
   */
  export(
    userId: number,
    options?: core.MethodOptions<operations["export_user"]>,
  ): Promise<core.Answer<core.ResultOf<operations["export_user"]>>>;
  /**
   * List the published posts of an author. The author also gets their drafts.
   *
   * Access: Anyone; with an access token the response may contain more.
   */
  posts(
    userId: number,
    options?: core.ListOptions<operations["list_posts_of"]>,
  ): core.List<core.ListedBy<operations["list_posts_of"]>>;
  /**
   * List a user's live sessions.
   *
   * Access: The access token of an administrator.
   */
  sessions(
    userId: number,
    options?: core.ListOptions<operations["list_user_sessions"]>,
  ): core.List<core.ListedBy<operations["list_user_sessions"]>>;
  /**
   * End all sessions of a user, also the current one if the user is the caller.
   *
   * Access: The access token of an administrator.
   */
  endSessions(userId: number, options?: core.MethodOptions<operations["end_user_sessions"]>): Promise<void>;
  /**
   * End one session of a user.
   *
   * Access: The access token of an administrator.
   */
  endSession(
    userId: number,
    sessionId: number,
    options?: core.MethodOptions<operations["end_user_session"]>,
  ): Promise<void>;
}

/** A client with the resources of the document. */
export class Gatepost extends core.Client<paths> {
  readonly audit = this.makeResource<AuditResource>({
    events: "get /api/v1/audit list",
  });
  readonly posts = this.makeResource<PostsResource>({
    list: "get /api/v1/posts list",
    create: "post /api/v1/posts body key",
    get: "get /api/v1/posts/{post_id}",
    replace: "put /api/v1/posts/{post_id} body",
    update: "patch /api/v1/posts/{post_id} body",
    delete: "delete /api/v1/posts/{post_id} void",
  });
  readonly serviceContext = this.makeResource<ServiceContextResource>({
    get: "get /api/v1/service-context",
    update: "patch /api/v1/service-context body",
  });
  readonly users = this.makeResource<UsersResource>({
    list: "get /api/v1/users list",
    create: "post /api/v1/users body key",
    get: "get /api/v1/users/{user_id}",
    replace: "put /api/v1/users/{user_id} body",
    update: "patch /api/v1/users/{user_id} body",
    delete: "delete /api/v1/users/{user_id} void",
    export: "get /api/v1/users/{user_id}/export",
    posts: "get /api/v1/users/{user_id}/posts list",
    sessions: "get /api/v1/users/{user_id}/sessions list",
    endSessions: "delete /api/v1/users/{user_id}/sessions void",
    endSession: "delete /api/v1/users/{user_id}/sessions/{session_id} void",
  });
}
