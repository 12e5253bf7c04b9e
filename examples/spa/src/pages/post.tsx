// One post: read, edit and delete it. A change is shown before the response arrives; after a conflict, both versions are.

import { isProblem, type Answer, type Post, type PostChanges } from "@gatepost/client";
import { useState, type ReactNode } from "react";
import { Confirm } from "../parts/dialog";
import { ErrorMessage, textOf } from "../parts/messages";
import { Byline, PostForm } from "../parts/post";
import { api, useMe } from "../state/api";
import { useLoad } from "../state/load";
import { notify } from "../state/notices";
import { drafts, feed, isRefusal, updateLists } from "../state/posts";
import { go } from "../state/router";

/** What the user is doing with the post. */
type Activity =
  | { readonly kind: "reading" }
  | { readonly kind: "editing"; readonly fields: PostChanges; readonly error?: unknown }
  | { readonly kind: "saving"; readonly fields: PostChanges }
  | { readonly kind: "unsaved"; readonly fields: PostChanges; readonly error: unknown }
  | { readonly kind: "conflict"; readonly fields: PostChanges }
  | { readonly kind: "deleting" };

const READING: Activity = { kind: "reading" };

export function PostPage({ id }: { id: number }): ReactNode {
  const { data: answer, error, reload, set } = useLoad((signal) => api.posts.get(id, { signal }), id);
  const [activity, setActivity] = useState<Activity>(READING);
  const user = useMe();
  if (!answer) {
    return <Missing error={error} onRetry={reload} />;
  }
  const mayWrite = user !== null && (user.id === answer.data.author.id || user.role === "admin");

  /** Save `fields` if the post is still the version `base`. Show them at once; open the form again if they are refused. */
  async function save(base: Answer<Post>, fields: PostChanges): Promise<void> {
    setActivity({ kind: "saving", fields });
    try {
      const saved = await api.posts.update(id, fields, { ifMatch: base });
      set(saved);
      updateLists(saved.data);
      setActivity(READING);
      notify("Saved.");
    } catch (failure) {
      if (isProblem(failure, "precondition_failed")) {
        await compare(fields, failure);
      } else if (isRefusal(failure)) {
        setActivity({ kind: "editing", fields, error: failure });
      } else {
        setActivity({ kind: "unsaved", fields, error: failure });
      }
    }
  }

  /** Fetch the current version, to show it beside the user's. */
  async function compare(fields: PostChanges, failure: unknown): Promise<void> {
    try {
      const theirs = await api.posts.get(id);
      set(theirs);
      const isSame = Object.entries(fields).every(([name, value]) => theirs.data[name as keyof PostChanges] === value);
      // The change may be the user's own, if it was saved and the response was lost.
      setActivity(isSame ? READING : { kind: "conflict", fields });
    } catch {
      setActivity({ kind: "unsaved", fields, error: failure });
    }
  }

  /** Remove the post from the lists and delete it. Restore it if deleting fails. */
  async function remove(base: Answer<Post>): Promise<void> {
    const restore = [feed.remove(id), drafts.remove(id)];
    go(base.data.status === "draft" ? "drafts" : "");
    try {
      await api.posts.delete(id, { ifMatch: base });
      notify("Deleted.");
    } catch (failure) {
      restore.forEach((undo) => undo());
      const isStale = isProblem(failure, "precondition_failed");
      notify(isStale ? "Not deleted, because the post has changed in the meantime. Open it again." : `Not deleted. ${textOf(failure)}`, true);
    }
  }

  if (activity.kind === "editing") {
    return (
      <>
        <h1>Edit</h1>
        <section className="card composer">
          <PostForm
            label="Edit post"
            submit="Save"
            initial={{ ...answer.data, ...activity.fields }}
            error={activity.error}
            onSubmit={(fields) => save(answer, fields)}
            actions={
              <button type="button" className="quiet" onClick={() => setActivity(READING)}>
                Cancel
              </button>
            }
          />
        </section>
      </>
    );
  }
  if (activity.kind === "conflict") {
    return (
      <Conflict
        theirs={answer.data}
        mine={{ ...answer.data, ...activity.fields }}
        onKeepTheirs={() => setActivity(READING)}
        onKeepMine={() => void save(answer, activity.fields)}
        onEdit={() => setActivity({ kind: "editing", fields: activity.fields })}
      />
    );
  }
  const isPending = activity.kind === "saving" || activity.kind === "unsaved";
  const shown = isPending ? { ...answer.data, ...activity.fields } : answer.data;
  return (
    <article className={isPending ? "full pending" : "full"} aria-busy={activity.kind === "saving"}>
      <a className="back" href={shown.status === "draft" ? "#/drafts" : "#/"}>
        ← {shown.status === "draft" ? "Drafts" : "Posts"}
      </a>
      <h1>{shown.title}</h1>
      <Byline post={shown} />
      <p className="content">{shown.content}</p>
      {activity.kind === "saving" && <p role="status">Saving…</p>}
      {activity.kind === "unsaved" && (
        <div role="alert" className="problem">
          <p>Your change is not saved yet. {textOf(activity.error)}</p>
          <div className="actions">
            <button type="button" onClick={() => void save(answer, activity.fields)}>
              Save again
            </button>
            <button type="button" className="quiet" onClick={() => setActivity(READING)}>
              Discard changes
            </button>
          </div>
        </div>
      )}
      {mayWrite && !isPending && (
        <div className="actions">
          {shown.status === "draft" && (
            <button type="button" className="primary" onClick={() => void save(answer, { status: "published" })}>
              Publish
            </button>
          )}
          <button type="button" onClick={() => setActivity({ kind: "editing", fields: {} })}>
            Edit
          </button>
          <button type="button" className="danger-text" onClick={() => setActivity({ kind: "deleting" })}>
            Delete
          </button>
        </div>
      )}
      {activity.kind === "deleting" && (
        <Confirm
          title="Delete this post?"
          text={`“${shown.title}” will be deleted permanently.`}
          confirm="Delete"
          onConfirm={() => void remove(answer)}
          onCancel={() => setActivity(READING)}
        />
      )}
    </article>
  );
}

