// Runs the reference server for a test, and speaks to its control surface. Knows nothing of Socket.IO.

import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const TARGET_DIR = resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? 'target');
const BINARY = resolve(process.argv[2] ?? process.env.NOTIFY_SERVER_BIN ?? join(TARGET_DIR, 'debug/notify-server'));
const SECRET = JSON.parse(readFileSync(join(REPOSITORY, 'fixtures/keys/secrets.json'), 'utf8')).configured;
const START_LIMIT_MS = 10_000;
const ANSWER_LIMIT_MS = 5_000;
/** As the contract has it. */
const END_LIMIT_MS = 10_000;

/** A server of its own, on a free port, with the embedded store in a folder that goes when the test `t` ends. */
export class Reference {
  #process;
  #output = '';
  #ingestToken = randomUUID();
  #dataDir = mkdtempSync(join(tmpdir(), 'notify-interop-'));

  static async start(t) {
    if (!existsSync(BINARY)) {
      throw new Error(`no server at ${BINARY}; build it by: cargo build -p notify-server`);
    }
    const server = new Reference();
    t.after(() => server.#remove());
    server.port = await freePort();
    await server.launch();
    return server;
  }

  /** Starts the process, the first time or again, and waits until it is ready. */
  async launch() {
    const env = {
      PATH: process.env.PATH,
      HOST: '127.0.0.1',
      PORT: String(this.port),
      STORE: 'embedded',
      DATA_DIR: this.#dataDir,
      JWT_ALGORITHM: 'HS256',
      JWT_SECRET: SECRET,
      INGEST_TOKEN: this.#ingestToken,
      CORS_ORIGIN: 'http://localhost:3001',
    };
    this.#process = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.#output += text));
    }
    await this.#ready();
  }

  /** Ends the process without a word of warning. */
  async kill() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exit = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await exit;
    }
  }

  /** Tells the process to end, and waits until it has; answers its exit status. */
  async terminate() {
    const exit = once(this.#process, 'exit', { signal: AbortSignal.timeout(END_LIMIT_MS) });
    this.#process.kill('SIGTERM');
    const [status] = await exit;
    return status;
  }

  /** Starts the next process with the same store on another port, where no client looks for it, while `task` runs. */
  async elsewhere(task) {
    const { port } = this;
    this.port = await freePort();
    await this.launch();
    await task();
    await this.terminate();
    this.port = port;
  }

  /** A user whose session exists, and what the user's client sends as its token. */
  async user() {
    const user = { id: `user-${randomUUID()}`, session: `session-${randomUUID()}` };
    await this.#request('PUT', `/sessions/${user.session}`, 204, { userId: user.id });
    user.token = `Bearer ${sign({ userId: user.id, sessionId: user.session, exp: secondsFromNow(900) })}`;
    user.expiredToken = `Bearer ${sign({ userId: user.id, sessionId: user.session, exp: secondsFromNow(-60) })}`;
    return user;
  }

  async revoke(user) {
    await this.#request('DELETE', `/sessions/${user.session}`, 204);
  }

  /** Emits one event to the user; the answer is `{eventId, delivery}`. */
  async emit(user, eventType, metadata = {}) {
    const event = { eventType, actorId: 'doctor-7', resourceId: 'record-17' };
    const answer = await this.#request('POST', '/events', 202, {
      ...event,
      metadata: { targetUserId: user.id, ...metadata },
    });
    return answer.json();
  }

  /**
   * Emits until the server has noticed that the user is gone; answers every event, the last of which it queued. The ones
   * before were handed to the connection; those that it had not taken when it ended are queued too.
   */
  async emitUntilOffline(user, eventType, metadata) {
    const limit = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const answers = [];
    while (!limit.aborted) {
      const answer = await this.emit(user, eventType, metadata);
      answers.push(answer);
      if (answer.delivery === 'queued') {
        return answers;
      }
    }
    throw new Error(`the server takes the user for connected ${ANSWER_LIMIT_MS} ms after it left`);
  }

  /** Emits one event after the other until the process takes none; answers those that it has accepted. */
  async emitUntilAway(user, eventType) {
    const answers = [];
    for (;;) {
      try {
        answers.push(await this.emit(user, eventType));
      } catch (error) {
        // What `fetch` throws where there is no answer. The event may have been accepted all the same.
        if (error instanceof TypeError) {
          return answers;
        }
        throw error;
      }
    }
  }

  async #request(method, path, status, body) {
    const answer = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#ingestToken}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    if (answer.status !== status) {
      throw new Error(`${method} ${path} was answered with ${answer.status}: ${await answer.text()}`);
    }
    return answer;
  }

  async #ready() {
    const limit = AbortSignal.timeout(START_LIMIT_MS);
    while (!(await this.#answersReady(limit))) {
      const ended = this.#process.exitCode ?? this.#process.signalCode;
      if (ended !== null || limit.aborted) {
        throw new Error(`the server is not ready (exit: ${ended}):\n${this.#output}`);
      }
      await pause(20);
    }
  }

  #answersReady(signal) {
    return fetch(`http://127.0.0.1:${this.port}/readyz`, { signal }).then(
      (answer) => answer.status === 200,
      () => false,
    );
  }

  async #remove() {
    await this.kill();
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

function sign(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

function secondsFromNow(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}
