// The profile and the password of the signed-in user.

import { isProblem, type Answer, type PrivateUser } from "@gatepost/client";
import { useState, type ReactNode } from "react";
import { Field, Form } from "../parts/form";
import { ErrorMessage } from "../parts/messages";
import { api, me } from "../state/api";
import { useLoad } from "../state/load";
import { notify } from "../state/notices";

export function ProfilePage(): ReactNode {
  const { data: answer, error, reload, set } = useLoad((signal) => api.auth.me({ signal }), "profile");
  const [round, setRound] = useState(0);

  async function save(base: Answer<PrivateUser>, name: string, bio: string): Promise<void> {
    try {
      await api.users.update(base.data.id, { name, bio }, { ifMatch: base });
    } catch (failure) {
      if (!isProblem(failure, "precondition_failed")) {
        throw failure;
      }
      set(await api.auth.me());
      notify("Your profile was changed on another device. The form now shows the current version.", true);
      setRound((count) => count + 1);
      return;
    }
    const now = await api.auth.me();
    set(now);
    me.set(now.data);
    notify("Saved.");
  }

  if (!answer) {
    return error ? <ErrorMessage error={error} onRetry={reload} /> : <p role="status">Loading…</p>;
  }
  return (
    <>
      <h1>Profile</h1>
      <section className="card composer" aria-label="About you">
        <Form
          key={round}
          label="Profile"
          submit="Save"
          busy="Saving…"
          onSubmit={({ name = "", bio = "" }) => save(answer, name, bio)}
        >
          {(errors) => (
            <>
              <p className="byline">{answer.data.email}</p>
              <Field label="Name" name="name" errors={errors} defaultValue={answer.data.name} autoComplete="name" />
              <Field label="About you" name="bio" errors={errors} rows={3} defaultValue={answer.data.bio} />
            </>
          )}
        </Form>
      </section>
      <h2>Password</h2>
      <PasswordForm email={answer.data.email} />
      <h2>Delete account</h2>
      <DeletionForm user={answer.data} />
    </>
  );
}

function PasswordForm({ email }: { email: string }): ReactNode {
  const [round, setRound] = useState(0);
  return (
    <section className="card composer" aria-label="Change your password">
      <Form
        key={round}
        label="Password"
        submit="Change password"
        onSubmit={async ({ current_password = "", new_password = "" }) => {
          await api.auth.changePassword({ current_password, new_password });
          notify("Password changed. You are signed out on all other devices.");
          setRound((count) => count + 1);
        }}
      >
        {(errors) => (
          <>
            <input type="email" autoComplete="username" defaultValue={email} hidden readOnly />
            <Field
              label="Current password"
              name="current_password"
              type="password"
              errors={errors}
              autoComplete="current-password"
            />
            <Field
              label="New password"
              name="new_password"
              type="password"
              errors={errors}
              autoComplete="new-password"
              hint="At least 8 characters. Several words are easy to remember."
            />
          </>
        )}
      </Form>
    </section>
  );
}

function DeletionForm({ user }: { user: PrivateUser }): ReactNode {
  return (
    <section className="card composer" aria-label="Delete your account">
      <Form
        label="Deletion"
        submit="Delete my account and posts"
        busy="Deleting…"
        onSubmit={async ({ password = "" }) => {
          await api.auth.reauthenticate(password);
          await api.users.delete(user.id);
          await api.auth.logout();
          notify("Your account is deleted.");
        }}
      >
        {(errors) => (
          <>
            <input type="email" autoComplete="username" defaultValue={user.email} hidden readOnly />
            <Field
              label="Password"
              name="password"
              type="password"
              errors={errors}
              autoComplete="current-password"
              hint="This cannot be undone."
            />
          </>
        )}
      </Form>
    </section>
  );
}
