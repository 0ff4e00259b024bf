// Runs what docs/clients.md tells client developers, word for word: live events, a refresh, a server that is killed, what was queued
// meanwhile, each event once. What is missing for one is told, and fails where CI or REQUIRED is set: PYTHON has to name a Python with
// python-socketio, and the Rust one is built by `cargo build --example client`.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Target } from './target.mjs';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));
const TEXT = readFileSync(join(REPOSITORY, 'docs/clients.md'), 'utf8');
const PYTHON = process.env.PYTHON ?? 'python3';
const RUST = resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/examples/client');
const REQUIRED = process.env.CI || process.env.REQUIRED;
const LIMIT_MS = 30_000;

const block = (language) => {
  const found = new RegExp(`<!-- run: ${language} -->\\n\`\`\`\\w+\\n(.*?)\`\`\``, 's').exec(TEXT);
  assert.ok(found, `docs/clients.md has no ${language} to run`);
  return found[1];
};

/** What a client prints, line by line. */
class Lines {
  #lines = [];
  #arrived = () => {};

  constructor(stream) {
    let rest = '';
    stream.setEncoding('utf8').on('data', (text) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop();
      this.#lines.push(...parts);
      this.#arrived();
    });
  }

  get all() {
    return [...this.#lines];
  }

  /** Waits until so many lines are as they should be. */
  async until(what, matches, times = 1) {
    const limit = AbortSignal.timeout(LIMIT_MS);
    while (this.#lines.filter(matches).length < times) {
      if (limit.aborted) throw new Error(`${what} does not come; there is:\n${this.#lines.join('\n')}`);
      await new Promise((resolve) => {
        this.#arrived = resolve;
        setTimeout(resolve, 100);
      });
    }
  }
}

async function tokens(t, user) {
  const server = createServer((_, response) => response.end(user.token)).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}/`;
}

async function runs(t, command, args, refreshes) {
  const server = await Target.start(t);
  const user = await server.user();
  const env = {
    ...process.env,
    NOTIFY_URL: `http://127.0.0.1:${server.port}`,
    TOKEN_URL: await tokens(t, user),
    REFRESH_MS: '500',
  };
  const client = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    client.kill('SIGKILL');
    if (client.exitCode === null && client.signalCode === null) await once(client, 'exit');
  });
  const lines = new Lines(client.stdout);
  const is = (text) => (line) => line === text;
  const has = (event) => is(`event ${event.type} ${event.eventId}`);
  const emit = async (type) => ({ type, ...(await server.emit(user, type)) });
  await lines.until('the connection', is('connected'));
  const shown = [];
  for (const type of ['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded']) shown.push(await emit(type));
  for (const event of shown) await lines.until(`${event.type}, live`, has(event));
  if (refreshes) await lines.until('a refresh', is('refreshed ok'), 2);
  await server.kill();
  await server.elsewhere(async () => shown.push(await emit('record.accessed'), await emit('access.revoked')));
  await server.launch();
  await lines.until('the connection to the next process', is('connected'), 2);
  for (const event of shown.slice(4)) await lines.until('what was queued', has(event));
  shown.push(await emit('record.uploaded'));
  await lines.until('what is live again', has(shown.at(-1)));
  const printed = lines.all.filter((line) => line.startsWith('event '));
  assert.deepEqual(printed, shown.map((event) => `event ${event.type} ${event.eventId}`));
  assert.deepEqual(lines.all.filter((line) => line.startsWith('missed')), []);
}

function missing(t, what) {
  if (REQUIRED) throw new Error(`not run: ${what}`);
  console.error(`NOT CHECKED: ${what}`);
  t.skip(what);
}

test('the JavaScript of docs/clients.md', async (t) => {
  // Beside the libraries that it imports.
  const file = join(HERE, `.clients-${process.pid}.mjs`);
  writeFileSync(file, block('js'));
  t.after(() => rmSync(file));
  await runs(t, process.execPath, [file], true);
});

test('the Python of docs/clients.md', async (t) => {
  if (spawnSync(PYTHON, ['-c', 'import socketio, aiohttp']).status !== 0) {
    return missing(t, `the Python client, for ${PYTHON} has no python-socketio[asyncio-client]`);
  }
  await runs(t, PYTHON, ['-c', block('python')], true);
});

test('the Rust of docs/clients.md', async (t) => {
  assert.equal(readFileSync(join(REPOSITORY, 'conformance/examples/client.rs'), 'utf8'), block('rust'));
  if (!existsSync(RUST)) return missing(t, `the Rust client, which is not built: ${RUST}`);
  await runs(t, RUST, [], false);
});
