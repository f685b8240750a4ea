/** The page's side of django-tmibff. Its documentation is docs/javascript.md. */

/** Which token: the one of the sign-in, unless something is asked for. */
export interface TokenOptions {
  /** The API, or APIs, that the token is for: URIs in `TMIBFF_RESOURCES` (RFC 8707). */
  resource?: string | readonly string[];
  /** Scope values with spaces between them. */
  scope?: string;
}

export interface GetTokenOptions extends TokenOptions {
  /** The access token that an API did not take: another one is asked for. */
  refused?: string;
}

/** What bff-token has answered, and when the token expires. */
export interface Token {
  access_token: string;
  /** `DPoP`: it is worthless without the key; `tokenFetch` makes the proofs. */
  token_type?: string;
  /** The scope that it has, which may be another than was asked for. */
  scope?: string;
  /** In seconds, when it came; `Infinity` where nobody knows. */
  expires_in: number;
  /** In milliseconds since the epoch, as `Date.now()`; `Infinity` where nobody knows. */
  expiresAt: number;
  /** From when on `getToken` gets another, in the same units. */
  renewAt: number;
  /** The origins that the site names for this token. */
  origins?: string[];
}

export interface LoginOptions extends TokenOptions {
  /** How the user is to sign in, in the provider's words, with spaces between them. */
  acrValues?: string;
  /** How old the user's last sign-in at the provider may be, in seconds. */
  maxAge?: number | string;
  prompt?: "none" | "login" | "consent" | "select_account";
  /** Who the user probably is. */
  loginHint?: string;
  /** A name in `TMIBFF_PROVIDERS`. */
  provider?: string;
  /** Where to go afterwards, a path on this site; without it: here. */
  next?: string;
  /** Where an error says that signing in begins. */
  loginUrl?: string;
}

/** Who is signed in: the members of bff-sessioninfo. */
export interface Session {
  iss?: string;
  sub?: string;
  /** When the session ends, in seconds since the epoch. */
  exp?: number;
  auth_time?: number;
  name?: string;
  email?: string;
  preferred_username?: string;
  /** Where the site binds tokens to a key: what a proof needs (docs/dpop.md). */
  dpop?: { token_endpoint: string; signing_algs: string[]; nonce?: string; now: number };
  [claim: string]: unknown;
}

/**
 * Somebody is signed in, or nobody: the backend said so ("expired", also of a visitor who never
 * signed in), or somebody signed out ("ended").
 */
export type SessionEvent =
  | { state: "signed-in"; session: Session }
  | { state: "expired" | "ended"; session: null };

/** Why there is no token, or why it was not sent. */
export class TmibffError extends Error {
  /**
   * The backend's word, or `origin_not_named`, `redirect_refused`, or an API's
   * `insufficient_user_authentication`.
   */
  readonly error: string;
  readonly error_description?: string;
  /** Where asking the user helps: see `login`. On this origin. */
  readonly loginUrl?: string;
  /** In seconds, where the backend has said so. */
  readonly retryAfter?: number;
  /** Of `insufficient_user_authentication`: what the API wants, for `login`. */
  readonly acrValues?: string;
  readonly maxAge?: string;
  /** Of `insufficient_user_authentication`: the API's answer. */
  readonly response?: Response;
}

/** Return an access token: from memory, or from the backend. Rejects with `TmibffError`. */
export function getToken(options?: GetTokenOptions): Promise<Token>;

/**
 * Call an API as `fetch` does, with a token.
 *
 * Rejects with `TmibffError` where there is no token, where the site does not name that origin for
 * it, where the API redirects, and where it wants another sign-in; with what `fetch` rejects with
 * where the API does not answer.
 */
export function tokenFetch(
  input: string | URL | Request,
  options?: RequestInit & TokenOptions,
): Promise<Response>;

/** Return who is signed in, `null` for nobody. Rejects with `TmibffError`. */
export function getSession(): Promise<Session | null>;

/** Call back when somebody signs in or out, here or in another tab; return what ends that. */
export function onSession(callback: (event: SessionEvent) => void): () => void;

/** Leave this page to sign in, and come back. Takes a `TmibffError`, too. */
export function login(options?: LoginOptions | TmibffError): void;

/** Return why the sign-in that led here failed, and take it out of the address; else `null`. */
export function takeLoginError(): string | null;

/** End the session, here and in all tabs, and leave this page to sign out at the provider too. */
export function logout(): Promise<void>;
