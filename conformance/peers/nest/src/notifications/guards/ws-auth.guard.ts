// Verifies the token of a handshake and the session that it names (SPEC 2). Knows nothing of rooms and queues.
//
// It is no `CanActivate`: Nest asks those before each message and never on connect, so a client that says nothing would be in without
// having been asked. The gateway makes it a middleware of the namespace, which runs before the CONNECT is answered.

import { Injectable } from '@nestjs/common';
import { errors, jwtVerify, type JWTPayload } from 'jose';
import type { Socket } from 'socket.io';

import { SessionManagementService } from '../../sessions/session-management.service.js';
import { Settings } from '../../settings.js';

export interface Identity {
  userId: string;
  sessionId: string;
}

type RefusalCode = 'token_missing' | 'token_invalid' | 'token_expired' | 'session_invalid' | 'unavailable';

/** The client gets the message and nothing else (AUTH-21, AUTH-24). */
export class Refusal extends Error {
  constructor(code: RefusalCode) {
    super(code);
  }
}

const LEEWAY_SECONDS = 3;
/** AUTH-27; no issuer writes longer ones. */
const MAX_TOKEN_LENGTH = 65_536;

@Injectable()
export class WsAuthGuard {
  constructor(
    private readonly settings: Settings,
    private readonly sessions: SessionManagementService,
  ) {}

  /** Fails with a `Refusal`. */
  async authenticate(handshake: Socket['handshake']): Promise<Identity> {
    const identity = identityOf(await this.verify(tokenOf(handshake)));
    const owner = await this.sessions.ownerOf(identity.sessionId).catch(() => refuse('unavailable'));
    return owner === identity.userId ? identity : refuse('session_invalid');
  }

  private async verify(token: string): Promise<JWTPayload> {
    const { algorithm, key } = this.settings.jwt;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, key, {
        algorithms: [algorithm],
        requiredClaims: ['exp'],
        clockTolerance: LEEWAY_SECONDS,
      });
      // The library knows one extension; the contract knows none (AUTH-26).
      return protectedHeader.crit === undefined ? payload : refuse('token_invalid');
    } catch (error) {
      // The library looks at the time last. What else could be wrong are the claims that only we know.
      if (error instanceof errors.JWTExpired && identityOf(error.payload)) refuse('token_expired');
      return refuse('token_invalid');
    }
  }
}

/** AUTH-01 to AUTH-04, AUTH-28. */
function tokenOf({ auth, headers }: Socket['handshake']): string {
  const given: unknown = auth['token'] ?? headers.authorization ?? '';
  if (typeof given !== 'string' || given.length > MAX_TOKEN_LENGTH) return refuse('token_invalid');
  return given.replace(/^Bearer /i, '') || refuse('token_missing');
}

/** AUTH-10 to AUTH-13. */
function identityOf({ userId, sub, sessionId, type }: JWTPayload): Identity {
  const user = userId === undefined ? sub : userId;
  if (type === 'refresh' || !isText(user) || !isText(sessionId)) return refuse('token_invalid');
  return { userId: user, sessionId };
}

const isText = (claim: unknown): claim is string => typeof claim === 'string' && claim !== '';

export function refuse(code: RefusalCode): never {
  throw new Refusal(code);
}
