// Reads a body: behind the guard, so that a stranger's is not read, and with the route's own limit (EMIT-11, 12, 16, 17, 30). In an
// application whose own parser comes first it takes what `rawBody: true` has kept.

import { mixin, type CallHandler, type ExecutionContext, type NestInterceptor, type Type } from '@nestjs/common';
import type { Observable } from 'rxjs';

import type { Request } from './http.js';
import { Problem } from './problem.filter.js';

/** How deep a body may be nested: what reads and writes JSON calls itself for each level. */
const DEPTH = 200;
const UTF_8 = new TextDecoder('utf-8', { fatal: true });

/** For `@UseInterceptors`: a JSON body of so many bytes at the most. */
export function JsonBody(limit: number): Type<NestInterceptor> {
  class JsonBodyInterceptor implements NestInterceptor {
    async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
      const request = context.switchToHttp().getRequest<Request>();
      checkHeaders(request);
      request.rawBody ??= await read(request, limit);
      if (request.rawBody.length > limit) throw tooLarge(limit);
      request.body = parse(request.rawBody);
      return next.handle();
    }
  }
  return mixin(JsonBodyInterceptor);
}

function checkHeaders({ headers }: Request): void {
  const encodings = (headers['content-encoding'] ?? '').split(',').map((encoding) => encoding.trim().toLowerCase());
  if (encodings.some((encoding) => encoding !== '' && encoding !== 'identity')) {
    throw new Problem(415, 'the body has to be sent as it is', {}, { 'accept-encoding': 'identity' });
  }
  const mediaType = headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (mediaType !== 'application/json') throw new Problem(415, 'the Content-Type must be application/json');
}

/** Reads on where it is too much, so that the sender sees the answer and no reset; but keeps nothing of it. */
async function read(request: Request, limit: number): Promise<Buffer> {
  if (request.readableEnded) throw new Problem(500, 'the body was read before: create the application with rawBody: true, or with bodyParser: false');
  let chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > limit) chunks = [];
    else chunks.push(chunk);
  }
  if (size > limit) throw tooLarge(limit);
  return Buffer.concat(chunks);
}

const tooLarge = (limit: number) => new Problem(413, `the body has more than ${limit} bytes`);

function parse(raw: Buffer): unknown {
  let body: unknown;
  try {
    body = JSON.parse(UTF_8.decode(raw));
  } catch {
    throw new Problem(400, 'the body is not JSON in UTF-8');
  }
  if (isDeeper(body, DEPTH)) throw new Problem(400, `the body is nested deeper than ${DEPTH} levels`);
  return body;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}
