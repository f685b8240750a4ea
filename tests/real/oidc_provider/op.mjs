// A certified OpenID Provider on loopback, for tests. Everything lives in this process's memory.
//
// OP_CONFIG is JSON: port, issuer, redirect_uris, post_logout_redirect_uris, backchannel_logout_uri,
// access_token_ttl and refresh_token_ttl in seconds, clients, each with what differs from
// `relyingParty`, and dpop_nonce_clients, which get no token without a nonce in their proof. Where tls is given (port, and the paths certificate, key and authority), clients
// may show certificates at that port.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { Provider, errors } from 'oidc-provider';

const config = JSON.parse(process.env.OP_CONFIG);

const SCOPES = ['openid', 'email', 'profile', 'offline_access'];
const RESOURCES = {
  'https://api.example/orders': 'orders:read orders:write',
  'https://api.example/mail': 'mail:read',
  'https://api.example/payments': 'payments',
};

// The built-in adapter forgets entries beyond a thousand, which looks like invalid_grant.
class UnboundedMemory {
  #entries = new Map();

  async upsert(id, payload, seconds) {
    const expires = seconds ? Date.now() + seconds * 1000 : Infinity;
    this.#entries.set(id, { payload, expires });
  }

  async find(id) {
    const entry = this.#entries.get(id);
    return entry && entry.expires > Date.now() ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return [...this.#entries.values()].find(({ payload }) => payload.uid === uid)?.payload;
  }

  async findByUserCode() {
    return undefined;
  }

  async consume(id) {
    this.#entries.get(id).payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.#entries.delete(id);
  }

  async revokeByGrantId(grantId) {
    for (const [id, { payload }] of this.#entries) {
      if (payload.grantId === grantId) this.#entries.delete(id);
    }
  }
}

const relyingParty = {
  redirect_uris: config.redirect_uris,
  post_logout_redirect_uris: config.post_logout_redirect_uris,
  backchannel_logout_uri: config.backchannel_logout_uri,
  backchannel_logout_session_required: true,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  id_token_signed_response_alg: 'RS256',
  authorization_details_types: ['payment_initiation'],
};

const withSecret = (id, authMethod) => ({
  ...relyingParty,
  client_id: id,
  client_secret: `${id}-secret`,
  token_endpoint_auth_method: authMethod,
});

const resourceServer = {
  client_id: 'rs',
  client_secret: 'rs-secret',
  token_endpoint_auth_method: 'client_secret_basic',
  redirect_uris: [],
  grant_types: [],
  response_types: [],
};

function signingKey(alg, type, options) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: alg, use: 'sig', alg };
}

function findAccount(ctx, id) {
  const claims = {
    sub: id,
    name: id,
    preferred_username: id,
    email: `${id}@example.test`,
    email_verified: true,
  };
  return { accountId: id, claims: () => claims };
}

// Grants all there is, so that no consent page comes. One grant per session at the provider, as
// oidc-provider itself does it.
async function loadExistingGrant({ oidc }) {
  const { Grant } = oidc.provider;
  const { clientId } = oidc.client;
  const grant = (await Grant.find(oidc.session.grantIdFor(clientId)))
    ?? new Grant({ accountId: oidc.account.accountId, clientId });
  grant.addOIDCScope(SCOPES.join(' '));
  for (const [resource, scope] of Object.entries(RESOURCES)) {
    grant.addResourceScope(resource, scope);
  }
  await grant.save();
  return grant;
}

function getResourceServerInfo(ctx, resource) {
  if (!(resource in RESOURCES)) throw new errors.InvalidTarget();
  return {
    audience: resource,
    scope: RESOURCES[resource],
    accessTokenFormat: 'jwt',
    accessTokenTTL: config.access_token_ttl,
    jwt: { sign: { alg: 'ES256' } },
  };
}

// A sign-in that names no resource gets a refresh token for all of them, and a token request that
// names several the first. For the client `strict` it is as oidc-provider comes: no resource unless
// the sign-in named it, and one at a time.
function defaultResource(ctx, client, oneOf) {
  if (client.clientId === 'strict') return oneOf;
  return oneOf?.[0] ?? Object.keys(RESOURCES);
}

const authorizationDetails = ({ oidc: { params } }) =>
  params.authorization_details && JSON.parse(params.authorization_details);

const peerCertificate = (ctx) => ctx.socket.getPeerX509Certificate?.();

const tlsOrigin = config.tls && `https://127.0.0.1:${config.tls.port}`;

