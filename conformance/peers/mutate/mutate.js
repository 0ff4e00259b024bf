// Writes the Node peer once more, to `node/`, with every mutant of StrykerJS in it, of which an environment variable switches one on; and
// what they are, to `mutants.json`, as `selftest` reads it. Knows nothing of what the peer does.

import { mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';

import { commonTokens } from '@stryker-mutator/api/plugin';
import { createInstrumenter } from '@stryker-mutator/instrumenter';
import { createInjector } from 'typed-inject';

const peer = new URL('../node/', import.meta.url);
const mutated = new URL('node/', import.meta.url);
const nothing = () => {};
const logger = { isDebugEnabled: () => false, debug: nothing, info: nothing, warn: console.warn, error: console.error };

const sources = readdirSync(peer).filter((name) => name.endsWith('.js'));
const instrumenter = createInjector().provideValue(commonTokens.logger, logger).injectFunction(createInstrumenter);
const { files, mutants } = await instrumenter.instrument(
  sources.map((name) => ({ name, content: readFileSync(new URL(name, peer), 'utf8'), mutate: true })),
  { plugins: null, excludedMutations: [], ignorers: [] },
);

rmSync(mutated, { recursive: true, force: true });
mkdirSync(mutated);
for (const { name, content } of files) writeFileSync(new URL(name, mutated), content);
symlinkSync(new URL('node_modules', peer), new URL('node_modules', mutated));

const oneLine = (text) => text.replace(/\s+/g, ' ');
const entries = mutants.map(({ id, fileName, location, mutatorName, replacement }) => {
  const { line, column } = location.start;
  return { name: id, breaks: `${fileName}:${line + 1}:${column + 1} ${mutatorName}: ${oneLine(replacement)}` };
});
writeFileSync(new URL('mutants.json', import.meta.url), JSON.stringify(entries));
console.log(`${entries.length} mutants of ${files.length} files`);
