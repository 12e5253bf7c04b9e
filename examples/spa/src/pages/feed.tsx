// The list of published posts, and the form for a new one.

import { type NewPost } from "@gatepost/client";
import { useState, type ReactNode } from "react";
import { PostForm } from "../parts/post";
import { PostListView } from "../parts/post-list";
import { textOf } from "../parts/messages";
import { useSession } from "../state/api";
import { notify } from "../state/notices";
import { discard, feed, isRefusal, outbox, send, type Outgoing } from "../state/posts";
import { useStore } from "../state/store";

export function FeedPage(): ReactNode {
  const isSignedIn = useSession().status === "signed_in";
  const outgoing = useStore(outbox);
  return (
    <>
      <div className="heading">
        <h1>Posts</h1>
        <button type="button" className="quiet" onClick={() => void feed.reload()}>
          Refresh
        </button>
      </div>
      {isSignedIn ? (
        <Composer />
      ) : (
        <p className="intro">
          Everyone can read posts. <a href="#/sign-up">Sign up</a> or <a href="#/sign-in">sign in</a> to write one.
        </p>
      )}
      {outgoing.length > 0 && (
        <ul className="posts" aria-label="Not yet published">
          {outgoing.map((item) => (
            <li key={item.key}>
              <OutgoingCard item={item} />
            </li>
          ))}
        </ul>
      )}
      <PostListView feed={feed} empty="There are no posts yet." />
    </>
  );
}

/** The form for a new post. It closes when the post is sent, and opens again with the text if the post is refused. */
function Composer(): ReactNode {
  const [form, setForm] = useState<{ isOpen: boolean; initial?: NewPost; error?: unknown; round: number }>({
    isOpen: false,
    round: 0,
  });
  if (!form.isOpen) {
    return (
      <button
        type="button"
        className="write"
        // Keep the keyboard focus here when the form closes.
        autoFocus={form.round > 0}
        onClick={() => setForm({ isOpen: true, round: form.round + 1 })}
      >
        Write a post…
      </button>
    );
  }
  async function handle(fields: { title: string; content: string }, action: string): Promise<void> {
    const post: NewPost = { ...fields, status: action === "draft" ? "draft" : "published" };
    setForm(({ round }) => ({ isOpen: false, round }));
    try {
      const { status } = await send(post);
      notify(status === "draft" ? "Saved as a draft." : "Published.");
    } catch (error) {
      if (isRefusal(error)) {
        setForm(({ round }) => ({ isOpen: true, initial: post, error, round: round + 1 }));
      } else {
        notify(textOf(error), true);
      }
    }
  }
  return (
    <section className="card composer">
      <PostForm
        key={form.round}
        label="New post"
        submit="Publish"
        initial={form.initial}
        error={form.error}
        onSubmit={handle}
        actions={
          <>
            <button type="submit" name="action" value="draft">
              Save as draft
            </button>
            <button type="button" className="quiet" onClick={() => setForm({ isOpen: false, round: form.round })}>
              Cancel
            </button>
          </>
        }
      />
    </section>
  );
}

function OutgoingCard({ item }: { item: Outgoing }): ReactNode {
  const again = () =>
    void send(item.fields, item.key).then(
      () => notify("Published."),
      (error: unknown) => notify(textOf(error), true),
    );
  return (
    <article className="card pending" aria-busy={item.state === "sending"}>
      <h2>{item.fields.title}</h2>
      <p className="excerpt">{item.fields.content}</p>
      {item.state === "sending" ? (
        <p className="byline">Sending…</p>
      ) : (
        <div className="actions">
          <span className="error">Not sent yet.</span>
          <button type="button" onClick={again}>
            Try again
          </button>
          <button type="button" className="quiet" onClick={() => discard(item.key)}>
            Discard
          </button>
        </div>
      )}
    </article>
  );
}
