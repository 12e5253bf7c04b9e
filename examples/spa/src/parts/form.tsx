// Forms that show the messages of a validation error beside their fields.

import { fieldErrors, isProblem } from "@gatepost/client";
import { useEffect, useId, useRef, useState, type FormEvent, type InputHTMLAttributes, type ReactNode } from "react";
import { ErrorMessage } from "./messages";

type Values = Record<string, string>;

interface FormProps {
  /** Send the values of the fields. The form shows the error that it throws. */
  readonly onSubmit: (values: Values) => Promise<void>;
  readonly submit: string;
  readonly busy?: string;
  /** The error of an earlier attempt. */
  readonly error?: unknown;
  readonly children: (errors: Record<string, string[]>) => ReactNode;
  readonly actions?: ReactNode;
  readonly label: string;
}

export function Form({ onSubmit, submit, busy = "Sending…", error: former, children, actions, label }: FormProps): ReactNode {
  const [error, setError] = useState<unknown>(former ?? null);
  const [isBusy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const errors = fieldErrors(error);
  const isOnFields = isProblem(error, "validation_error");
  useEffect(() => {
    form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [error]);

  async function handle(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const values: Values = {};
    new FormData(event.currentTarget, (event.nativeEvent as SubmitEvent).submitter).forEach((value, name) => {
      values[name] = String(value);
    });
    setBusy(true);
    setError(null);
    try {
      await onSubmit(values);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  }

  return (
    // The service validates the fields; its messages are more exact than the browser's.
    <form ref={form} noValidate aria-label={label} aria-busy={isBusy} onSubmit={(event) => void handle(event)}>
      {!isOnFields && <ErrorMessage error={error} />}
      {children(errors)}
      <div className="actions">
        <button type="submit" className="primary" disabled={isBusy}>
          {isBusy ? busy : submit}
        </button>
        {actions}
      </div>
    </form>
  );
}

interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
  readonly label: string;
  readonly name: string;
  readonly errors: Record<string, string[]>;
  readonly hint?: string;
  readonly rows?: number;
}

export function Field({ label, name, errors, hint, rows, ...input }: FieldProps): ReactNode {
  const id = useId();
  const texts = errors[name] ?? [];
  const described = [hint && `${id}-hint`, texts.length > 0 && `${id}-error`].filter(Boolean).join(" ");
  const shared = {
    id,
    name,
    "aria-invalid": texts.length > 0 || undefined,
    "aria-describedby": described || undefined,
    autoFocus: input.autoFocus,
  };
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {rows ? (
        <textarea {...shared} rows={rows} defaultValue={input.defaultValue} placeholder={input.placeholder} />
      ) : (
        <input {...input} {...shared} />
      )}
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {texts.length > 0 && (
        <p className="error" id={`${id}-error`}>
          {texts.join(" ")}
        </p>
      )}
    </div>
  );
}
