// Reads the settings from the environment, and tells everything that is wrong with them at once (SPEC 8).

import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';

import type { RedisOptions } from 'ioredis';

import { normalOrigin, type Origins } from './origins.js';

/** A class, so that it can be asked for by its name. */
export abstract class Settings {
  abstract readonly host: string;
  abstract readonly port: number;
  abstract readonly origins: Origins;
  abstract readonly jwt: { readonly algorithm: string; readonly key: KeyObject };
  abstract readonly ingestToken: string;
  abstract readonly queue: { readonly maxEvents: number; readonly ttlMs: number };
  abstract readonly heartbeat: { readonly pingInterval: number; readonly pingTimeout: number };
  /** Per user (LIMIT-04) and per connection (LIMIT-05). */
  abstract readonly limits: { readonly devices: number; readonly eventsPerSecond: number };
  abstract readonly redis: RedisSettings;
}

type RedisSettings = Pick<RedisOptions, 'host' | 'port' | 'username' | 'password' | 'db' | 'tls'>;

/** One line for each setting that is wrong, and never the value of a secret (CONF-03). */
export class SettingsError extends Error {}

/** How many bytes a secret has to have at least: as many as the hash (RFC 7518, 3.2). */
const SECRET_BYTES: Record<string, number> = { HS256: 32, HS384: 48, HS512: 64 };

/** Which public keys are for an algorithm. */
const PUBLIC_KEYS: Record<string, (key: KeyObject) => boolean> = {
  RS256: ({ asymmetricKeyType: type, asymmetricKeyDetails: details }) => type === 'rsa' && (details?.modulusLength ?? 0) >= 2_048,
  ES256: ({ asymmetricKeyDetails: details }) => details?.namedCurve === 'prime256v1',
  EdDSA: ({ asymmetricKeyType: type }) => type === 'ed25519',
};

export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const reader = new Reader(env);
  const settings = {
    host: reader.text('HOST') ?? '127.0.0.1',
    port: reader.integer('PORT', 3_000, 0, 65_535),
    origins: reader.origins('CORS_ORIGIN', 'http://localhost:3001'),
    jwt: reader.jwt(),
    ingestToken: reader.secret('INGEST_TOKEN'),
    queue: {
      maxEvents: reader.integer('QUEUE_MAX_EVENTS', 50, 1, 10_000),
      ttlMs: reader.integer('QUEUE_TTL_SECONDS', 86_400, 1, 31_536_000) * 1_000,
    },
    heartbeat: {
      pingInterval: reader.integer('PING_INTERVAL_SECONDS', 25, 1, 86_400) * 1_000,
      pingTimeout: reader.integer('PING_TIMEOUT_SECONDS', 20, 1, 86_400) * 1_000,
    },
    limits: {
      devices: reader.integer('MAX_DEVICES_PER_USER', 1_000, 1, 1_000_000),
      eventsPerSecond: reader.integer('MAX_EVENTS_PER_SECOND', 100, 1, 1_000_000),
    },
    redis: reader.redis(),
  };
  const { jwt, ingestToken } = settings;
  if (!ingestToken) reader.wrong('INGEST_TOKEN', 'must be set: it is the credential of those who emit');
  if (reader.problems.length > 0 || !jwt || !ingestToken) throw new SettingsError(reader.problems.join('\n'));
  return { ...settings, jwt, ingestToken };
}

class Reader {
  readonly problems: string[] = [];

  constructor(private readonly env: NodeJS.ProcessEnv) {}

  wrong(name: string, what: string): undefined {
    this.problems.push(`${name} ${what}`);
    return undefined;
  }

  /** What is empty counts as not set, as the seed's `REDIS_PASSWORD=` does. */
  text(name: string): string | undefined {
    return this.env[name] || undefined;
  }

  /** From the variable itself, or from the file that the one with `_FILE` names (CONF-11). */
  secret(name: string): string | undefined {
    const file = this.text(`${name}_FILE`);
    if (file === undefined) return this.text(name);
    if (this.text(name) !== undefined) return this.wrong(`${name}_FILE`, `is set beside ${name}: one of them is too many`);
    try {
      return readFileSync(file, 'utf8').replace(/[\r\n]+$/, '') || this.wrong(`${name}_FILE`, 'names a file that is empty');
    } catch {
      return this.wrong(`${name}_FILE`, 'names a file that cannot be read');
    }
  }

