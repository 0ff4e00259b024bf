// Lets in whoever has the service credential (EMIT-01).

import { createHash, timingSafeEqual } from 'node:crypto';

import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';

import { Settings } from '../settings.js';
import type { Request } from './http.js';
import { Problem } from './problem.filter.js';

@Injectable()
export class ServiceCredentialGuard implements CanActivate {
  private readonly expected: Buffer;

  constructor({ ingestToken }: Settings) {
    this.expected = digest(`Bearer ${ingestToken}`);
  }

  canActivate(context: ExecutionContext): boolean {
    const { authorization = '' } = context.switchToHttp().getRequest<Request>().headers;
    // Digests are of one length: the time does not tell how much of the credential was right.
    if (timingSafeEqual(digest(authorization), this.expected)) return true;
    throw new Problem(401, 'the service credential is missing or wrong', {}, { 'www-authenticate': 'Bearer' });
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest();