function Missing({ error, onRetry }: { error: unknown; onRetry: () => void }): ReactNode {
  if (isProblem(error, "not_found")) {
    return (
      <>
        <h1>Post not found</h1>
        <p>
          The post was deleted, or it is another user’s draft. <a href="#/">Go to the posts</a>
        </p>
      </>
    );
  }
  return error ? <ErrorMessage error={error} onRetry={onRetry} /> : <p role="status">Loading…</p>;
}

interface ConflictProps {
  readonly theirs: Post;
  readonly mine: Post;
  readonly onKeepTheirs: () => void;
  readonly onKeepMine: () => void;
  readonly onEdit: () => void;
}

function Conflict({ theirs, mine, onKeepTheirs, onKeepMine, onEdit }: ConflictProps): ReactNode {
  return (
    <>
      <h1>Conflicting changes</h1>
      <p role="alert" className="intro">
        This post was changed while you were editing it. Choose which version to keep.
      </p>
      <div className="versions">
        <Version label="Saved version" post={theirs}>
          <button type="button" onClick={onKeepTheirs}>
            Keep the saved version
          </button>
        </Version>
        <Version label="Your version" post={mine}>
          <button type="button" className="primary" onClick={onKeepMine}>
            Save my version
          </button>
          <button type="button" onClick={onEdit}>
            Edit my version
          </button>
        </Version>
      </div>
    </>
  );
}

function Version({ label, post, children }: { label: string; post: Post; children: ReactNode }): ReactNode {
  return (
    <section className="card" aria-label={label}>
      <p className="label">{label}</p>
      <h2>{post.title}</h2>
      <p className="content">{post.content}</p>
      <div className="actions">{children}</div>
    </section>
  );
}
