// Errors of the HTTP routes as problem documents (RFC 9457, EMIT-09).

import { STATUS_CODES } from 'node:http';

import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Response } from './http.js';

/** An error with its answer: further members of the document, and further headers. */
export class Problem extends HttpException {
  constructor(
    status: number,
    detail: string,
    readonly members: object = {},
    readonly headers: Record<string, string> = {},
  ) {
    super(detail, status);
  }
}

/** What the store could not do is told as 503, and not why (AUTH-24). */
export function stored<T>(work: Promise<T>): Promise<T> {
  return work.catch(() => {
    throw new Problem(503, 'the store does not answer');
  });
}

/** Nest's own would write what it does not know to the log, with its stack. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const { status, detail, members, headers } = asProblem(error);
    const response = host.switchToHttp().getResponse<Response>();
    response.status(status).set(headers).type('application/problem+json');
    response.send(JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status], status, detail, ...members }));
  }
}

function asProblem(error: unknown) {
  if (error instanceof Problem) return { status: error.getStatus(), detail: error.message, members: error.members, headers: error.headers };
  const status = error instanceof HttpException ? error.getStatus() : 500;
  const detail = status === 404 ? 'there is no such route' : status < 500 ? 'the request cannot be read' : 'the server has made a mistake';
  return { status, detail, members: {}, headers: {} };
}
