// Prints the cookie of a session, made with what nextjs-auth0 has for tests: it does not sign in at
// a provider that listens on a port.
import { generateSessionCookie } from "@auth0/nextjs-auth0/testing";

const { secret, claims, tokens } = JSON.parse(process.env.PEER);
const now = Math.floor(Date.now() / 1000);
const session = {
  user: claims,
  tokenSet: {
    accessToken: tokens.access_token,
    refreshToken: tokens.refresh_token,
    idToken: tokens.id_token,
    scope: tokens.scope,
    // What it asks for at sign-in by default: for another scope it would renew the token.
    requestedScope: "openid profile email offline_access",
    expiresAt: now + tokens.expires_in,
  },
  internal: { sid: "sid", createdAt: now },
};

console.log(`__session=${await generateSessionCookie(session, { secret })}`);
