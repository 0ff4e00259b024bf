// Runs the server of a target file for a test, and speaks to its control surface. Knows nothing of Socket.IO.
//
// The file is the one that the suite takes: of it count `process`, `secrets`, `jwt` with HMAC, `origins`, `emit` and `sessions`.

import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { parse } from 'smol-toml';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const FILE = resolve(REPOSITORY, process.argv[2] ?? process.env.TARGET ?? 'fixtures/targets/reference-embedded.toml');
const target = parse(readFileSync(FILE, 'utf8'));
const DIRECTORY = resolve(dirname(FILE), target.process.directory);
const NEEDS_REDIS = Object.values(target.process.env).some((value) => value.includes('{redis_'));
const START_LIMIT_MS = 10_000;
const ANSWER_LIMIT_MS = 5_000;
/** As the contract has it. */
const END_LIMIT_MS = 10_000;

if (target.process.build) {
  const [program, ...args] = target.process.build;
  const { status, error } = spawnSync(program, args, { cwd: DIRECTORY, stdio: 'inherit' });
  if (status !== 0) {
    throw new Error(`${target.name} cannot be built`, { cause: error });
  }
}

/** A server of its own, on a free port, with a store that goes when the test `t` ends. */
export class Target {
  #process;
  #redis;
  #output = '';
  #dataDir = mkdtempSync(join(tmpdir(), 'notify-interop-'));
  #values = {
    ...target.secrets,
    origins: target.origins?.listed.join(','),
    data_dir: this.#dataDir,
    cargo_target_dir: resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? 'target'),
    redis_host: '127.0.0.1',
    redis_db: '0',
  };

  static async start(t) {
    const server = new Target();
    t.after(() => server.#remove());
    if (NEEDS_REDIS) {
      await server.#startRedis();
    }
    server.port = await freePort();
    await server.launch();
    return server;
  }

  /** Starts the process, the first time or again, and waits until it is ready. */
  async launch() {
    this.#values.port = String(this.port);
    const [program, ...args] = filled(target.process.command, this.#values);
    const env = { PATH: process.env.PATH, ...filled(target.process.env, this.#values) };
    this.#process = spawn(program, args, { cwd: DIRECTORY, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process.on('error', ({ message }) => (this.#output += message));
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
    await this.#request(target.sessions.create, { user_id: user.id, session_id: user.session });
    user.token = this.#token(user, 900);
    user.expiredToken = this.#token(user, -60);
    return user;
  }

  async revoke(user) {
    await this.#request(target.sessions.revoke, { session_id: user.session });
  }

  /** Emits one event to the user; the answer is `{eventId, delivery}`. */
  async emit(user, eventType, metadata = {}) {
    const answer = await this.#request(target.emit, {
      event_type: eventType,
      actor_id: 'doctor-7',
      resource_id: 'record-17',
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

  /** What the target file says of a request, with the values of this one. */
  async #request({ method, path, status, headers, body }, values) {
    const all = { ...this.#values, ...values };
    const content = body && { 'content-type': 'application/json' };
    const answer = await fetch(`http://127.0.0.1:${this.port}${filled(path, all)}`, {
      method,
      headers: { ...content, ...filled(headers ?? {}, all) },
      body: body && JSON.stringify(filled(body, all)),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    if (!status.includes(answer.status)) {
      throw new Error(`${method} ${path} was answered with ${answer.status}: ${await answer.text()}`);
    }
    return answer;
  }

  #token({ id, session }, seconds) {
    const exp = Math.floor(Date.now() / 1_000) + seconds;
    return `Bearer ${sign({ userId: id, sessionId: session, exp }, filled(target.jwt, this.#values))}`;
  }

  async #startRedis() {
    const port = await freePort();
    Object.assign(this.#values, { redis_port: String(port) });
    const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', this.#dataDir, '--save', ''];
    this.#redis = spawn('redis-server', options, { stdio: 'ignore' });
    this.#redis.on('error', ({ message }) => (this.#output += `redis-server: ${message}\n`));
    const limit = Date.now() + START_LIMIT_MS;
    while (!(await accepts(port)) && Date.now() < limit) {
      await pause(20);
    }
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
    return fetch(`http://127.0.0.1:${this.port}${target.process.ready}`, { signal }).then(
      (answer) => answer.status === 200,
      () => false,
    );
  }

  async #remove() {
    await this.kill();
    if (this.#redis?.pid !== undefined) {
      const exit = once(this.#redis, 'exit');
      this.#redis.kill('SIGKILL');
      await exit;
    }
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

/** A template with its {placeholders} filled in. A member of which one has no value is left out. */
function filled(template, values) {
  if (Array.isArray(template)) {
    return template.map((item) => filled(item, values));
  }
  if (typeof template === 'object') {
    const members = Object.entries(template).map(([name, value]) => [name, filled(value, values)]);
    return Object.fromEntries(members.filter(([, value]) => value !== undefined));
  }
  const names = [...String(template).matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  if (names.some((name) => values[name] === undefined)) {
    return undefined;
  }
  const isAll = template === `{${names[0]}}`;
  return isAll ? values[names[0]] : String(template).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function sign(claims, { algorithm, secret }) {
  const hash = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }[algorithm];
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: algorithm, typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`;
}

function accepts(port) {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => done(true) ?? socket.destroy());
    socket.on('error', () => done(false));
  });
}

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}