const provider = new Provider(config.issuer, {
  adapter: UnboundedMemory,
  clients: [
    withSecret('rotate', 'client_secret_basic'),
    withSecret('rotate-post', 'client_secret_post'),
    withSecret('norotate', 'client_secret_basic'),
    withSecret('strict', 'client_secret_basic'),
    ...config.clients.map((client) => ({ ...relyingParty, ...client })),
    resourceServer,
  ],
  jwks: {
    keys: [
      signingKey('RS256', 'rsa', { modulusLength: 2048 }),
      signingKey('ES256', 'ec', { namedCurve: 'P-256' }),
    ],
  },
  cookies: { keys: ['for tests only'] },
  scopes: SCOPES,
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
  },
  findAccount,
  loadExistingGrant,
  clientAuthMethods: [
    'client_secret_basic',
    'client_secret_post',
    'client_secret_jwt',
    'private_key_jwt',
    'tls_client_auth',
    'self_signed_tls_client_auth',
  ],
  discovery: {
    mtls_endpoint_aliases: tlsOrigin && {
      token_endpoint: `${tlsOrigin}/token`,
      revocation_endpoint: `${tlsOrigin}/token/revocation`,
    },
  },
  pkce: { required: () => true },
  // Without its dispatcher, which refuses to call loopback addresses.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  rotateRefreshToken: (ctx) => ctx.oidc.client.clientId !== 'norotate',
  // As at most providers, a logout there leaves the refresh tokens alive.
  expiresWithSession: () => false,
  ttl: {
    AccessToken: config.access_token_ttl,
    RefreshToken: config.refresh_token_ttl,
    AuthorizationCode: 60,
    IdToken: 3600,
    Interaction: 600,
    Grant: 86400,
    Session: 86400,
  },
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    dPoP: {
      enabled: true,
      nonceSecret: randomBytes(32),
      requireNonce: ({ oidc }) => config.dpop_nonce_clients.includes(oidc.client?.clientId),
    },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: peerCertificate,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && peerCertificate(ctx).subject === expected,
    },
    richAuthorizationRequests: {
      enabled: true,
      types: { payment_initiation: { validate() {} } },
      authorizationDetailsForGrantSource: authorizationDetails,
      authorizationDetailsForAccessToken: authorizationDetails,
      authorizationDetailsForIntrospection: (ctx, token) => token.rar,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource,
      // Without a resource the access token stays the one for userinfo.
      useGrantedResource: () => false,
      getResourceServerInfo,
    },
  },
});

const seen = { requests: {}, refresh_token_reused: 0, token_requests: [] };
const rotated = new Set();

provider.on('refresh_token.consumed', (token) => rotated.add(token.jti));
provider.on('grant.error', (ctx, error) => {
  // Counted here and not by the error's text: a reuse revokes the whole grant, so that the next
  // one finds no such token at all.
  const isReuse = error.error === 'invalid_grant' && rotated.has(ctx.oidc.params?.refresh_token);
  if (isReuse) seen.refresh_token_reused += 1;
  const why = error.error_detail ?? error.error_description;
  console.error('token request refused:', error.error, why);
});
provider.on('backchannel.error', (ctx, error) => console.error('back-channel:', error));
provider.on('server_error', (ctx, error) => console.error(error));

provider.use(async (ctx, next) => {
  await next();
  if (ctx.path !== '/token' || !ctx.oidc?.params) return;
  const { grant_type, scope = null, resource = null } = ctx.oidc.params;
  const { error = null } = ctx.body ?? {};
  seen.token_requests.push({ grant_type, scope, resource, error });
});

const answer = provider.callback();
function serve(request, response) {
  const path = request.url.split('?')[0];
  if (path.startsWith('/__')) {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(path === '/__seen' ? seen : {}));
    return;
  }
  const name = `${request.method} ${path.replace(/[\w-]{21,}/, ':id')}`;
  seen.requests[name] = (seen.requests[name] ?? 0) + 1;
  answer(request, response);
}

http.createServer(serve).listen(config.port, '127.0.0.1');
if (config.tls) {
  const { port, certificate, key, authority } = config.tls;
  https.createServer({
    cert: readFileSync(certificate),
    key: readFileSync(key),
    ca: readFileSync(authority),
    requestCert: true,
    // Whether a certificate is good is for the provider to say: some are self-signed.
    rejectUnauthorized: false,
  }, serve).listen(port, '127.0.0.1');
}
