// The client, as the documentation has it. It takes no provider that listens on a port of its own,
// and wants the provider's metadata before it hands a stored token out: here they are.
import { Auth0Client } from "@auth0/nextjs-auth0/server";

const issuer = `https://${process.env.AUTH0_DOMAIN}/`;
const metadata = {
  issuer,
  authorization_endpoint: `${issuer}authorize`,
  token_endpoint: `${issuer}token`,
  jwks_uri: `${issuer}jwks`,
};

export const auth0 = new Auth0Client({
  enableTelemetry: false,
  customFetch: async () => Response.json(metadata),
});
