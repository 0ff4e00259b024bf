// Verifies the token of a handshake and the session that it names (SPEC 2). Knows nothing of rooms and queues.

import { verify as verifySignature } from 'node:crypto';

import jwt from 'jsonwebtoken';

/** Clocks differ: so much later than it says a token ends, and so much earlier it begins. */
export const LEEWAY_SECONDS = 3;
/** No issuer writes longer ones. */
const MAX_TOKEN_LENGTH = 65_536;

/** A refusal; its message is the code that the client sees (AUTH-21). */
export class Refusal extends Error {}

const refuse = (code) => {
  throw new Refusal(code);
};

/** AUTH-01 to AUTH-04, AUTH-28. */
export function findToken(handshake) {
  const token = handshake.auth?.token ?? handshake.headers.authorization;
  return bareToken(token);
}

/** A token without the prefix that it may have. */
export function bareToken(token) {
  if (token === undefined || token === null) refuse('token_missing');
  if (typeof token !== 'string') refuse('token_invalid');
  const bare = /^Bearer /i.test(token) ? token.slice('Bearer '.length) : token;
  return bare || refuse('token_missing');
}

/** A function from token to `{userId, sessionId, endsAt}`, in milliseconds (AUTH-05 to AUTH-13). */
export function tokenVerifier({ algorithm, key }) {
  const decode = algorithm === 'EdDSA' ? (token) => decodeEdDsa(token, key) : (token) => decodeJwt(token, algorithm, key);
  return (token) => {
    if (token.length > MAX_TOKEN_LENGTH) refuse('token_invalid');
    let claims;
    try {
      if ('crit' in headerOf(token)) refuse('token_invalid');
      claims = decode(token);
    } catch {
      refuse('token_invalid');
    }
    return judge(claims, Date.now() / 1_000);
  };
}

/** What it says of itself; not yet verified. */
const headerOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url').toString());

// The times are judged below, last, so that a token that is wrong in more than its age is not told as expired.
function decodeJwt(token, algorithm, key) {
  return jwt.verify(token, key, { algorithms: [algorithm], ignoreExpiration: true, ignoreNotBefore: true });
}

/** jsonwebtoken has no EdDSA. */
function decodeEdDsa(token, key) {
  const parts = token.split('.');
  if (parts.length !== 3 || !parts.every((part) => /^[\w-]+$/.test(part))) throw new Error('not a JWS');
  const [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
  const signature = Buffer.from(parts[2], 'base64url');
  if (header.alg !== 'EdDSA' || !verifySignature(null, Buffer.from(`${parts[0]}.${parts[1]}`), key, signature)) {
    throw new Error('not signed');
  }
  return claims;
}

function judge(claims, now) {
  const { userId = claims.sub, sessionId, exp, nbf, type } = claims;
  const isText = (claim) => typeof claim === 'string' && claim !== '';
  const isTime = (claim) => typeof claim === 'number';
  if (type === 'refresh' || !isText(userId) || !isText(sessionId) || !isTime(exp)) refuse('token_invalid');
  if (nbf !== undefined && !(isTime(nbf) && nbf <= now + LEEWAY_SECONDS)) refuse('token_invalid');
  if (exp + LEEWAY_SECONDS <= now) refuse('token_expired');
  return { userId, sessionId, endsAt: exp * 1_000 };
}
