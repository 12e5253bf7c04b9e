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
      <p className="intro">Only you see these. Open one to go on writing or to publish it.</p>
      <PostListView feed={drafts} empty="No drafts. “Save as draft” keeps a post here until it is ready." />
    </>
  );
}
