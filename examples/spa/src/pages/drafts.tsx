// The user's drafts.

import { useEffect, type ReactNode } from "react";
import { PostListView } from "../parts/post-list";
import { drafts } from "../state/posts";

export function DraftsPage(): ReactNode {
  useEffect(() => {
    void drafts.reload();
  }, []);
  return (
    <>
      <h1>Drafts</h1>
      <p className="intro">Only you can see your drafts. Open one to edit or publish it.</p>
      <PostListView feed={drafts} empty="You have no drafts. Use “Save as draft” to keep a post here until it is ready." />
    </>
  );
}
