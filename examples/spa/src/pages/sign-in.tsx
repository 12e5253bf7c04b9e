import { useEffect, type ReactNode } from "react";
import { Field, Form } from "../parts/form";
import { api, me, useSession } from "../state/api";
import { go, useRoute } from "../state/router";

export function SignInPage(): ReactNode {
  const session = useSession();
  const route = useRoute();
  const isEnded = session.status === "signed_out" && session.why === "ended";
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
            <Field label="Name" name="name" errors={errors} autoComplete="name" hint="Shown beside what you write." />
            <Field label="Email" name="email" type="email" errors={errors} autoComplete="username" />
            <Field
              label="Password"
              name="password"
              type="password"
              errors={errors}
              autoComplete="new-password"
              hint="At least 8 characters. A few words are easy to keep in mind."
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
        <strong>Your session has ended.</strong> It was ended on another device, or for safety because its token was used by
        somebody else. Sign in again to go on. If it was not you who ended it, change your password.
      </p>
    </div>
  );
}

/** Lead whoever was thrown out to where it is explained; those who signed out themselves stay where they are. */
export function useWayBack(): void {
  const session = useSession();
  const isEnded = session.status === "signed_out" && session.why === "ended";
  const { page } = useRoute();
  useEffect(() => {
    if (isEnded && page !== "sign-in" && page !== "sign-up") {
      go("sign-in");
    }
    // Only when it happens: afterwards one may read on without signing in.
  }, [isEnded]);
}
