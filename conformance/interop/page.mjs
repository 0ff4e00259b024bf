// Holds the page that `notify-server --dev` has at `/`: over both transports, by keyboard alone, in both themes, 360 pixels wide, in a
// headless Chromium. Without one it fails where CI or REQUIRED is set, and says so elsewhere.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const TARGET_DIR = resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? 'target');
const BINARY = resolve(process.argv[2] ?? process.env.NOTIFY_SERVER_BIN ?? join(TARGET_DIR, 'debug/notify-server'));
const CHROMIUM = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
/** Where pictures of the page go, for whoever wants to look at it. */
const PICTURES = process.env.PICTURES;
const LIMIT_MS = 15_000;

if (!CHROMIUM && !(process.env.CI || process.env.REQUIRED)) {
  console.error('NOT CHECKED: the page, without Chromium; set CHROMIUM to its path');
  process.exit(0);
}

async function server(t, parameters = ['--dev'], settings = {}) {
  const env = { PATH: process.env.PATH, PORT: '0', ...settings };
  const child = spawn(BINARY, parameters, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  let output = '';
  for await (const chunk of child.stderr.setEncoding('utf8')) {
    output += chunk;
    const found = /listening on (http:\/\/\S+)/.exec(output);
    if (found) return { url: found[1], child };
  }
  throw new Error(`the server ended: ${output}`);
}

async function page(t, options = {}) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'], timeout: 60_000 });
  t.after(() => browser.close());
  const context = await browser.newContext({ viewport: { width: 1000, height: 800 }, ...options });
  const opened = await context.newPage();
  opened.setDefaultTimeout(LIMIT_MS);
  const strange = [];
  opened.on('console', (message) => message.type() === 'error' && strange.push(message.text()));
  opened.on('pageerror', (error) => strange.push(error.message));
  opened.on('request', (request) => opened.requests.push(request.url()));
  opened.requests = [];
  opened.strange = strange;
  return opened;
}

const state = (opened, text) => opened.locator('#state', { hasText: text }).waitFor();
const events = (opened) => opened.locator('#events li');
const emit = async (opened, type, delivery) => {
  await opened.locator(`[data-event="${type}"]`).click();
  await opened.locator('#emitted', { hasText: `${type}: accepted, ${delivery}` }).waitFor();
};

for (const [transport, name] of [['websocket', 'WebSocket'], ['polling', 'polling']]) {
  for (const acknowledges of [true, false]) {
    test(`${name}, ${acknowledges ? 'with' : 'without'} acknowledgement: live, away and back`, async (t) => {
      const { url } = await server(t);
      const opened = await page(t);
      await opened.goto(url);
      await state(opened, 'connected');
      await opened.locator('#ack').setChecked(acknowledges);
      await opened.locator('#transport').selectOption(transport);
      await state(opened, `connected by ${name}`);
      for (const type of ['record.accessed', 'access.granted', 'access.revoked', 'record.uploaded']) await emit(opened, type, 'live');
      await events(opened).nth(3).waitFor();
      assert.deepEqual(await events(opened).locator('code').allTextContents(),
        ['record.uploaded', 'access.revoked', 'access.granted', 'record.accessed']);
      assert.match(await opened.locator('#trip').textContent(), /^\d+\.\d ms$/);
      await opened.getByRole('button', { name: 'Go offline' }).click();
      await state(opened, 'offline');
      await emit(opened, 'record.accessed', 'queued');
      await emit(opened, 'access.granted', 'queued');
      await opened.getByRole('button', { name: 'Come back' }).click();
      await state(opened, `connected by ${name}`);
      await events(opened).nth(5).waitFor();
      assert.equal(await events(opened).filter({ hasText: 'was queued' }).count(), 2);
      assert.equal(await events(opened).filter({ hasText: 'came again' }).count(), 0);
      await opened.locator('#toggle').click();
      await state(opened, 'offline');
      await opened.locator('#toggle').click();
      await state(opened, `connected by ${name}`);
      await emit(opened, 'record.uploaded', 'live');
      await events(opened).nth(6).waitFor();
      assert.equal(await events(opened).count(), 7);
      assert.deepEqual(opened.strange, []);
      assert.ok(opened.requests.every((it) => it.startsWith(url) || it.startsWith('data:')), opened.requests.join('\n'));
    });
  }
}

