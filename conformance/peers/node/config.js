// Reads the settings from the environment, and names everything that is wrong with them at once (SPEC 8).

import { createPublicKey } from 'node:crypto';

import { normalOrigin } from './origins.js';

const HMAC = ['HS256', 'HS384', 'HS512'];
const BY_PUBLIC_KEY = { RS256: 'rsa', ES256: 'ec', EdDSA: 'ed25519' };

/** Carries one line for each setting that is wrong; never the value of a secret (CONF-03). */
export class ConfigError extends Error {}

export function readConfig(env) {
  const problems = [];
  const text = (name, fallback) => env[name] || fallback;
  const integer = (name, fallback, min, max) => {
    const given = text(name, String(fallback));
    const value = /^\d{1,15}$/.test(given) ? Number(given) : NaN;
    if (!(value >= min && value <= max)) problems.push(`${name} must be an integer from ${min} to ${max}`);
    return value;
  };
  const config = {
    host: text('HOST', '127.0.0.1'),
    port: integer('PORT', 3000, 0, 65_535),
    origins: origins(text('CORS_ORIGIN', 'http://localhost:3001'), problems),
    jwt: jwt(text, problems),
    ingestToken: text('INGEST_TOKEN'),
    queue: {
      maxEvents: integer('QUEUE_MAX_EVENTS', 50, 1, 10_000),
      ttlMs: integer('QUEUE_TTL_SECONDS', 86_400, 1, 31_536_000) * 1_000,
    },
    heartbeat: {
      pingInterval: integer('PING_INTERVAL_SECONDS', 25, 1, 86_400) * 1_000,
      pingTimeout: integer('PING_TIMEOUT_SECONDS', 20, 1, 86_400) * 1_000,
    },
    ackTimeoutMs: integer('ACK_TIMEOUT_SECONDS', 10, 1, 3_600) * 1_000,
    redis: {
      host: text('REDIS_HOST', '127.0.0.1'),
      port: integer('REDIS_PORT', 6379, 1, 65_535),
      password: text('REDIS_PASSWORD'),
      db: integer('REDIS_DB', 0, 0, 1_000_000),
    },
  };
  if (!config.ingestToken) problems.push('INGEST_TOKEN must be set: it is the credential of those who emit');
  if (text('STORE', 'redis') !== 'redis') problems.push('STORE can only be redis');
  if (problems.length > 0) throw new ConfigError(problems.join('\n'));
  return config;
}

function jwt(text, problems) {
  const secret = text('JWT_SECRET');
  const pem = text('JWT_PUBLIC_KEY');
  const algorithm = text('JWT_ALGORITHM', pem && !secret ? 'RS256' : 'HS256');
  if (HMAC.includes(algorithm)) {
    if (!secret) problems.push(`JWT_SECRET must be set for ${algorithm}`);
    return { algorithm, key: secret };
  }
  if (!(algorithm in BY_PUBLIC_KEY)) {
    problems.push(`JWT_ALGORITHM must be one of ${[...HMAC, ...Object.keys(BY_PUBLIC_KEY)].join(', ')}`);
    if (!secret && !pem) problems.push('JWT_SECRET or JWT_PUBLIC_KEY must be set');
    return undefined;
  }
  try {
    const key = createPublicKey(pem ?? '');
    if (key.asymmetricKeyType === BY_PUBLIC_KEY[algorithm]) return { algorithm, key };
  } catch {
    // Said below: the library's own words might quote the key.
  }
  problems.push(`JWT_PUBLIC_KEY must be a key for ${algorithm} in PEM`);
  return undefined;
}

/** The allowed origins; `undefined` stands for `*`. */
function origins(list, problems) {
  if (list.trim() === '*') return undefined;
  const listed = list.split(',').map((entry) => entry.trim()).filter(Boolean);
  const normal = listed.map(normalOrigin);
  listed.forEach((entry, at) => {
    if (normal[at] === undefined) problems.push(`CORS_ORIGIN has an entry that is no origin: ${JSON.stringify(entry)}`);
  });
  return new Set(normal);
}
