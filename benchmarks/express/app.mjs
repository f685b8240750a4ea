// An app over express-openid-connect, as its documentation has it: the session is a cookie.
import express from "express";
import openid from "express-openid-connect";

const { auth, requiresAuth } = openid;
const config = JSON.parse(process.env.PEER);
const app = express();

app.use(
  auth({
    issuerBaseURL: config.issuer,
    baseURL: config.origin,
    clientID: config.client_id,
    clientSecret: config.client_secret,
    secret: config.secret,
    authRequired: false,
    authorizationParams: { response_type: "code", scope: "openid profile email" },
  }),
);

app.get("/token", requiresAuth(), async (request, response) => {
  let token = request.oidc.accessToken;
  if (token.isExpired()) {
    token = await token.refresh();
  }
  response.set("Cache-Control", "no-store");
  response.json({ access_token: token.access_token, expires_in: token.expires_in });
});

app.listen(config.port, "127.0.0.1");
