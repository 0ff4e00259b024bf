#!/usr/bin/env node
// Packs the package and one for each platform that has binaries. Pulls nothing.
// Usage: pack.js VERSION OUT PLATFORM=FOLDER…, as in linux-x64=target/release

'use strict';

const { execFileSync } = require('node:child_process');
const { chmodSync, cpSync, mkdtempSync, mkdirSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const path = require('node:path');

const BINARIES = ['notify-conformance', 'notify-load'];

const [version, out, ...platforms] = process.argv.slice(2);
if (!version || !out || platforms.length === 0) {
  console.error('usage: pack.js VERSION OUT PLATFORM=FOLDER…');
  process.exit(2);
}

const work = mkdtempSync(path.join(tmpdir(), 'notify-npm-'));
try {
  const main = { ...require('./package.json'), version };
  for (const platform of platforms) {
    const [name, from] = platform.split('=');
    const [os, cpu] = name.split('-');
    main.optionalDependencies[`notify-conformance-${name}`] = version;
    const folder = path.join(work, name);
    mkdirSync(folder);
    for (const binary of BINARIES) {
      cpSync(path.join(from, binary), path.join(folder, binary));
      chmodSync(path.join(folder, binary), 0o755);
    }
    const { license, description } = main;
    const about = { name: `notify-conformance-${name}`, version, description: `${description} The binaries for ${name}.` };
    pack(folder, { ...about, license, os: [os], cpu: [cpu], files: BINARIES });
  }
  const folder = path.join(work, 'main');
  cpSync(__dirname, folder, { recursive: true, filter: (file) => !file.endsWith('pack.js') });
  pack(folder, main);
} finally {
  rmSync(work, { recursive: true });
}

function pack(folder, about) {
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(about, null, 2)}\n`);
  mkdirSync(out, { recursive: true });
  execFileSync('npm', ['pack', folder, '--pack-destination', out, '--silent'], { stdio: ['ignore', 'ignore', 'inherit'] });
}