test('the line breaks, and the page comes back by itself', async (t) => {
  const { url } = await server(t);
  const opened = await page(t);
  await opened.goto(url);
  await state(opened, 'connected');
  await opened.context().setOffline(true);
  await opened.evaluate(() => client.socket.close());
  await state(opened, 'the line is down');
  await opened.context().setOffline(false);
  await state(opened, 'connected');
  await emit(opened, 'record.accessed', 'live');
});

test('by keyboard alone, and named for a screen reader', async (t) => {
  const { url } = await server(t);
  const opened = await page(t);
  await opened.goto(url);
  await state(opened, 'connected');
  const order = [];
  for (let step = 0; step < 7; step += 1) {
    await opened.keyboard.press('Tab');
    order.push(await opened.evaluate(() => {
      const outline = getComputedStyle(document.activeElement).outlineStyle;
      return [document.activeElement.id || document.activeElement.dataset.event, outline !== 'none'];
    }));
  }
  const names = ['toggle', 'transport', 'ack', 'record.accessed', 'access.granted', 'access.revoked', 'record.uploaded'];
  assert.deepEqual(order, names.map((name) => [name, true]));
  await opened.keyboard.press('Enter');
  await opened.locator('#emitted', { hasText: 'accepted, live' }).waitFor();
  await opened.getByRole('list', { name: /Events/ }).getByRole('listitem').first().waitFor();
  for (const name of ['Connection', /Events/, /Emit an event/]) await opened.getByRole('region', { name }).waitFor();
  assert.equal(await opened.getByRole('status').count(), 2);
  await opened.getByRole('checkbox', { name: 'The client acknowledges' }).press('Space');
  await state(opened, 'connected');
  assert.equal(await opened.locator('#ack').isChecked(), false);
});

for (const colorScheme of ['light', 'dark']) {
  test(`360 pixels wide, ${colorScheme}: nothing is cut off, and all can be read`, async (t) => {
    const { url } = await server(t);
    const opened = await page(t, { viewport: { width: 360, height: 740 }, colorScheme });
    await opened.goto(url);
    await state(opened, 'connected');
    await emit(opened, 'access.granted', 'live');
    await emit(opened, 'record.accessed', 'live');
    await events(opened).nth(1).waitFor();
    const wide = await opened.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 360, `${wide} pixels`);
    for (const id of ['#empty', '#loss']) assert.equal(await opened.locator(id).isVisible(), false, id);
    const weak = await opened.evaluate(contrasts);
    assert.deepEqual(weak, []);
    const small = await opened.locator('button, select, label.check').evaluateAll((all) =>
      all.filter((it) => it.getBoundingClientRect().height < 44).map((it) => it.textContent));
    assert.deepEqual(small, []);
    if (PICTURES) {
      mkdirSync(PICTURES, { recursive: true });
      await opened.screenshot({ path: join(PICTURES, `page-360-${colorScheme}.png`), fullPage: true });
      await opened.setViewportSize({ width: 1100, height: 700 });
      await opened.screenshot({ path: join(PICTURES, `page-1100-${colorScheme}.png`), fullPage: true });
    }
  });
}

test('the page is not there without --dev', async (t) => {
  const settings = { JWT_SECRET: 'x'.repeat(32), INGEST_TOKEN: 'x', DATA_DIR: `/tmp/notify-page-${process.pid}` };
  const { url } = await server(t, [], settings);
  for (const [path, method] of [['/', 'GET'], ['/demo/record.accessed', 'POST']]) {
    assert.equal((await fetch(url + path, { method })).status, 404, path);
  }
});

/** In the page: texts whose contrast is less than 4.5 to 1. */
function contrasts() {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const ground = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const found = rgb(getComputedStyle(it).backgroundColor);
      if ((found[3] ?? 1) > 0) return found;
    }
    return [255, 255, 255];
  };
  const light = ([r, g, b]) => {
    const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const weak = [];
  for (const element of document.querySelectorAll('body *')) {
    const hasText = [...element.childNodes].some((it) => it.nodeType === 3 && it.textContent.trim());
    if (!hasText || !element.checkVisibility() || ['SCRIPT', 'STYLE', 'OPTION'].includes(element.tagName)) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return weak;
}
