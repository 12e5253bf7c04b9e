// What the programs for the generated TypeScript clients share: their input, and the output that the test checks.

import { env } from "node:process";

export const baseUrl = env.GATEPOST_URL!;
export const credentials = { email: env.GATEPOST_EMAIL!, password: env.GATEPOST_PASSWORD! };
export const POSTS = 5;
export const LIMIT = 2;

export interface Report {
  email: string;
  titles: string[];
  pages: number;
  invalidCredentials: "invalid_credentials";
  unauthorized: "authentication_required" | "token_expired" | "token_invalid" | "token_revoked";
  invalidFields: string[];
}

/** Return a value that must be present; its type is then without undefined. */
export function present<T>(value: T | null | undefined): T {
  if (value == null) {
    throw new Error("A value is missing.");
  }
  return value;
}

export function print(report: Report): void {
  console.log(JSON.stringify(report));
}
