// A post in a list, and the form to write or edit one.

import type { ListedPost, NewPost, Post } from "@gatepost/client";
import type { ReactNode } from "react";
import { Field, Form } from "./form";

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const AGO = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** A time: relative within the last 24 hours, otherwise a date. */
export function Time({ at }: { at: string }): ReactNode {
  const date = new Date(at);
  const minutes = Math.round((Date.now() - date.getTime()) / 60_000);
  const text =
    minutes < 1
      ? "just now"
      : minutes < 60
        ? AGO.format(-minutes, "minute")
        : minutes < 24 * 60
          ? AGO.format(-Math.round(minutes / 60), "hour")
          : DAY.format(date);
  return (
    <time dateTime={at} title={MOMENT.format(date)}>
      {text}
    </time>
  );
}

export function Byline({ post }: { post: Omit<Post, "content"> }): ReactNode {
  return (
    <p className="byline">
      <span className="author">{post.author.name}</span>
      <span aria-hidden="true"> · </span>
      <Time at={post.published_at ?? post.updated_at} />
      {post.status === "draft" && <span className="tag">Draft</span>}
    </p>
  );
}

export function PostCard({ post }: { post: ListedPost }): ReactNode {
  return (
    <article className="card">
      <h2>
        <a href={`#/posts/${post.id}`}>{post.title}</a>
      </h2>
      <p className="excerpt">{post.excerpt}</p>
      <Byline post={post} />
    </article>
  );
}

interface PostFormProps {
  readonly label: string;
  readonly initial?: Partial<NewPost> | undefined;
  readonly error?: unknown;
  readonly submit: string;
  readonly onSubmit: (fields: { title: string; content: string }, action: string) => Promise<void>;
  readonly actions?: ReactNode;
}

export function PostForm({ label, initial, error, submit, onSubmit, actions }: PostFormProps): ReactNode {
  return (
    <Form
      label={label}
      error={error}
      submit={submit}
      actions={actions}
      onSubmit={({ title = "", content = "", action = "" }) => onSubmit({ title, content }, action)}
    >
      {(errors) => (
        <>
          <Field label="Title" name="title" errors={errors} defaultValue={initial?.title} autoComplete="off" autoFocus />
          <Field label="Text" name="content" errors={errors} rows={6} defaultValue={initial?.content} />
        </>
      )}
    </Form>
  );
}