  integer(name: string, fallback: number, min: number, max: number): number {
    const given = this.text(name) ?? String(fallback);
    const value = /^\d{1,15}$/.test(given) ? Number(given) : NaN;
    if (!(value >= min && value <= max)) this.wrong(name, `must be an integer from ${min} to ${max}`);
    return value;
  }

  origins(name: string, fallback: string): Origins {
    const given = this.text(name) ?? fallback;
    if (given.trim() === '*') return '*';
    const listed = given.split(',').map((entry) => entry.trim()).filter(Boolean);
    const normal = listed.flatMap((entry) => normalOrigin(entry) ?? this.wrong(name, `has an entry that is no origin: ${JSON.stringify(entry)}`) ?? []);
    return new Set(normal);
  }

  /** By `REDIS_URL` (CONF-12), or by the seed's `REDIS_HOST` and its kin. */
  redis(): RedisSettings {
    const url = this.secret('REDIS_URL');
    if (url === undefined) {
      return {
        host: this.text('REDIS_HOST') ?? 'localhost',
        port: this.integer('REDIS_PORT', 6_379, 1, 65_535),
        username: this.text('REDIS_USERNAME'),
        password: this.secret('REDIS_PASSWORD'),
        db: this.integer('REDIS_DB', 0, 0, 1_000_000),
      };
    }
    const parsed = redisFrom(url);
    if (!parsed) this.wrong('REDIS_URL', 'must be redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or rediss:// for TLS');
    return parsed ?? {};
  }

  jwt(): Settings['jwt'] | undefined {
    const secret = this.secret('JWT_SECRET');
    const pem = this.secret('JWT_PUBLIC_KEY');
    const algorithm = this.text('JWT_ALGORITHM') ?? (pem && !secret ? 'RS256' : 'HS256');
    const secretBytes = SECRET_BYTES[algorithm];
    const isRight = PUBLIC_KEYS[algorithm];
    if (secretBytes !== undefined) {
      if (!secret) return this.wrong('JWT_SECRET', `must be set for ${algorithm}`);
      const key = createSecretKey(secret, 'utf8');
      if ((key.symmetricKeySize ?? 0) >= secretBytes) return { algorithm, key };
      return this.wrong('JWT_SECRET', `must have ${secretBytes} bytes or more for ${algorithm}`);
    }
    if (!isRight) {
      if (!secret && !pem) this.wrong('JWT_SECRET', 'or JWT_PUBLIC_KEY must be set');
      return this.wrong('JWT_ALGORITHM', `must be one of ${Object.keys({ ...SECRET_BYTES, ...PUBLIC_KEYS }).join(', ')}`);
    }
    const key = publicKey(pem);
    if (key && isRight(key)) return { algorithm, key };
    return this.wrong('JWT_PUBLIC_KEY', `must be a public key for ${algorithm} in PEM, of 2,048 bits or more where it is RSA`);
  }
}

/** The library would make a public key of a private one; and its errors might quote the key. */
function publicKey(pem = ''): KeyObject | undefined {
  try {
    return pem.includes('PRIVATE KEY') ? undefined : createPublicKey(pem);
  } catch {
    return undefined;
  }
}

const REDIS_URL = /^rediss?:\/\/([^:@/]*(:[^:@/]*)?@)?(\[[\da-f:.]+\]|[^:@/,[\]?#\s]+)(:\d+)?(\/\d*)?$/i;

function redisFrom(url: string): RedisSettings | undefined {
  if (!REDIS_URL.test(url)) return undefined;
  try {
    const { protocol, hostname, port, username, password, pathname } = new URL(url);
    return {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || 6_379),
      username: decodeURIComponent(username) || undefined,
      password: decodeURIComponent(password) || undefined,
      db: Number(pathname.slice(1)),
      tls: protocol === 'rediss:' ? {} : undefined,
    };
  } catch {
    return undefined;
  }
}
