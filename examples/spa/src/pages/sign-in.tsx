// The forms to sign in and to sign up.

import { useEffect, type ReactNode } from "react";
import { Field, Form } from "../parts/form";
import { api, me, useSession } from "../state/api";
import { go, useRoute } from "../state/router";

export function SignInPage(): ReactNode {
  const session = useSession();
  const route = useRoute();
  const isEnded = session.status === "signed_out" && session.reason === "ended";
  return (
    <div className="narrow">
      <h1>Sign in</h1>
      {isEnded && <Ended />}
      {!isEnded && route.page !== "sign-in" && <p className="intro">Sign in to see this page.</p>}
      <Form
        label="Sign in"
        submit="Sign in"
        busy="Signing in…"
        onSubmit={async ({ email = "", password = "" }) => me.set(await api.auth.login({ email, password }))}
      >
        {(errors) => (
          <>
            <Field label="Email" name="email" type="email" errors={errors} autoComplete="username" />
            <Field label="Password" name="password" type="password" errors={errors} autoComplete="current-password" />
          </>
        )}
      </Form>
      <p>
        No account yet? <a href="#/sign-up">Sign up</a>
      </p>
    </div>
  );
}

export function SignUpPage(): ReactNode {
  return (
    <div className="narrow">
      <h1>Sign up</h1>
      <Form
        label="Sign up"
        submit="Sign up"
        busy="Signing up…"
        onSubmit={async ({ email = "", name = "", password = "" }) => {
          me.set(await api.auth.register({ email, name, password }));
        }}
      >
        {(errors) => (
          <>
            <Field label="Name" name="name" errors={errors} autoComplete="name" hint="Shown with your posts." />
            <Field label="Email" name="email" type="email" errors={errors} autoComplete="username" />
            <Field
              label="Password"
              name="password"
              type="password"
              errors={errors}
              autoComplete="new-password"
              hint="At least 8 characters. Several words are easy to remember."
            />
          </>
        )}
      </Form>
      <p>
        Have an account? <a href="#/sign-in">Sign in</a>
      </p>
    </div>
  );
}

function Ended(): ReactNode {
  return (
    <div role="alert" className="problem">
      <p>
        <strong>Your session has ended.</strong> It was ended on another device, or because someone else may have used its
        token. Sign in again to continue. If you did not end it yourself, change your password.
      </p>
    </div>
  );
}

/** Show the sign-in page, with an explanation, when the service ends the session. After a sign-out, keep the page. */
export function useEndedSessionRedirect(): void {
  const session = useSession();
  const isEnded = session.status === "signed_out" && session.reason === "ended";
  const { page } = useRoute();
  useEffect(() => {
    if (isEnded && page !== "sign-in" && page !== "sign-up") {
      go("sign-in");
    }
    // Only once: the user may then continue to read without signing in.
  }, [isEnded]);
}
