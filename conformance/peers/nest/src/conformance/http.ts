// The little of Express that the routes use; its own types are a package that nothing else here wants.

import type { IncomingMessage } from 'node:http';

export interface Request extends IncomingMessage {
  /** The body as it came, byte by byte. */
  rawBody?: Buffer;
  body?: unknown;
  params: Record<string, string>;
}

export interface Response {
  status(code: number): this;
  set(headers: Record<string, string>): this;
  type(mediaType: string): this;
  send(body: string): this;
}
