// Starts the peer with one thing broken, or done in another right way: `MUTANT=name node --import ./broken/load.js server.js`. Knows how the
// sources are changed as they are loaded, and nothing of what is changed. Run by itself it lists all entries as JSON, for `selftest`.

import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';

import { changed } from './hooks.js';
import { entries } from './entries.js';

const source = (file) => new URL(`../${file}`, import.meta.url);

function list() {
  const names = new Set();
  for (const { name, edits } of entries) {
    if (names.has(name)) throw new Error(`${name} is there twice`);
    names.add(name);
    const texts = {};
    for (const [file, from, to] of edits) {
      texts[file] = changed(texts[file] ?? readFileSync(source(file), 'utf8'), { name, file, from, to });
    }
  }
  console.log(JSON.stringify(entries.map(({ edits: _, ...entry }) => entry)));
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  list();
} else if (process.env.MUTANT) {
  const entry = entries.find(({ name }) => name === process.env.MUTANT);
  if (entry === undefined) throw new Error(`MUTANT names no entry: ${process.env.MUTANT}`);
  const edits = entry.edits.map(([file, from, to]) => ({ name: entry.name, file, url: source(file).href, from, to }));
  register('./hooks.js', import.meta.url, { data: edits });
}
