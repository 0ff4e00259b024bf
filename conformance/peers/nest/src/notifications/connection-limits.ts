// How often one connection may try to come in, and how much it may say when it is (SPEC 18).

import type { Socket } from 'socket.io';

type Next = (refusal?: Error) => void;

/** LIMIT-03. */
const REFUSALS = 5;

/** A middleware of the namespace that lets in one CONNECT of a connection at a time, and closes those that were refused too often. */
export function limitConnects(admit: (socket: Socket, next: Next) => Promise<void>) {
  const tries = new WeakMap<Socket['conn'], { isPending: boolean; refusals: number }>();
  return async (socket: Socket, next: Next): Promise<void> => {
    const tried = tries.get(socket.conn) ?? { isPending: false, refusals: 0 };
    tries.set(socket.conn, tried);
    // The library closes for a second CONNECT only once the first was accepted; until then it would let both in (TRANS-08).
    if (tried.isPending || tried.refusals >= REFUSALS) return socket.conn.close();
    tried.isPending = true;
    const answer: Next = (refusal) => {
      tried.isPending = false;
      if (refusal) tried.refusals += 1;
      next(refusal);
    };
    await admit(socket, answer).catch(answer);
  };
}

/** Nest's guards see only events that some method subscribes to; this sees all (LIMIT-05). */
export function limitEvents(socket: Socket, perSecond: number): void {
  let second = 0;
  let events = 0;
  socket.use((_event, next) => {
    const now = Math.floor(Date.now() / 1_000);
    if (now !== second) [second, events] = [now, 0];
    events += 1;
    if (events > perSecond) socket.conn.close();
    else next();
  });
}
