// An API on loopback that takes access tokens only with a DPoP proof; oauth4webapi verifies both.
//
// RS_CONFIG is JSON: port, issuer and jwks_uri of the authorization server, and audience.
import { randomUUID } from 'node:crypto';
import * as http from 'node:http';
import * as oauth from 'oauth4webapi';

const { port, issuer, jwks_uri, audience } = JSON.parse(process.env.RS_CONFIG);
const options = { requireDPoP: true, [oauth.allowInsecureRequests]: true };

const nonce = randomUUID();
const used = new Set();
const asked = [];

const cors = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'authorization, dpop',
  'Access-Control-Expose-Headers': 'WWW-Authenticate, DPoP-Nonce',
};

// What the library leaves to the server: a nonce of its own, and that each proof comes once.
function refusalOf(proof) {
  const claims = JSON.parse(Buffer.from(proof.split('.')[1], 'base64url'));
  if (claims.nonce !== nonce) return 'use_dpop_nonce';
  if (used.has(claims.jti)) return 'invalid_dpop_proof';
  used.add(claims.jti);
  return undefined;
}

async function judged(request) {
  try {
    await oauth.validateJwtAccessToken({ issuer, jwks_uri }, request, audience, options);
  } catch (error) {
    console.error(error.code, error.message);
    return 'invalid_token';
  }
  return refusalOf(request.headers.get('dpop'));
}

http.createServer(async ({ method, url, headers }, response) => {
  const path = url.split('?')[0];
  const json = { ...cors, 'Content-Type': 'application/json' };
  if (method === 'OPTIONS') return response.writeHead(204, cors).end();
  if (path === '/__asked') return response.writeHead(200, json).end(JSON.stringify(asked));
  if (path !== '/orders') return response.writeHead(404, json).end('{}');
  const error = await judged(new Request(`http://127.0.0.1:${port}${url}`, { method, headers }));
  asked.push(error ?? 'served');
  if (error === undefined) return response.writeHead(200, json).end('{"orders": ["tea"]}');
  const challenge = `DPoP error="${error}", algs="ES256"`;
  const refusal = { ...json, 'WWW-Authenticate': challenge, 'DPoP-Nonce': nonce };
  return response.writeHead(401, refusal).end(JSON.stringify({ error }));
}).listen(port, '127.0.0.1');
