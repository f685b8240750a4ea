// Mounts /auth/login, /auth/callback and /auth/access-token, which is what is measured.
import { auth0 } from "./auth0.js";

export async function middleware(request) {
  return auth0.middleware(request);
}

export const config = { matcher: ["/auth/:path*"] };
