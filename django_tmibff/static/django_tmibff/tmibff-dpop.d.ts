/** What tmibff.js loads where tokens are bound to a key. Its documentation is docs/javascript.md. */

/** Return a DPoP proof (RFC 9449) for one request, with the access token that goes along. */
export function proof(method: string, url: string, accessToken?: string): Promise<string>;
