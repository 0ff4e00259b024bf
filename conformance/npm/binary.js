// Runs a binary of the package that is there for this platform, as if it had been called itself: arguments, streams, signals, exit code.

'use strict';

const { spawn } = require('node:child_process');
const { constants } = require('node:os');
const path = require('node:path');

const COULD_NOT_RUN = 3;

function find(name) {
  const platform = `${process.platform}-${process.arch}`;
  const wanted = `notify-conformance-${platform}`;
  const { optionalDependencies } = require('./package.json');
  if (!(wanted in optionalDependencies)) {
    const known = Object.keys(optionalDependencies).map((it) => it.replace('notify-conformance-', ''));
    throw new Error(`there is no binary for ${platform}, only for ${known.join(', ')}: build it from source`);
  }
  try {
    return path.join(path.dirname(require.resolve(`${wanted}/package.json`)), name);
  } catch {
    throw new Error(`the package ${wanted} is not installed; install without --omit=optional`);
  }
}

exports.run = (name) => {
  let binary;
  try {
    binary = find(name);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exit(COULD_NOT_RUN);
  }
  const child = spawn(binary, process.argv.slice(2), { stdio: 'inherit' });
  // From a terminal the child hears them as well; what it does then is for it to say.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`${name}: ${error.message}`);
    process.exit(COULD_NOT_RUN);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
};
